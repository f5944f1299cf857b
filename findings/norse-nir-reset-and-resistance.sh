#!/bin/sh
# Norse 1.1.0 reads NIR neurons without their v_reset, and an LIF without its r.
#
# norse.torch.from_nir makes an IF of v_threshold alone: after a spike the potential is 0, whatever v_reset says. Of an LIF
# it keeps tau, v_threshold and v_leak: r is taken for 1 (a warning in the log says so for r, nothing for v_reset), and the
# potential starts at v_leak. By NIR's text, tau dv/dt = v_leak - v + r i, and v = v_reset after a spike. With dt = 1:
#
# Seen on Python 3.11, x86-64 Linux:
#   IF,  threshold 2, v_reset -10, input 3 at four steps: spikes [1, 1, 1, 1]; NIR's text has [1, 0, 0, 0]
#   LIF, tau 2, r 2, threshold 10, input 6 at two steps: potential 4.5; NIR's text has 9
#
# Usage: sh findings/norse-nir-reset-and-resistance.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/norse-nir-reset-and-resistance.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet norse==1.1.0 nirtorch==2.6 nir==1.0.8 torch==2.14.1 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import logging
import sys
import warnings

import nir
import norse.torch as norse
import numpy as np
import torch

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)


def ran(neuron, current, steps):
    nodes = {"input": nir.Input(np.array([1])), "neuron": neuron, "output": nir.Output(np.array([1]))}
    graph = nir.NIRGraph(nodes=nodes, edges=[("input", "neuron"), ("neuron", "output")])
    model, state, spikes = norse.from_nir(graph, dt=1.0), None, []
    with torch.no_grad():
        for _ in range(steps):
            out, state = model(torch.full((1,), current), state)
            spikes.append(int(out))
    (kept,) = (s for s in state.state.values() if s)
    return spikes, float(kept[0].v)


one = np.ones(1, np.float32)
spikes, _ = ran(nir.IF(r=one, v_threshold=2 * one, v_reset=-10 * one), 3.0, 4)
print("IF: spikes", spikes)
_, potential = ran(nir.LIF(tau=2 * one, r=2 * one, v_leak=0 * one, v_threshold=10 * one, v_reset=0 * one), 6.0, 2)
print("LIF: potential", potential)
sys.exit(0 if spikes == [1, 1, 1, 1] and potential == 4.5 else 1)
END
