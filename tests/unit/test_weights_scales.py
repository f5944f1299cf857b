"""Scale rules worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from bitspike.errors import ConstraintError
from bitspike.weights import MSE, Constant, Dyadic, Max, MeanAbs, Percentile, ScaleRule, Uniform

W = torch.tensor([[1.0, -3.0], [0.5, 0.25]])


@pytest.mark.parametrize(
    ("rule", "whole", "by_row"),
    [
        (Max(), [3.0], [3.0, 0.5]),
        (Max(0.5), [1.5], [1.5, 0.25]),
        (MeanAbs(), [1.1875], [2.0, 0.375]),
        (Percentile(75), [1.0], [3.0, 0.5]),
        (Percentile(50), [0.5], [1.0, 0.25]),
        (Percentile(100), [3.0], [3.0, 0.5]),
        (Constant(2.5), [2.5], [2.5, 2.5]),
        (Dyadic(MeanAbs()), [1.1875], [2.0, 0.375]),
    ],
)
def test_reach(rule: ScaleRule, whole: list[float], by_row: list[float]) -> None:
    all_, rows = rule.reach(W, (0, 1)), rule.reach(W, (1,))
    assert (all_.shape, rows.shape) == ((1, 1), (2, 1))
    assert all_.flatten().tolist() == whole
    assert rows.flatten().tolist() == by_row


def test_percentile_counts_per_channel_along_any_axis() -> None:
    w = torch.randn(3, 5, 2, 2)
    assert torch.equal(Percentile(100).reach(w, (0, 2, 3)), Max().reach(w, (0, 2, 3)))
    column = w[:, 2].abs().flatten().sort().values
    assert Percentile(50).reach(w, (0, 2, 3))[0, 2, 0, 0] == column[math.ceil(0.5 * 12) - 1]


def test_mse_beats_max_where_there_is_an_outlier() -> None:
    w = torch.cat([torch.randn(9999), torch.tensor([10.0])])
    error = {r: (Uniform(4, scale=r).quantize(w) - w).square().sum().item() for r in (Max(), MSE())}
    assert error[MSE()] < 0.6 * error[Max()]


def test_mse_is_never_worse_than_max_per_channel() -> None:
    w = torch.randn(8, 50) ** 3
    for bits in (2, 3, 4, 8):
        best, full = (
            (Uniform(bits, per_channel=True, scale=r).quantize(w) - w).square().sum(1) for r in (MSE(), Max())
        )
        assert bool((best <= full * (1 + 1e-4)).all())


def test_a_dyadic_step_may_clip() -> None:
    codes, scale = Uniform(4, scale=Dyadic()).encode(torch.tensor([0.66, 0.1]))  # 0.66/7 = 0.0943 -> 0.125
    assert (codes.tolist(), scale.item()) == ([5, 1], 0.125)
    codes, scale = Uniform(4, scale=Dyadic()).encode(torch.tensor([0.6, 0.1]))  # 0.0857 -> 0.0625, 9.6 is clipped
    assert (codes.tolist(), scale.item()) == ([7, 2], 0.0625)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Max(0),
        lambda: Max(math.nan),
        lambda: MeanAbs(-1),
        lambda: Percentile(0),
        lambda: Percentile(100.5),
        lambda: MSE(candidates=1),
        lambda: MSE(smallest=1.0),
        lambda: Constant(0),
        lambda: Constant(math.inf),
        lambda: Dyadic(Dyadic()),
        lambda: Dyadic(0.5),  # type: ignore[arg-type]
    ],
)
def test_bad_values_fail_when_the_rule_is_built(make: Callable[[], ScaleRule]) -> None:
    with pytest.raises(ConstraintError):
        make()
