"""SRAM that recovers what device variation costs: equation, starts, gradients, codes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.weights import (
    SRAM,
    Binary,
    DoReFa,
    Dyadic,
    FixedPoint,
    GroupLasso,
    Lognormal,
    MeanAbs,
    Midrise,
    Ternary,
    Uniform,
    attach,
    codes,
    detach,
    on_chip,
    weight_codes,
)


def _conv(**more: object) -> nn.Conv2d:
    return attach(nn.Conv2d(3, 8, 3), quantize=Midrise(4), vary=Lognormal.for_bits(4), **more)  # type: ignore[arg-type]


def _stage(layer: nn.Module) -> nn.Module:
    stage = layer.parametrizations.weight[0].recover
    assert isinstance(stage, nn.Module)
    return stage


def test_hybrid_check_09_equal_memories_give_the_weight_back() -> None:
    """No variation, W_S = W_R, equal bits, k = 0: conv(x, Q(W)); k = 1: 1.5 times that. Only W_S learns."""
    x, w = torch.randn(2, 3, 6, 6), torch.randn(8, 3, 3, 3).clamp(-1, 1)
    for shift, factor in ((0, 1.0), (1, 1.5), (-1, 0.75)):
        layer = nn.Conv2d(3, 8, 3, bias=False)
        layer.weight.data.copy_(w)
        attach(layer, quantize=Midrise(4), vary=Lognormal(0.0), recover=SRAM(4, shift))
        assert torch.equal(layer.weight, factor * Midrise(4).quantize(w))
        expected = nn.functional.conv2d(x, Midrise(4).quantize(w))
        assert torch.allclose(layer(x), factor * expected, atol=1e-5)
        step = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
        layer(x).square().sum().backward()
        master = layer.parametrizations.weight.original
        assert master.grad is None
        assert not master.requires_grad
        gradient = _stage(layer).master.grad
        assert gradient is not None
        assert gradient.abs().sum() > 0
        step.step()
        assert torch.equal(master, w)
        assert not torch.equal(_stage(layer).master, w)


def test_the_gradient_is_that_of_two_convolutions() -> None:
    """The straight-through gradient of W_S is 2**k / 2 times that of the weight."""
    layer = _conv(recover=SRAM(2, -1))
    layer.weight.backward(g := torch.randn(8, 3, 3, 3))
    assert torch.allclose(_stage(layer).master.grad, g * 2**-1 / 2)


def test_variation_reaches_the_frozen_memory_alone() -> None:
    layer = _conv(recover=SRAM(4)).train()
    ideal = layer.parametrizations.weight[0].ideal(layer.parametrizations.weight.original)
    s = Midrise(4).quantize(_stage(layer).master)
    varied = 2 * layer.weight - s
    assert torch.allclose(varied.sign(), (2 * ideal - s).sign())
    assert not torch.equal(layer.weight, layer.weight)
    assert torch.equal(layer.eval().weight, ideal)


def test_hybrid_pitfall_10_zero_starts_without_an_offset() -> None:
    """A network whose SRAM starts from zero is the network without it: nothing is added, nothing is halved."""
    for bits in range(2, 9):
        layer = nn.Conv2d(3, 8, 3)
        plain = copy.deepcopy(layer)
        attach(layer, quantize=Midrise(4), recover=SRAM(bits, start="zero"))
        assert torch.equal(layer.weight, Midrise(4).quantize(plain.weight))
        layer.weight.sum().backward()
        assert torch.equal(_stage(layer).master.grad, torch.ones_like(plain.weight))
        assert codes(layer)[""].decode().equal(layer.weight)
    for bits, scheme in ((1, None), (4, Midrise(4))):
        with pytest.raises(ConstraintError, match=r"constant offset\n  fix: SRAM\(bits=2, start='zero'\)"):
            SRAM(bits, start="zero", quantize=scheme)


def test_it_starts_from_another_network_or_at_random() -> None:
    other = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2))
    attached = attach(copy.deepcopy(other), quantize=Midrise(2), vary=Lognormal(0.1))
    for state in (other.state_dict(), attached.state_dict()):
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8, 2))
        attach(model, quantize=Midrise(4), vary=Lognormal(0.1), recover=SRAM(2, start=state))
        assert torch.equal(_stage(model[0]).master, other[0].weight)
        assert torch.equal(_stage(model[2]).master, other[2].weight)
    recovered = attach(copy.deepcopy(other), quantize=Midrise(4), recover=SRAM(2, start="xavier", seed=1))
    master = _stage(recovered[0]).master
    assert master.abs().max() <= (6 / (9 * 11)) ** 0.5
    assert not torch.equal(master, other[0].weight)
    again = attach(copy.deepcopy(other), quantize=Midrise(4), recover=SRAM(2, start=recovered.state_dict()))
    assert torch.equal(_stage(again[0]).master, master)


def test_hybrid_pitfall_08_a_state_of_another_architecture_is_refused_by_layer_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3))
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(
        ConstraintError, match=r"1.weight: the state for SRAM has no weight of layer '1', it has 0\.weight"
    ):
        attach(model, quantize=Midrise(4), recover=SRAM(2, start={"0.weight": torch.zeros(8, 3, 3, 3)}))
    other = {"0.weight": torch.zeros(8, 3, 3, 3), "1.weight": torch.zeros(8, 3, 3, 3)}
    with pytest.raises(
        ConstraintError, match=r"1.weight: it is \[8, 3, 3, 3\] in the state for SRAM and \[8, 8, 3, 3\] here"
    ):
        attach(model, quantize=Midrise(4), recover=SRAM(2, start=other))
    assert list(model.state_dict()) == list(before), "nothing has been changed"
    attach(model, quantize=Midrise(4))
    with pytest.raises(ConstraintError, match=r"1.weight: it is \[8, 3, 3, 3\] in the state for SRAM"):
        attach(model, recover=SRAM(2, start=other))


@pytest.mark.parametrize("sram", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("rram", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("shift", [-3, 0, 2])
def test_the_codes_are_those_of_the_sum(rram: int, sram: int, shift: int) -> None:
    layer = attach(nn.Linear(9, 7), quantize=Midrise(rram), vary=Lognormal(0.2), recover=SRAM(sram, shift)).eval()
    total = codes(layer)[""]
    assert torch.equal(total.decode(), layer.weight)
    assert total.low <= total.codes.min()
    assert total.codes.max() <= total.high
    with on_chip(layer, 3, resolution=7):
        chip = weight_codes(layer)
        assert chip is not None
        assert torch.equal(chip.decode(), layer.weight)
        assert not torch.equal(chip.decode(), total.decode())


@pytest.mark.parametrize(
    "scheme",
    [
        Ternary(scale=Dyadic(MeanAbs())),
        Binary(scale=Dyadic(MeanAbs())),
        FixedPoint(0.25, 3),
        Uniform(4, scale=Dyadic()),
    ],
)
def test_other_schemes_add_up_where_their_units_meet(scheme: object) -> None:
    layer = attach(nn.Linear(9, 7), quantize=scheme, recover=SRAM(2, quantize=scheme)).eval()  # type: ignore[arg-type]
    assert torch.equal(codes(layer)[""].decode(), layer.weight)


def test_hybrid_pitfall_16_ternary_and_dorefa_train_with_noise_and_sram() -> None:
    for scheme in (Ternary(window=1.0), Ternary(), DoReFa(2), DoReFa(4)):
        layer = attach(nn.Linear(9, 7), quantize=scheme, vary=Lognormal(0.2), recover=SRAM(2, quantize=scheme))
        layer(torch.randn(4, 9)).square().sum().backward()
        assert _stage(layer).master.grad.abs().sum() > 0
        ideal = layer.parametrizations.weight[0].ideal(layer.parametrizations.weight.original)
        assert torch.equal(layer.eval().weight, ideal)
    same = attach(nn.Linear(9, 7), quantize=DoReFa(2), recover=SRAM(2, quantize=DoReFa(2))).eval()
    assert torch.equal(codes(same)[""].decode(), same.weight), "one scale is a grid in common"
    mixed = attach(nn.Linear(9, 7), quantize=Ternary(), recover=SRAM(2, quantize=Uniform(3)))
    assert weight_codes(mixed) is None, "two scales that are floats have no unit in common"


def test_codes_of_a_grid_without_bounds_are_as_wide_as_they_are() -> None:
    """Weights of such an SRAM grow beyond its usual codes; the sum says how far, or no integers could be made of it."""
    layer = _conv(recover=SRAM(2, quantize=Midrise(2, clamp=False)))
    with torch.no_grad():
        _stage(layer).master.mul_(50)
    total = weight_codes(layer)
    assert total is not None
    assert torch.equal(total.decode(), layer.eval().weight)
    least, most = int(total.codes.min()), int(total.codes.max())
    assert total.low <= least < -16
    assert 16 < most <= total.high
    assert -(2 ** (total.bits - 1)) <= total.low
    assert total.high < 2 ** (total.bits - 1)


def test_a_float_sram_has_no_codes() -> None:
    layer = _conv(recover=SRAM(32))
    assert codes(layer) == {}
    w = layer.parametrizations.weight.original
    assert torch.allclose(layer.eval().weight, (Midrise(4).quantize(w) + w) / 2)


def test_hybrid_pitfall_15_nothing_is_overwritten_between_forward_and_backward() -> None:
    """Weights are functions of their masters: autograd sees all of it, and only steps change masters."""
    layer = _conv(recover=SRAM(2))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(torch.randn(1, 3, 5, 5)).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_state_detach_and_copies() -> None:
    layer = _conv(recover=SRAM(2)).eval()
    state = layer.state_dict()
    assert "parametrizations.weight.0.recover.master" in state
    fresh = _conv(recover=SRAM(2)).eval()
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh.weight, layer.weight)
    clone = copy.deepcopy(layer)
    with torch.no_grad():
        _stage(clone).master.add_(1)
    assert not torch.equal(clone.weight, layer.weight)
    weight = layer.weight
    plain = detach(layer)
    assert torch.equal(plain.weight, weight)
    assert plain.weight.requires_grad, "what was frozen trains again"
    frozen = nn.Conv2d(3, 8, 3)
    frozen.weight.requires_grad_(False)
    assert not detach(attach(frozen, quantize=Midrise(4), recover=SRAM(2))).weight.requires_grad


def test_it_fits_every_kind_of_layer() -> None:
    layers = [
        nn.Conv1d(2, 4, 3), nn.Conv3d(2, 4, 2), nn.ConvTranspose2d(2, 4, 3), nn.Conv2d(4, 4, 3, groups=4),
        nn.Linear(1, 1),
    ]  # fmt: skip
    for layer in layers:
        scheme = Uniform(3, per_channel=not isinstance(layer, nn.Conv2d), scale=Dyadic())
        attach(
            layer, quantize=scheme, vary=Lognormal(0.1), recover=SRAM(3, quantize=scheme), prune=GroupLasso(first=True)
        )
        assert torch.equal(codes(layer.eval())[""].decode(), layer.weight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bits": 0}, "from 1 to 8"),
        ({"bits": 9}, "from 1 to 8"),
        ({"bits": 2, "shift": 0.5}, "from -16 to 16"),
        ({"bits": 2, "shift": 17}, "from -16 to 16"),
        ({"bits": 2, "start": "ones"}, "'rram', 'zero', 'xavier'"),
    ],
)
def test_bad_values_fail_when_the_plan_is_built(arguments: dict[str, object], said: str) -> None:
    with pytest.raises(ConstraintError, match=said):
        SRAM(**arguments)  # type: ignore[arg-type]
