"""Schemes on weights worked out by hand, and the quantizer checks of the specifications."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bitspike.errors import ConstraintError
from bitspike.weights import (
    APoT,
    Binary,
    Constant,
    DoReFa,
    FixedPoint,
    Max,
    MeanAbs,
    Midrise,
    Percentile,
    PowerOfTwo,
    Scheme,
    Ternary,
    Uniform,
    attach,
    codes,
)
from bitspike.weights.schemes.powers import apot_magnitudes, power_magnitudes


def _gradient(scheme: Scheme, w: torch.Tensor) -> list[float]:
    latent = w.clone().requires_grad_()
    scheme.quantize(latent).backward(torch.ones_like(w))
    assert latent.grad is not None
    return latent.grad.tolist()


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 11, 16])
def test_qat_check_06_uniform_quantizer(bits: int) -> None:
    """At most 2^k - 1 levels, within the weights' range, symmetric, half a step exact, idempotent; 32 bits is float.

    The specification's k = 32 "equal to W" is no grid here: ``Uniform(bits=32)`` is refused and names the way out,
    and a layer without a scheme keeps its weight bit for bit.
    """
    w = torch.randn(64, 32, 3, 3)
    scheme = Uniform(bits, scale=Max())
    q = scheme.quantize(w)
    step = scheme.encode(w)[1].item()
    assert len(q.unique()) <= 2**bits - 1
    assert q.abs().max() <= w.abs().max() * (1 + 2**-23)
    assert step == pytest.approx(w.abs().max().item() / (2 ** (bits - 1) - 1), rel=2**-13)
    assert torch.equal(scheme.quantize(-w), -q)
    # A float32 product may be off by half a unit in its last place: it matters at 16 bits only.
    assert (q.double() - w.double()).abs().max() <= step / 2 + w.abs().max().item() * 2**-23
    assert torch.equal(scheme.quantize(q), q)


@pytest.mark.parametrize("bits", [2, 3])
def test_without_a_scale_few_bits_leave_most_weights_something_else_than_zero(bits: int) -> None:
    """With the largest weight as outermost level most normally distributed weights are 0, and the error is large."""
    w = torch.randn(64, 32, 3, 3, generator=torch.Generator().manual_seed(0))

    def error(scheme: Uniform) -> float:
        return float((scheme.quantize(w) - w).square().mean())

    usual, widest = Uniform(bits), Uniform(bits, scale=Max())
    shares = [float((scheme.encode(w)[0] == 0).double().mean()) for scheme in (usual, widest)]
    assert shares[0] < 0.5 < shares[1]
    best = min(error(Uniform(bits, scale=MeanAbs(factor))) for factor in torch.linspace(0.5, 4, 71).tolist())
    assert error(usual) < 1.02 * best
    assert error(usual) < error(widest) / 2


def test_without_a_scale_other_widths_reach_to_the_largest_weight() -> None:
    assert all(Uniform(bits) == Uniform(bits, scale=Max()) for bits in (1, 4, 8, 16))


def test_qat_check_06_32_bits_is_the_float_weight() -> None:
    with pytest.raises(ConstraintError, match="quantize=None keeps the float weight"):
        Uniform(bits=32)
    layer = nn.Linear(5, 3)
    before = layer.weight.detach().clone()
    attach(layer, vary=nn.Identity())
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("make", [Uniform, Midrise, DoReFa, PowerOfTwo, APoT], ids=lambda c: c.__name__)
def test_qat_check_08_one_bit_works_and_zero_bits_is_a_value_error(make: type[Scheme]) -> None:
    """0 bits is a ValueError; 1 bit works; all-zero weights give no NaN.

    The specification lets k = 1 be refused or routed to sign and mean magnitude (4.3); the package promises 1 bit, so
    it is routed.
    """
    for bits in (0, -1, 17, 2.0, True):
        with pytest.raises(ValueError, match="a whole number from 1 to"):
            make(bits=bits)  # type: ignore[call-arg]
    for bits in (1, 2, 3, 4, 8):
        scheme = make(bits=bits)  # type: ignore[call-arg]
        q = scheme.quantize(torch.zeros(4, 3))
        assert bool(torch.isfinite(q).all())
    one = make(bits=1)  # type: ignore[call-arg]
    w = torch.tensor([[0.2, -0.4, 0.6]])
    found, scale = one.encode(w)
    assert found.tolist() == [[1, -1, 1]]
    assert scale.item() == pytest.approx(1.0 if make is Midrise else 0.4)
    zero = one.encode(torch.zeros(1))[0].item()
    assert zero == (-1 if make is Midrise else 1)  # sign(0) = +1; the mid-rise rounds 1/2 to even


def test_uniform_per_channel_uses_the_axis_it_is_told() -> None:
    w = torch.tensor([[1.0, 4.0], [0.5, -2.0]])
    by_row, rows = Uniform(3, per_channel=True).encode(w, axis=0)
    by_column, columns = Uniform(3, per_channel=True).encode(w, axis=1)
    assert by_row.tolist() == [[1, 3], [1, -3]]
    assert rows.tolist() == pytest.approx([4 / 3, 2 / 3], rel=1e-5)
    assert by_column.tolist() == [[3, 3], [2, -2]]
    assert columns.tolist() == pytest.approx([1 / 3, 4 / 3], rel=1e-5)


def test_uniform_gradient_is_the_identity_or_respects_the_clipping() -> None:
    w = torch.tensor([-1.0, -0.2, 0.0, 0.3, 9.0])
    scale = Percentile(80)  # reaches 1.0
    assert _gradient(Uniform(4), w) == [1, 1, 1, 1, 1]
    assert _gradient(Uniform(4, scale=scale), w) == [1, 1, 1, 1, 1]
    assert _gradient(Uniform(4, scale=scale, clip_gradient=True), w) == [1, 1, 1, 1, 0]


def test_ternary_keeps_the_weights_above_seven_tenths_of_the_mean() -> None:
    w = torch.tensor([0.1, -0.2, 0.6, -1.0, 0.1])  # mean magnitude 0.4, threshold 0.28
    found, scale = Ternary().encode(w)
    assert found.tolist() == [0, 0, 1, -1, 0]
    assert scale.item() == pytest.approx(0.8)
    assert _gradient(Ternary(), w) == [1] * 5


def test_ternary_of_the_hybrid_memory() -> None:
    """Threshold 0.05 max|w|, mean of the kept, gradient zero from |w| = 1 on (specification 2.6)."""
    w = torch.tensor([0.05, -0.2, 0.6, -2.0, 0.1, 1.0])  # threshold 0.1
    scheme = Ternary(threshold=Max(0.05), window=1.0)
    found, scale = scheme.encode(w)
    assert found.tolist() == [0, -1, 1, -1, 1, 1]
    assert scale.item() == pytest.approx((0.2 + 0.6 + 2.0 + 0.1 + 1.0) / 5)
    assert _gradient(scheme, w) == [1, 1, 1, 0, 1, 0]


def test_ternary_and_binary_refuse_what_is_no_magnitude() -> None:
    for make in (Ternary, Binary):
        with pytest.raises(ConstraintError, match="a mean or a maximum"):
            make(scale=Percentile(99))
    with pytest.raises(ConstraintError, match="window=0"):
        Ternary(window=0)


def test_hybrid_check_07_midrise_levels() -> None:
    """2, 4, 8, 16 and 256 levels +-k / 2^(b-1), none 0, at most one level's distance off, gradient exactly 1."""
    w = torch.linspace(-1, 1, 20_001)
    for bits, count in {1: 2, 2: 4, 3: 8, 4: 16, 8: 256}.items():
        scheme = Midrise(bits)
        q = scheme.quantize(w)
        half = 2 ** (bits - 1)
        levels = [k / half for k in range(-half, half + 1) if k]
        assert q.unique().tolist() == levels
        assert len(levels) == count
        assert (q - w).abs().max() <= 1 / half
        assert _gradient(scheme, w) == [1.0] * len(w)
    assert Midrise(1).quantize(torch.zeros(1)).item() == -1
    assert Midrise(2).quantize(torch.zeros(1)).item() == 0.5


