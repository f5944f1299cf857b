#!/bin/sh
# nirtorch 2.6 leaves the bias of an Affine out: the module keeps a random one.
#
# nirtorch.nir_to_torch maps nir.Affine to torch.nn.Linear, unless the caller brings a mapping of its own. It sets
# module.weight.bias, an attribute of the weight, in the place of module.bias, so the layer adds what torch.nn.Linear
# drew at random. Readers with their own mapping (SpikingJelly, snnTorch) are not touched.
#
# Seen on Python 3.11, x86-64 Linux:
#   bias of the graph:  [100.0, 200.0]
#   output for zeros:   two random numbers below 1 in magnitude, others at every seed
#
# Usage: sh findings/nirtorch-affine-bias.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/nirtorch-affine-bias.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet nirtorch==2.6 nir==1.0.8 torch==2.14.1
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import nir
import nirtorch
import numpy as np
import torch

bias = np.array([100.0, 200.0], np.float32)
nodes = {
    "input": nir.Input(np.array([2])), "affine": nir.Affine(weight=np.eye(2, dtype=np.float32), bias=bias),
    "output": nir.Output(np.array([2])),
}
graph = nir.NIRGraph(nodes=nodes, edges=[("input", "affine"), ("affine", "output")])
found = []
for seed in (0, 1):
    torch.manual_seed(seed)
    out, _ = nirtorch.nir_to_torch(graph, {})(torch.zeros(1, 2))
    found.append(out.detach().numpy()[0])
print("bias of the graph: ", bias.tolist())
print("output for zeros:  ", *(f.tolist() for f in found))
sys.exit(0 if all(np.abs(f).max() < 1 for f in found) and not np.array_equal(*found) else 1)
END
