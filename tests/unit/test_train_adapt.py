"""Running statistics that are measured again for a network whose weights have changed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, DataError


def network(norm: str, steps: int = 4) -> nn.Sequential:
    torch.manual_seed(0)
    norms = {
        "torch": nn.BatchNorm2d,
        "threshold": lambda c: bs.ThresholdBatchNorm(c, threshold=1.0),
        "shift": bs.ShiftBatchNorm,
        "through time": lambda c: bs.nn.norms.bntt.BatchNormThroughTime(c, steps=steps),
    }
    make = norms[norm]
    return nn.Sequential(
        bs.Repeat(steps=steps),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False), make(6)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Conv2d(6, 6, 3, bias=False), make(6)),
        bs.LIF(decay=0.5),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(96, 3)),
        bs.RateReadout(),
    )


def batches(count: int = 3, size: int = 7) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(2)
    whole = [(torch.rand(size, 1, 8, 8, generator=generator), torch.zeros(size).long()) for _ in range(count)]
    return [*whole, (torch.rand(2, 1, 8, 8, generator=generator), torch.zeros(2).long())]


@pytest.mark.parametrize("norm", ["torch", "threshold", "shift", "through time"])
def test_statistics_become_those_of_the_chip_and_nothing_else_changes(norm: str) -> None:
    model = bs.attach(network(norm), quantize=bs.Midrise(4), vary=bs.Lognormal(0.5), skip="5.1").eval()
    before = copy.deepcopy(model.state_dict())
    with bs.on_chip(model, 1):
        bs.adapt(model, batches())
        images = torch.cat([x for x, _ in batches()])
        sums = model[1][0](images)
    after = model.state_dict()
    changed = {name.rpartition(".")[2] for name in before if not torch.equal(before[name], after[name])}
    assert (
        {"running_mean", "running_var"} <= changed <= {"running_mean", "running_var", "num_batches_tracked", "tracked"}
    )
    mean = sums.mean((0, 2, 3))
    measured = model[1][1].running_mean
    assert torch.allclose(measured[0] if measured.dim() == 2 else measured, mean, atol=1e-5), "over all samples alike"
    assert not any(module.training for module in model.modules())
    assert [m.momentum for m in model.modules() if hasattr(m, "running_mean")] == [0.1, 0.1]


@pytest.mark.parametrize("norm", ["torch", "through time"])
def test_what_drift_does_to_all_weights_alike_is_taken_back(norm: str) -> None:
    """Weights that fell by one factor give the same normalized sums once means and variances are measured again."""
    data = batches()
    model = network(norm).eval()
    for module in model.modules():
        if hasattr(module, "running_mean"):
            module.eps = 1e-12  # the one number that does not fall with the weights
    bs.adapt(model, data)
    x = model[0](data[0][0])
    wanted = model[1](x)
    drifted = bs.attach(copy.deepcopy(model), vary=bs.Drift(86400, nu=0.1, seed=0, fixed=True), skip="5.1").eval()
    assert not torch.allclose(drifted[1](x), wanted, atol=1e-4)
    bs.adapt(drifted, data)
    assert torch.allclose(drifted[1](x), wanted, atol=1e-4)


def test_one_step_one_channel_and_wrong_use() -> None:
    bs.adapt(network("torch", steps=1), batches(1))
    with pytest.raises(DataError, match="no sample"):
        bs.adapt(network("torch"), [])
    with pytest.raises(ConstraintError, match="no norm of Linear keeps running statistics"):
        bs.adapt(nn.Linear(1, 1), batches())
    model = bs.attach(network("torch"), vary=bs.Lognormal(0.5, active_in_eval=True))
    with pytest.raises(ConstraintError, match="drawn anew at every call"):
        bs.adapt(model, batches())
    with bs.on_chip(model, 0):
        bs.adapt(model, batches())
