#!/bin/sh
# lava-nc 0.10.0: Conv ignores weight_exp, in the fixed-point model too, where Dense scales by it.
#
# The text of lava.proc.conv.process.Conv says that the effective weight is weight * pow(2, weight_exp), "mostly needed
# for fixed point implementations". Its models never read it (lava/proc/conv/models.py), so a network whose dense layers
# are right is too small, or too large, by a power of two after every convolution.
#
# Seen on Python 3.10, x86-64 Linux, one spike through a weight of 3, Loihi2SimCfg(select_tag="fixed_pt"):
#   weight_exp   0   1   2
#   Dense        3   6  12
#   Conv         3   3   3
#
# Usage: sh findings/lava-conv-weight-exp.sh      makes a temporary environment with the pinned package, of python3.10
#        PYTHON=... sh findings/lava-conv-weight-exp.sh   takes an interpreter that has it
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3.10 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet lava-nc==0.10.0 numpy==1.26.4 scipy==1.15.3
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
# lava starts a process for every part of a network, and they import the main file: it has to be one.
cat > main.py <<'END'
import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source


def sums(kind: str, exponent: int) -> int:
    """Send one spike through one weight of 3, and return what arrives."""
    shape = (1,) if kind == "Dense" else (1, 1, 1)
    data = np.zeros((*shape, 3), int)
    data[..., 0] = 1
    source, sink = Source(data=data), Sink(shape=shape, buffer=3)
    if kind == "Dense":
        layer = Dense(weights=np.array([[3]]), weight_exp=exponent)
    else:
        layer = Conv(weight=np.full((1, 1, 1, 1), 3), weight_exp=exponent, input_shape=(1, 1, 1))
    source.s_out.connect(layer.s_in)
    layer.a_out.connect(sink.a_in)
    sink.run(condition=RunSteps(num_steps=3), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
    total = int(sink.data.get().sum())
    sink.stop()
    return total


if __name__ == "__main__":
    found = {kind: [sums(kind, exponent) for exponent in (0, 1, 2)] for kind in ("Dense", "Conv")}
    print("weight_exp   0   1   2")
    for kind, values in found.items():
        print(f"{kind:10}", *(f"{v:3}" for v in values))
    sys.exit(0 if found == {"Dense": [3, 6, 12], "Conv": [3, 3, 3]} else 1)
END
"$PYTHON" main.py
