"""Laws of the schemes over random weights."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from bitspike.weights import (
    APoT,
    Binary,
    DoReFa,
    Dyadic,
    Max,
    MeanAbs,
    Midrise,
    PowerOfTwo,
    Scheme,
    Ternary,
    Uniform,
)
from bitspike.weights.scales import nearest_power_of_two

quick = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def tensors(draw: st.DrawFn, largest: float = 4.0) -> Tensor:
    count = draw(st.integers(1, 12))
    values = st.floats(-largest, largest, width=32, allow_subnormal=False)
    return torch.tensor(draw(st.lists(values, min_size=count, max_size=count))).reshape(1, -1)


@quick
@given(tensors(), st.integers(2, 16))
def test_uniform_is_within_half_a_step_of_every_weight(w: Tensor, bits: int) -> None:
    scheme = Uniform(bits, scale=Max())
    found, scale = scheme.encode(w)
    assert found.abs().max() <= scheme.high
    error = (scheme.decode(found, scale).double() - w.double()).abs().max()
    assert error <= scale.double().item() / 2 * (1 + 2**-8)


@quick
@given(tensors(), st.integers(2, 11))
def test_uniform_decodes_without_rounding_and_is_idempotent(w: Tensor, bits: int) -> None:
    scheme = Uniform(bits, scale=Max())
    found, scale = scheme.encode(w)
    once = scheme.quantize(w)
    assert torch.equal(once.double(), found.double() * scale.double())
    assert torch.equal(scheme.quantize(once), once)
    assert torch.equal(scheme.encode(once)[0], found)


@quick
@given(tensors(), st.sampled_from([2, 3]))
def test_the_usual_scale_of_few_bits_reaches_no_further_than_the_weights_and_decodes_exactly(
    w: Tensor, bits: int
) -> None:
    scheme = Uniform(bits)
    found, scale = scheme.encode(w)
    assert bool((scale <= Uniform(bits, scale=Max()).encode(w)[1]).all())
    assert found.abs().max() <= scheme.high
    assert torch.equal(scheme.quantize(w).double(), found.double() * scale.double())
    assert torch.equal(scheme.encode(-w)[0], -found)


@quick
@given(
    tensors(),
    st.sampled_from(
        [Uniform(4), Uniform(1), Uniform(2), Uniform(3), PowerOfTwo(4), APoT(5), Ternary(), Binary(), DoReFa(4)]
    ),
)
def test_a_factor_of_two_changes_the_scale_only(w: Tensor, scheme: Scheme) -> None:
    if isinstance(scheme, DoReFa):  # its tanh sees the size of a weight
        return
    found, scale = scheme.encode(w)
    doubled, twice = scheme.encode(2 * w)
    assert torch.equal(found, doubled)
    assert bool((w == 0).all()) or torch.equal(2 * scale, twice)


@quick
@given(tensors(), st.sampled_from([Uniform(3), Uniform(8), PowerOfTwo(4), APoT(3), APoT(8), Ternary()]))
def test_grids_with_a_zero_are_odd_functions(w: Tensor, scheme: Scheme) -> None:
    assert torch.equal(scheme.quantize(-w), -scheme.quantize(w))


@quick
@given(tensors(), st.sampled_from([PowerOfTwo(2), PowerOfTwo(4), PowerOfTwo(8), APoT(2), APoT(3), APoT(4), APoT(8)]))
def test_table_grids_choose_a_nearest_level(w: Tensor, scheme: Scheme) -> None:
    found, scale = scheme.encode(w)
    levels = torch.tensor(scheme.levels).double() * scale.double()
    chosen = (found.double() * scale.double() - w.double()).abs()
    best = (levels.reshape(-1, 1) - w.double()).abs().amin(0)
    # A quotient that float32 rounds onto a midpoint may take either neighbor.
    assert bool((chosen <= best + scale.double() * scheme.high * 2**-22).all())


@quick
@given(tensors(), st.integers(1, 8))
def test_midrise_has_no_zero_and_stays_close(w: Tensor, bits: int) -> None:
    scheme = Midrise(bits)
    found, _ = scheme.encode(w)
    assert bool((found != 0).all())
    inside = w.abs() <= 1
    error = (scheme.quantize(w) - w).abs()[inside]
    assert bool((error <= 2.0 ** (1 - bits) + 1e-6).all())


@quick
@given(tensors(), st.integers(2, 8))
def test_dorefa_codes_are_odd_and_reach_both_ends_of_their_range(w: Tensor, bits: int) -> None:
    scheme = DoReFa(bits)
    found, _ = scheme.encode(torch.cat([w, -w], 1))
    assert bool((found % 2 == 1).all())
    if bool((w.abs() > 2.0**-99).any()):
        assert (int(found.min()), int(found.max())) == (scheme.low, scheme.high)


@quick
@given(tensors(), st.sampled_from([Uniform, Ternary, Binary]), st.integers(2, 8))
def test_dyadic_scales_are_powers_of_two_near_the_rule(w: Tensor, kind: type[Scheme], bits: int) -> None:
    if kind is Uniform:
        plain, rounded = Uniform(bits, scale=Max()), Uniform(bits, scale=Dyadic(Max()))
    else:
        plain, rounded = kind(), kind(scale=Dyadic(MeanAbs()))  # type: ignore[call-arg]
    (_, free), (_, scale) = plain.encode(w), rounded.encode(w)
    assert torch.frexp(scale).mantissa.item() == 0.5
    assert 2**-0.51 <= scale.item() / free.item() <= 2**0.51


@quick
@given(tensors())
def test_a_dyadic_ternary_keeps_its_codes(w: Tensor) -> None:
    assert torch.equal(Ternary().encode(w)[0], Ternary(scale=Dyadic(MeanAbs())).encode(w)[0])


@quick
@given(st.integers(0, 2**31), st.integers(1, 8))
def test_sums_of_dyadic_weights_are_exact_in_any_order(seed: int, bits: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    w = Uniform(bits, scale=Dyadic()).quantize(torch.randn(2000, generator=generator))
    order = torch.randperm(2000, generator=generator)
    exact = w.double().sum().item()
    assert w.sum().item() == w[order].sum().item() == w.cumsum(0)[-1].item() == exact


@quick
@given(st.floats(2.0**-100, 2.0**100, width=32))
def test_the_nearest_power_of_two_is_a_power_and_within_a_factor_of_root_two(x: float) -> None:
    value = torch.tensor([x])
    power = nearest_power_of_two(value)
    assert torch.frexp(power).mantissa.item() == 0.5
    assert 2**-0.5 * (1 - 1e-6) <= (power / value).item() <= 2**0.5 * (1 + 1e-6)