def test_the_unclamped_midrise_leaves_its_grid_and_says_so() -> None:
    layer = attach(nn.Linear(3, 1, bias=False), quantize=Midrise(2, clamp=False))
    layer.weight = torch.tensor([[0.2, -1.0, 2.4]])
    result = codes(layer)[""]
    assert result.codes.tolist() == [[1, -2, 5]]
    assert (result.low, result.high, result.bits, result.levels) == (-2, 5, 4, None)
    layer.weight = torch.tensor([[0.2, -1.0, 0.4]])
    result = codes(layer)[""]
    assert (result.low, result.high, result.bits) == (-2, 2, 2)


def test_dorefa_by_hand() -> None:
    w = torch.tensor([-1.0, -0.1, 0.0, 0.5, 1.0])
    t = [math.tanh(x) / math.tanh(1) for x in w.tolist()]
    found, scale = DoReFa(3).encode(w)
    assert found.tolist() == [2 * round(7 * (x / 2 + 0.5)) - 7 for x in t]
    assert scale.item() == pytest.approx(1 / 7)
    expected = [(1 - math.tanh(x) ** 2) / math.tanh(1) for x in w.tolist()]
    assert _gradient(DoReFa(3), w) == pytest.approx(expected, rel=1e-5)
    assert _gradient(DoReFa(1), w) == [1] * 5


