"""Faults of the programs that the hybrid memory comes from, and that this one must not have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.ops.decay import groups


def test_hybrid_pitfall_07_everything_but_the_frozen_memory_goes_on_training() -> None:
    """Fully connected layers and gains of norms keep their values when SRAM is attached, and train."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    bs.attach(model, quantize=bs.Midrise(4), vary=bs.Lognormal(0.1), recover=bs.SRAM(2), skip="3")
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "0.weight")
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {"1.weight", "1.bias", "3.weight", "3.bias", "0.parametrizations.weight.0.recover.master"} <= trained
    assert "0.parametrizations.weight.original" not in trained


def test_hybrid_pitfall_09_the_mask_and_both_memories_are_there_in_evaluation() -> None:
    layer = nn.Conv2d(16, 4, 3)
    prune = bs.GroupLasso(threshold=0.3, first=True)
    bs.attach(layer, quantize=bs.Midrise(4), vary=bs.Lognormal(0.3), recover=bs.SRAM(2), prune=prune)
    state = layer.state_dict()
    again = bs.attach(
        nn.Conv2d(16, 4, 3), quantize=bs.Midrise(4), vary=bs.Lognormal(0.3), recover=bs.SRAM(2), prune=prune
    )
    again.load_state_dict(state, strict=True)
    assert torch.equal(again.eval().weight, layer.eval().weight)
    rram = bs.Midrise(4).quantize(layer.parametrizations.weight.original)
    assert int((layer.weight == rram / 2).sum()) == bs.sparsity(layer).layers[""].zeros > 0


def test_hybrid_pitfall_13_a_scale_of_zero_is_no_variation() -> None:
    layer = bs.attach(nn.Linear(8, 8), quantize=bs.Midrise(4), vary=bs.Lognormal.for_bits(4, scale=0))
    assert torch.equal(layer.train().weight, bs.codes(layer)[""].decode())


def test_hybrid_pitfall_14_every_chip_is_measured_on_all_data() -> None:
    """A chip keeps its draws over all batches, so that the spread between chips is not averaged away."""
    layer = bs.attach(nn.Linear(8, 2), quantize=bs.Midrise(2), vary=bs.Lognormal(0.5))
    x, y = torch.randn(60, 8), torch.randint(2, (60,))
    whole = bs.yield_(layer, [(x, y)], chips=4)
    parts = bs.yield_(layer, [(x[i : i + 7], y[i : i + 7]) for i in range(0, 60, 7)], chips=4)
    assert whole.accuracies == pytest.approx(parts.accuracies)
    assert parts.samples == 60


def test_hybrid_pitfall_17_gains_do_not_decay() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    bs.attach(model, quantize=bs.Midrise(4), recover=bs.SRAM(2))
    parted = groups(model.parameters(), 1e-4)
    decaying = [parameter for group in parted if group["weight_decay"] for parameter in group["params"]]
    assert [id(parameter) for parameter in decaying] == [id(model[0].parametrizations.weight[0].recover.master)]


def test_hybrid_pitfall_18_fully_connected_layers_can_lie_in_devices_too() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    bs.attach(model, quantize=bs.Midrise(4), vary=bs.Lognormal(0.4), recover=bs.SRAM(2))
    ideal = model.eval()[2].weight
    with bs.on_chip(model, 0):
        assert not torch.equal(model[2].weight, ideal)
