"""One contract over every scheme, found as the subclasses of ``Scheme``."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch
from torch import Tensor, nn

import bitspike.weights
from bitspike.errors import ConstraintError
from bitspike.weights import (
    APoT,
    Binary,
    Constant,
    DoReFa,
    Dyadic,
    FixedPoint,
    LearnedClip,
    MeanAbs,
    Midrise,
    PowerOfTwo,
    Scheme,
    Ternary,
    Uniform,
    attach,
    codes,
)
from bitspike.weights.schemes.base import inside
from bitspike.weights.stage import Encoder, StagePlan


def _found(base: type[Scheme]) -> set[type[Scheme]]:
    below = {c for sub in base.__subclasses__() for c in {sub, *_found(sub)}}
    return {c for c in below if c.__module__.startswith("bitspike.") and not c.__name__.startswith("_")}


BITS = (1, 2, 3, 4, 8)
EXAMPLES: dict[type[Scheme], list[Scheme]] = {
    Uniform: [
        *(Uniform(b) for b in (*BITS, 11, 12, 16)),
        *(Uniform(b, per_channel=True, scale=Dyadic()) for b in BITS),
        Uniform(4, clip_gradient=True),
    ],
    Binary: [Binary(), Binary(per_channel=True, scale=Dyadic(MeanAbs()))],
    Ternary: [Ternary(), Ternary(per_channel=True, scale=Dyadic(MeanAbs())), Ternary(window=1.0)],
    Midrise: [Midrise(b) for b in BITS],
    DoReFa: [DoReFa(b) for b in BITS],
    PowerOfTwo: [*(PowerOfTwo(b) for b in BITS), PowerOfTwo(4, per_channel=True)],
    APoT: [*(APoT(b) for b in BITS), APoT(4, normalize=True, scale=Constant(3.0)), APoT(5, per_channel=True)],
    FixedPoint: [FixedPoint(2**-6, bits=8), FixedPoint(0.01)],
}
SCHEMES = [pytest.param(s, id=repr(s)) for examples in EXAMPLES.values() for s in examples]


def test_every_scheme_is_exported_and_has_an_example() -> None:
    found = _found(Scheme)
    exported = {
        c
        for c in vars(bitspike.weights).values()
        if inspect.isclass(c) and issubclass(c, Scheme) and c.__name__ in bitspike.weights.__all__
    } - {Scheme}
    assert found
    assert found == exported == set(EXAMPLES)


def _weights(scheme: Scheme) -> list[Tensor]:
    del scheme
    generator = torch.Generator().manual_seed(7)
    normal = torch.randn(6, 5, 3, 3, generator=generator)
    return [
        normal,
        normal.double(),
        normal * 1e-3,
        normal.clamp(max=0.0),
        torch.zeros(6, 5, 3, 3),
        torch.full((6, 5, 3, 3), 1e-38) * (normal > 0),  # so small that a step would leave float32
        torch.full((6, 5, 3, 3), -0.25),
        normal * (torch.arange(6) % 2).reshape(-1, 1, 1, 1),  # every second channel is dead
        torch.randn(4, 3, generator=generator),
    ]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_a_frozen_value(scheme: Scheme) -> None:
    assert dataclasses.is_dataclass(scheme)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scheme.bits = 3
    assert scheme == dataclasses.replace(scheme)
    assert hash(scheme) == hash(dataclasses.replace(scheme))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_training_weight_is_the_decoded_code(scheme: Scheme) -> None:
    for axis in (0, 1):
        for w in _weights(scheme):
            found, scale = scheme.encode(w, axis)
            assert found.dtype == torch.int64
            assert scale.shape == ((w.shape[axis],) if scheme.per_channel else (1,))
            assert bool((scale > 0).all())
            assert bool(torch.isfinite(scale).all())
            decoded = scheme.decode(found, scale, axis)
            trained = scheme.quantize(w.clone().requires_grad_(), axis)
            assert trained.dtype == w.dtype
            assert torch.equal(trained, decoded)
            # The exported scale is float64; one rounding back to float32 must give the same numbers.
            assert torch.equal(scheme.decode(found, scale.double(), axis).to(w.dtype), decoded)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_codes_stay_inside_their_grid(scheme: Scheme) -> None:
    levels = scheme.levels
    if levels is not None:
        assert list(levels) == sorted(set(levels))
        assert (levels[0], levels[-1]) == (scheme.low, scheme.high)
        assert len(levels) <= 2**scheme.bits
    else:
        assert scheme.high - scheme.low < 2**scheme.bits
    for w in _weights(scheme):
        found, _ = scheme.encode(w * 3)
        assert scheme.low <= int(found.min())
        assert int(found.max()) <= scheme.high
        assert levels is None or set(found.unique().tolist()) <= set(levels)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_gradient_is_finite_and_reaches_the_master(scheme: Scheme) -> None:
    for w in _weights(scheme):
        latent = w.clone().requires_grad_()
        scheme.quantize(latent).sum().backward()
        assert latent.grad is not None
        assert bool(torch.isfinite(latent.grad).all())
        assert bool((latent.grad >= 0).all())
        assert bool((latent.grad != 0).any())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_leaves_its_argument_alone(scheme: Scheme) -> None:
    for w in _weights(scheme):
        before = w.clone()
        scheme.encode(w)
        scheme.quantize(w)
        assert torch.equal(w, before)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_works_in_half_precision_and_refuses_nan(scheme: Scheme) -> None:
    w = torch.randn(4, 3).bfloat16()
    found, scale = scheme.encode(w)
    assert scale.dtype == torch.float32
    assert torch.equal(scheme.quantize(w), scheme.decode(found, scale).bfloat16())
    broken = torch.tensor([[1.0, float("nan")], [0.5, -1.0]])
    scheme.quantize(broken)  # a diverging run is not stopped by a look-up
    with pytest.raises(ConstraintError, match="NaN"):
        scheme.encode(broken)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_attached_to_a_layer_its_codes_are_the_weight(scheme: Scheme) -> None:
    for layer in (nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 2), nn.Conv1d(2, 4, 3, groups=2), nn.Linear(5, 4)):
        model = attach(nn.Sequential(layer), quantize=scheme).eval()
        result = codes(model)["0"]
        assert torch.equal(result.decode(), model[0].weight)
        assert (result.low, result.high, result.bits) == (scheme.low, scheme.high, scheme.bits)
        assert result.scale.dtype == torch.float64
        assert result.codes.shape == model[0].weight.shape
        assert result.scale.numel() == (4 if scheme.per_channel else 1)


def _trained_plans() -> set[type]:
    """Return the schemes with parameters of their own: they describe a stage and are none of the schemes above."""
    public = (getattr(bitspike.weights, name) for name in bitspike.weights.__all__)
    kinds = {c for c in public if inspect.isclass(c) and c.__module__.startswith("bitspike.weights.schemes.")}
    return {c for c in kinds if not issubclass(c, Scheme) and hasattr(c, "build")}


TRAINED: dict[type, list[StagePlan]] = {
    LearnedClip: [
        *(LearnedClip(b) for b in (2, 3, 4, 5, 8)),
        *(LearnedClip(b, grid="uniform", normalize=False, clip=0.75) for b in (2, 4, 8)),
        LearnedClip(3, gradient="clip", statistics="trained"),
    ],
}
PLANS = [pytest.param(p, id=repr(p)) for examples in TRAINED.values() for p in examples]


def test_every_scheme_with_parameters_has_an_example() -> None:
    assert _trained_plans() == set(TRAINED)


@pytest.mark.parametrize("plan", PLANS)
def test_a_trained_scheme_is_a_frozen_value_whose_stages_keep_the_law(plan: StagePlan) -> None:
    assert plan == dataclasses.replace(plan)
    assert hash(plan) == hash(dataclasses.replace(plan))
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.bits = 3
    for w in _weights(Uniform(4)):
        stage, before = plan.build("conv", w), w.clone()
        assert isinstance(stage, Encoder)
        found, scale = stage.encode(w)
        latent = w.clone().requires_grad_()
        trained = stage(latent)
        assert trained.dtype == w.dtype
        assert torch.equal(trained, found.to(scale.dtype) * scale)
        assert torch.equal((found * scale.double()).to(w.dtype), trained)
        assert bool((scale > 0).all())
        assert stage.low <= int(found.min()) <= int(found.max()) <= stage.high
        levels = stage.levels or range(stage.low, stage.high + 1)
        assert set(found.unique().tolist()) <= set(levels)
        assert len(levels) == 2**stage.bits - 1
        trained.sum().backward()
        assert latent.grad is not None
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in stage.parameters())
        assert bool(latent.grad.isfinite().all())
        assert torch.equal(w, before)


@pytest.mark.parametrize("plan", PLANS)
def test_attached_to_a_layer_the_codes_of_a_trained_scheme_are_the_weight(plan: StagePlan) -> None:
    for layer in (nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(3, 4, 2), nn.Conv1d(2, 4, 3, groups=2), nn.Linear(5, 4)):
        model = attach(nn.Sequential(layer), quantize=plan)
        result = codes(model)["0"]
        assert torch.equal(result.decode(), model[0].weight)
        assert result.bits == plan.bits
        assert result.scale.numel() == 1
        assert result.scheme == repr(plan)


def test_the_gradient_window_of_clipped_grids_keeps_the_largest_weight() -> None:
    w = torch.randn(100)
    _, scale = Uniform(8).encode(w)
    assert bool(inside(w, scale, 127).all())
    assert not bool(inside(w * 1.01, scale, 127).all())
