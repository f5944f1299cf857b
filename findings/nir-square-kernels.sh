#!/bin/sh
# nir 1.0.8 takes the height of a Conv2d's kernel for its width too, and refuses a right graph.
#
# nir.Conv2d works out its output from weight.shape[2] for both axes. A kernel of 3 by 1 over 5 by 3 places gives 3 by 3
# places; nir says 3 by 1, and the check of types, which NIRGraph and nir.read do unless told otherwise, fails at the next
# node. With type_check=False the file is written and read; so it is with zeros around the kernel that make it square.
#
# Seen on Python 3.11, x86-64 Linux:
#   output of Conv2d with a kernel of 3 by 1 over [1, 5, 3]: [1, 3, 1]
#   ValueError: Type inference error: type mismatch: conv.output: [[1 3 1]] -> if.input: [[1 3 3]]
#
# Usage: sh findings/nir-square-kernels.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/nir-square-kernels.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet nir==1.0.8 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import nir
import numpy as np

weight = np.ones((1, 1, 3, 1), np.float32)
conv = nir.Conv2d(
    input_shape=(5, 3), weight=weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1,
    bias=np.zeros(1, np.float32),
)
shape = conv.output_type["output"].tolist()
print("output of Conv2d with a kernel of 3 by 1 over [1, 5, 3]:", shape)
ones = np.ones((1, 3, 3), np.float32)
nodes = {
    "input": nir.Input(np.array([1, 5, 3])), "conv": conv,
    "if": nir.IF(r=ones, v_threshold=ones), "output": nir.Output(np.array([1, 3, 3])),
}
edges = [("input", "conv"), ("conv", "if"), ("if", "output")]
try:
    nir.NIRGraph(nodes=nodes, edges=edges)
except ValueError as error:
    print("ValueError:", error)
    sys.exit(0 if shape == [1, 3, 1] else 1)
sys.exit(1)
END