def test_dorefa_reaches_255_and_is_not_idempotent() -> None:
    w = torch.randn(2000)
    found, _ = DoReFa(8).encode(torch.cat([w, -w]))
    assert (int(found.min()), int(found.max())) == (-255, 255)
    for bits in (4, 8):
        once = DoReFa(bits).quantize(w)
        assert not torch.equal(DoReFa(bits).quantize(once), once)


def test_weights_grid_of_apot_equals_the_table() -> None:
    """2, 3, 4 and 5 bits: 3, 7, 15 and 31 levels, magnitudes as in the table of the specification, 2.2.

    The activation half of check 5 comes with the quantized ReLU.
    """
    tables = {
        2: [0, 1],
        3: [0, 1 / 4, 1 / 2, 1],
        4: [0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1],
        5: [x / 48 for x in (0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48)],
    }
    for bits, table in tables.items():
        magnitudes = apot_magnitudes(bits)
        assert [m / magnitudes[-1] for m in magnitudes] == pytest.approx(table)
        levels = APoT(bits).levels
        assert levels is not None
        assert len(levels) == 2**bits - 1
        w = torch.linspace(-3, 3, 4001)
        q = APoT(bits, scale=Constant(3.0)).quantize(w)
        assert q.unique().tolist() == pytest.approx([3 * x for x in [*(-t for t in table[:0:-1]), *table]], rel=1e-3)
    for bits in (6, 7, 8):
        assert len(apot_magnitudes(bits)) == 2 ** (bits - 1)


def test_qann_check_07_normalized_weights_ignore_factor_and_offset() -> None:
    w = torch.randn(16, 8, 3, 3)
    for bits in (2, 3, 4, 5):
        scheme = APoT(bits, normalize=True, scale=Constant(3.0))
        found, scale = scheme.encode(w)
        for factor, offset in ((2.0, 0.0), (0.25, 0.0), (3.7, -0.4), (1e-3, 5e-4)):
            other, same = scheme.encode(factor * w + offset)
            assert (other != found).float().mean() < 1e-3  # a weight on a midpoint may fall to the other side
            assert torch.equal(scale, same)
        assert scale.item() * scheme.high == pytest.approx(3.0, rel=1e-3)
    constant = APoT(3, normalize=True, scale=Constant(3.0)).quantize(torch.full((4, 4), 0.7))
    assert torch.equal(constant, torch.zeros(4, 4))
    assert bool(torch.isfinite(APoT(3, normalize=True).quantize(torch.ones(1, 1))).all())


def test_normalization_is_a_constant_for_the_gradient() -> None:
    w = torch.tensor([-2.0, -1.0, 0.0, 1.0, 7.0])
    std = w.std().item()
    passing = _gradient(APoT(3, normalize=True, scale=Constant(1.5)), w)
    assert passing == pytest.approx([1 / std] * 5)
    clipped = _gradient(APoT(3, normalize=True, scale=Constant(1.5), clip_gradient=True), w)
    assert clipped == pytest.approx([1 / std] * 4 + [0.0])


def test_power_of_two_levels() -> None:
    assert power_magnitudes(2) == (0, 1)
    assert power_magnitudes(3) == (0, 1, 2, 4)
    assert power_magnitudes(8)[-1] == 2**14
    # step 1/64 of 64: nearest levels 64, 32, 16, 0; 24/64 is a tie between 16 and 32
    w = torch.tensor([1.0, 0.55, 0.375, 0.3, 0.005])
    assert PowerOfTwo(4).encode(w)[0].tolist() == [64, 32, 16, 16, 0]


def test_fixed_point_clips_to_twos_complement() -> None:
    scheme = FixedPoint(0.5, bits=3)
    assert (scheme.low, scheme.high) == (-4, 3)
    assert scheme.quantize(torch.tensor([-9.0, -0.25, 0.75, 9.0])).tolist() == [-2.0, 0.0, 1.0, 1.5]
    for step in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ConstraintError, match="above 0"):
            FixedPoint(step)
    with pytest.raises(ConstraintError, match="from 2 to 24"):
        FixedPoint(0.1, bits=1)


def test_uniform_at_one_bit_ignores_outliers_whatever_its_rule() -> None:
    w = torch.tensor([1.0, -1.0, 1.0, -101.0])
    for rule in (Max(), MeanAbs(), Percentile(50)):
        found, scale = Uniform(1, scale=rule).encode(w)
        assert found.tolist() == [1, -1, 1, -1]
        assert scale.item() == 26.0
