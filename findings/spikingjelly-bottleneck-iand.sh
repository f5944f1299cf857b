#!/bin/sh
# SpikingJelly 2.0.0: the bottleneck of a SEW-ResNet with cnf="IAND" takes its branch for its shortcut.
#
# IAND is (1 - a) * s of the spikes a of the branch and s of the shortcut (Fang et al., NeurIPS 2021, table 1): a branch
# that never fires makes the block the identity. The basic block of sew_resnet18 and -34 calls sew_function(identity, out),
# the bottleneck of sew_resnet50, -101 and -152 sew_function(out, identity), and gives a * (1 - s). Nothing goes through
# a bottleneck whose branch is silent.
#
# Seen on Python 3.11, x86-64 Linux, a silent branch, 16 of 32 spikes in:
#   sew_resnet18 IAND: 16 spikes out, the block is the identity
#   sew_resnet50 IAND: 0 spikes out; the paper has 16
#
# Usage: sh findings/spikingjelly-bottleneck-iand.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/spikingjelly-bottleneck-iand.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet spikingjelly==2.0.0 torch==2.14.1 torchvision==0.29.1 numpy==2.4.6
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys
import warnings

import torch

warnings.simplefilter("ignore")
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model import sew_resnet


def through(make, last):
    net = make(cnf="IAND", spiking_neuron=neuron.IFNode).eval()
    functional.set_step_mode(net, "m")
    block = net.layer1[1]
    getattr(block, last).weight.data.zero_()  # the branch is silent
    channels = block.conv1.in_channels
    spikes = torch.zeros(2, 1, channels, 4, 4)
    spikes[:, :, 0, ::2] = 1
    out = block(spikes)
    return int(spikes.sum()), int(out.sum()), torch.equal(out, spikes)


basic = through(sew_resnet.sew_resnet18, "bn2")
bottleneck = through(sew_resnet.sew_resnet50, "bn3")
print("spikes in, spikes out, identity:", "sew_resnet18", *basic, "| sew_resnet50", *bottleneck)
sys.exit(0 if basic == (16, 16, True) and bottleneck == (16, 0, False) else 1)
END
