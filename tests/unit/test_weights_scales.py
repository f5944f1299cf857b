"""Scale rules worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from bitspike.errors import ConstraintError
from bitspike.weights import MSE, Coded, Constant, Dyadic, Max, MeanAbs, Percentile, ScaleRule, Uniform

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


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_codes_that_were_trained_are_found_again_in_every_part(bits: int) -> None:
    w = torch.randn(16, 24, 3, 3, generator=torch.Generator().manual_seed(bits))
    codes, scale = Uniform(bits, per_channel=True, scale=MeanAbs(2.0)).encode(w)
    trained = codes * scale.reshape(-1, 1, 1, 1)
    for part in (trained, trained[:, :2], -trained[:, 5:9]):  # some parts lack the outermost level
        found = Uniform(bits, per_channel=True, scale=Coded()).quantize(part)
        torch.testing.assert_close(found, part, rtol=1e-5, atol=1e-7)


def test_weights_that_are_no_codes_take_the_other_rule() -> None:
    for rule in (Max(), MeanAbs(2.0)):
        assert torch.equal(Uniform(4, scale=Coded(rule)).quantize(W), Uniform(4, scale=rule).quantize(W))
    assert Coded().step(torch.zeros(4), (0,), 7, torch.round).item() > 0


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
        lambda: Coded(tolerance=0.0),
        lambda: Dyadic(0.5),  # type: ignore[arg-type]
    ],
)
def test_bad_values_fail_when_the_rule_is_built(make: Callable[[], ScaleRule]) -> None:
    with pytest.raises(ConstraintError):
        make()
