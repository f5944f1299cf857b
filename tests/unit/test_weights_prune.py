"""Group-lasso pruning: mask, groups, penalty, the layer that is left alone, and counts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.train import fit
from bitspike.weights import SRAM, GroupLasso, Lognormal, Midrise, Ternary, attach, codes, penalties, sparsity


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 8, 3), nn.Flatten(), nn.Linear(8, 20))


def test_hybrid_check_10_pruning() -> None:
    """The mask keeps what is above 0.5 % of the largest; the first layer stays; counts and shares are right."""
    w = torch.tensor([[1.0, 0.005, 0.00501, -0.004, 0.0, -0.9]])
    mask = GroupLasso().build("conv", w).mask(w)
    assert mask.tolist() == [[True, False, True, False, False, True]]

    model = attach(_model(), quantize=Midrise(4), recover=SRAM(2), prune=GroupLasso())
    counted = sparsity(model)
    assert list(counted.layers) == ["1", "3"]
    assert counted.layers["1"].groups == 16
    master = model[1].parametrizations.weight[0].recover.master
    with torch.no_grad():
        master.fill_(1.0)
        master[0, :16] = 0.004  # a whole group
        master[1, :8] = 0.0  # half of one
        model[3].parametrizations.weight[0].recover.master.fill_(1.0)
    counted = sparsity(model)
    zeros = 16 * 9 + 8 * 9
    assert (counted.layers["1"].weights, counted.layers["1"].zeros) == (8 * 32 * 9, zeros)
    assert (counted.layers["1"].groups, counted.layers["1"].empty) == (16, 1)
    assert counted.weights == zeros / (8 * 32 * 9 + 160)
    assert counted.groups == 1 / (16 + 20)
    assert penalties(model).isfinite()
    assert set(counted.to_dict()) == {"weights", "groups", "layers"}

    everything = attach(_model(), prune=GroupLasso(first=True))
    assert list(sparsity(everything).layers) == ["0", "1", "3"]


def test_hybrid_pitfall_12_all_zero_groups_and_ragged_ones() -> None:
    """The norm of an all-zero group has a finite gradient; 20 inputs in groups of 16 are two groups."""
    layer = attach(nn.Conv2d(20, 4, 3), prune=GroupLasso(1.0, first=True))
    with torch.no_grad():
        layer.parametrizations.weight.original.zero_()
        layer.parametrizations.weight.original[0, 0, 0, 0] = 1.0
    total = penalties(layer)
    total.backward()
    gradient = layer.parametrizations.weight.original.grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert sparsity(layer).layers[""].groups == 8
    few = attach(nn.Conv2d(3, 4, 3), prune=GroupLasso(first=True))
    assert sparsity(few).layers[""].groups == 4
    with pytest.raises(ConstraintError, match="whole number of at least 1"):
        GroupLasso(group=16.0)  # type: ignore[arg-type]


def test_the_penalty_is_the_formula() -> None:
    w = torch.randn(6, 32, 3, 3)
    layer = nn.Conv2d(32, 6, 3)
    layer.weight.data.copy_(w)
    attach(layer, prune=GroupLasso(0.5, group=8, cap=1.1, first=True))
    norms = torch.stack([(w[o, g : g + 8].square().sum() + 1e-12).sqrt() for o in range(6) for g in range(0, 32, 8)])
    expected = 0.5 * torch.minimum(norms, 1.1 * norms.mean()).sum()
    assert penalties(layer).item() == pytest.approx(expected.item(), rel=1e-5)
    transposed = nn.ConvTranspose2d(32, 6, 3)
    transposed.weight.data.copy_(w.transpose(0, 1))
    attach(transposed, prune=GroupLasso(0.5, group=8, cap=1.1, first=True))
    assert penalties(transposed).item() == pytest.approx(expected.item(), rel=1e-5)


def test_groups_above_the_cap_are_pushed_through_the_mean_only() -> None:
    layer = attach(nn.Linear(2, 2, bias=False), prune=GroupLasso(1.0, group=2, first=True))
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(torch.tensor([[3.0, 4.0], [0.6, 0.8]]))
    penalties(layer).backward()
    # R = mean + 1 with mean = (5 + 1) / 2: each norm has a gradient of 1/2 through the mean, the small one 1 besides.
    expected = torch.tensor([[0.6, 0.8], [0.6, 0.8]]) * torch.tensor([[0.5], [1.5]])
    assert torch.allclose(layer.parametrizations.weight.original.grad, expected)


def test_hybrid_pitfall_11_without_sram_the_weights_themselves_are_pruned() -> None:
    model = attach(_model(), quantize=Midrise(2), prune=GroupLasso(threshold=0.5, first=True)).eval()
    for name, own in codes(model).items():
        layer = model.get_submodule(name)
        assert torch.equal(own.decode(), layer.weight)
        assert 0 in own.levels
        assert own.bits == 3, "four levels and a zero"
        master = layer.parametrizations.weight.original
        assert torch.equal(layer.weight == 0, master.abs() <= 0.5 * master.abs().max())
    ternary = attach(nn.Linear(9, 3), quantize=Ternary(), prune=GroupLasso(first=True)).eval()
    assert codes(ternary)[""].bits == 2


def test_what_is_left_out_can_return() -> None:
    layer = attach(nn.Linear(4, 1, bias=False), prune=GroupLasso(threshold=0.5, first=True))
    master = layer.parametrizations.weight.original
    with torch.no_grad():
        master.copy_(torch.tensor([[1.0, 0.4, 0.2, 0.0]]))
    assert layer.weight.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    with torch.no_grad():
        master[0, 1] = 0.6
    assert layer.weight[0, 1].item() == pytest.approx(0.6)


def test_the_mask_of_a_recovered_network_is_of_its_sram() -> None:
    layer = attach(nn.Linear(16, 8), quantize=Midrise(4), vary=Lognormal(0.2), recover=SRAM(2)).eval()
    whole = layer.weight
    attach(layer, prune=GroupLasso(threshold=0.9, first=True))
    rram = Midrise(4).quantize(layer.parametrizations.weight.original)
    mask = sparsity(layer).layers[""].zeros
    assert mask > 0
    assert int((layer.weight == rram / 2).sum()) >= mask
    assert not torch.equal(layer.weight, whole)
    assert torch.equal(codes(layer)[""].decode(), layer.weight)


def test_training_with_the_penalty_empties_groups() -> None:
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    x = torch.randn(200, 32)
    y = (x[:, 0] > 0).long()
    counted = {}
    for strength in (0.0, 0.1):
        trained = attach(copy.deepcopy(model), prune=GroupLasso(strength, group=4, threshold=0.05, first=True))
        fit(trained, [(x, y)], epochs=60, device="cpu")
        counted[strength] = sparsity(trained).groups
    assert counted[0.1] > counted[0.0]


def test_bad_values_are_refused() -> None:
    for wrong in ({"strength": -1}, {"group": 0}, {"cap": 0}, {"threshold": 1.0}, {"threshold": -0.1}):
        with pytest.raises(ConstraintError, match="fix: GroupLasso"):
            GroupLasso(**wrong)
    with pytest.raises(ConstraintError, match="no layer of Linear is pruned"):
        sparsity(nn.Linear(1, 1))
