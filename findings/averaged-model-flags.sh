#!/bin/sh
# torch 2.14: the moving average of a network (AveragedModel with use_buffers=True) averages counters and flags.
#
# torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True) is the documented
# way to average running statistics too. For tensors that are no floats it computes ema * decay + value * (1 - decay) in
# floats and copies that into the integer or the bool, where it is cut: the number of batches of a BatchNorm lags behind, and a flag that has become
# False stays True for ever. There is no error and no warning. Bitspike copies buffers that are no floats.
#
# Seen on Python 3.11, x86-64 Linux, decay 0.9 and 1000 updates:
#   batches counted by the network 1000, by its average 990
#   flag of the network False, of its average True
#
# Usage: sh findings/averaged-model-flags.sh      makes a temporary environment with the pinned packages
#        PYTHON=... sh findings/averaged-model-flags.sh   takes an interpreter that has them
# The exit code is 1 if the behaviour has changed.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
if [ -z "${PYTHON:-}" ]; then
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet torch==2.14.1
    PYTHON="$place/venv/bin/python"
fi
cd "$place"
"$PYTHON" - <<'END'
import sys

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.register_buffer("warming_up", torch.tensor(True))


net = Net()
average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
for step in range(1000):
    net.norm(torch.rand(4, 2))
    net.warming_up.fill_(step < 10)
    average.update_parameters(net)
counted = int(net.norm.num_batches_tracked), int(average.module.norm.num_batches_tracked)
flags = bool(net.warming_up), bool(average.module.warming_up)
print(f"torch {torch.__version__}: batches {counted[0]}, averaged {counted[1]}; flag {flags[0]}, averaged {flags[1]}")
sys.exit(0 if counted[1] < counted[0] and flags == (False, True) else 1)
END
