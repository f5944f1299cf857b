"""The integers of one neuron: units, codes, thresholds, and what sharing a unit costs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bitspike.conversion.construct.units import Charge, Group, Weighted, fit_group, shared_unit
from bitspike.conversion.settings import Settings


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def branch(current: Tensor, bits: int = 8, bias: Tensor | None = None) -> Weighted:
    return Weighted(current, torch.zeros(len(current), dtype=torch.float64) if bias is None else bias, bits)


def fit(weighted: list[Weighted], skips: list[Tensor], value: Tensor, *, per_channel: bool, **choices: Any) -> Group:
    return fit_group(Charge((), tuple(weighted), (), tuple(skips), value, per_channel), Settings(**choices))


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


@pytest.mark.parametrize("seed", range(20))
def test_convert_check_05_threshold_algebra(seed: int) -> None:
    """Theta / 2^k * step * lambda_in is lambda_eff, and before rounding theta is max_o / max_i * s_w."""
    weight, lambda_in = normal(8, 5, 3, 3, seed=seed), 0.3 + seed / 7
    lambda_out = torch.tensor([1.0 + seed / 3], dtype=torch.float64)
    group = fit([branch(weight * lambda_in, 4)], [], lambda_out, per_channel=False)
    step = float(weight.abs().max()) / 7
    assert float(group.unit) == pytest.approx(step * lambda_in, rel=1e-6)
    assert torch.equal(group.value, group.threshold * group.unit / 2.0**group.fraction_bits)
    before_rounding = float(lambda_out / lambda_in / step) * 2**group.fraction_bits
    assert int(group.threshold) == max(1, round(before_rounding))
    assert float(group.value) == pytest.approx(float(lambda_out), rel=0.011)
    assert relative(group.codes[0] * group.unit / lambda_in, weight) < 0.2


def test_the_bits_of_codes_are_kept_and_one_bit_has_no_zero() -> None:
    weight = normal(4, 6)
    for bits in (1, 2, 3, 4, 8):
        group = fit([branch(weight, bits)], [], torch.ones(1, dtype=torch.float64), per_channel=True)
        high = max(1, 2 ** (bits - 1) - 1)
        assert int(group.codes[0].abs().max()) <= high
        if bits == 1:
            assert set(group.codes[0].unique().tolist()) == {-1, 1}
            torch.testing.assert_close(group.unit, weight.abs().mean(1))


def test_fraction_bits_are_added_until_a_threshold_is_within_one_percent() -> None:
    coarse = [branch(normal(4, 6), 2)]
    group = fit(coarse, [], torch.full((1,), 3.3, dtype=torch.float64), per_channel=False)
    assert group.fraction_bits > 0
    assert float(group.value) == pytest.approx(3.3, rel=0.01)
    assert not group.notes
    bare = fit(coarse, [], torch.full((1,), 3.3, dtype=torch.float64), per_channel=False, max_fraction_bits=0)
    assert bare.fraction_bits == 0
    assert "W202" in bare.notes[0]
    fine = fit(coarse, [], torch.full((1,), 3.3, dtype=torch.float64), per_channel=False, rounded=False)
    assert float(fine.value) == pytest.approx(3.3, rel=1e-8)


def test_convert_check_08_branches_of_one_sum_share_a_unit() -> None:
    """At 8 bits sharing costs less than 1 % for similar branches; at 14:1 it is said, and multipliers repair it."""
    spikes = (torch.rand(400, 36, generator=torch.Generator().manual_seed(5)) < 0.3).double()

    def error(scale: float, multiplier_bits: int | None) -> tuple[float, Group]:
        one, two = normal(8, 36, seed=1), normal(8, 36, seed=2, scale=scale)
        group = fit(
            [branch(one), branch(two)],
            [],
            torch.ones(1, dtype=torch.float64),
            per_channel=False,
            multiplier_bits=multiplier_bits,
        )
        pairs = zip(group.codes, group.multipliers, strict=True)
        # The wide branch is silent in a part of the samples: what the narrow one says alone is heard then.
        inputs = spikes[:, torch.randperm(36, generator=torch.Generator().manual_seed(3))]
        parts = [(codes * many).double() for codes, many in pairs]
        found = (spikes @ parts[0].T * (1 if scale > 0.5 else 0) + inputs @ parts[1].T) * group.unit
        wanted = spikes @ one.T * (1 if scale > 0.5 else 0) + inputs @ two.T
        return relative(found, wanted), group

    similar, group = error(1.0, None)
    assert similar <= 0.01
    assert not group.notes
    apart, group = error(1 / 14, None)
    assert any("W203" in note for note in group.notes)
    assert apart > 0.01
    repaired, _ = error(1 / 14, 6)
    assert repaired <= 0.01


def test_convert_check_08_an_identity_skip_does_not_set_the_unit() -> None:
    weight = normal(8, 36, scale=0.1)
    group = fit(
        [branch(weight * 1.5, 4)],
        [torch.full((1,), 1.5, dtype=torch.float64)],
        torch.ones(1).double(),
        per_channel=False,
    )
    assert int(group.codes[0].abs().max()) == 7, "the convolution's codes still use their whole range"
    assert int(group.gains[0]) == round(1.5 / float(group.unit))


def test_spikes_alone_are_added_on_a_grid_of_eight_bits() -> None:
    skips = [torch.tensor([0.5]).double(), torch.tensor([2.0]).double()]
    group = fit([], skips, torch.tensor([2.4]).double(), per_channel=False)
    assert [int(g) for g in group.gains] == [32, 127]
    assert float(shared_unit([], skips, per_channel=True)) == pytest.approx(2 / 127)


def test_a_bias_is_rounded_in_the_unit_of_the_threshold() -> None:
    bias = normal(8, seed=9, scale=0.3)
    group = fit([branch(normal(8, 36), 3, bias)], [], torch.tensor([4.0]).double(), per_channel=True)
    exact = bias / group.unit * 2.0**group.fraction_bits
    assert float((group.biases[0] - exact).abs().max()) <= 0.5
    assert 0.5 / float(group.threshold.min()) <= 0.01
