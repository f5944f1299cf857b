#!/bin/sh
# snnTorch 1.0.0: a neuron that resets by subtraction without delay falls silent where its potential stays above its threshold.
#
# Leaky(reset_mechanism="subtract", reset_delay=False) subtracts the threshold in the step of the spike, and in the next step
# once more where the potential is still at or above the threshold; it then finds the potential below the threshold, sends no
# spike, and adds what it has subtracted. A potential between one and two thresholds that nothing changes stays there without
# another spike. With beta = 1, threshold 1 and one input of 2.5, two thresholds fit into the potential:
#
# Seen on Python 3.11, x86-64 Linux:
#   spikes [1, 0, 0, 0], potential 1.5; subtraction in the step of the spike has [1, 1, 0, 0] and 0.5
#   with reset_delay=True: spikes [1, 1, 0, 0], potential 0.5
#
# Usage: sh findings/snntorch-undelayed-subtraction.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/snntorch-undelayed-subtraction.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet snntorch==1.0.0 torch==2.14.1 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import snntorch
import torch


def ran(delay):
    neuron = snntorch.Leaky(beta=1.0, threshold=1.0, reset_mechanism="subtract", reset_delay=delay)
    potential, spikes = torch.zeros(1), []
    with torch.no_grad():
        for current in (2.5, 0.0, 0.0, 0.0):
            spike, potential = neuron(torch.tensor([current]), potential)
            spikes.append(int(spike))
    return spikes, float(potential)


at_once, delayed = ran(False), ran(True)
print("in the step of the spike:", *at_once)
print("a step later:            ", *delayed)
sys.exit(0 if at_once == ([1, 0, 0, 0], 1.5) and delayed == ([1, 1, 0, 0], 0.5) else 1)
END
