"""Samples of a stream and the numbers that are read from them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from bitspike.conversion.calibrate.statistics import Reservoir, Sample, least_error_threshold, order_statistic
from bitspike.conversion.calibrate.thresholds import (
    MaxThreshold,
    MSEThreshold,
    PercentileThreshold,
    ThresholdRule,
    default_rule,
)
from bitspike.errors import ConstraintError, DataError

F64 = torch.float64


def sample_of(values: Tensor) -> Sample:
    reservoir = Reservoir(per_channel=values.dim() == 2 and values.shape[0] > 1)
    reservoir.add(values.t() if reservoir.per_channel else values)
    return reservoir.sample()


# ---- the reservoir -----------------------------------------------------------------------------------------------


def test_up_to_its_capacity_it_holds_everything() -> None:
    x = torch.randn(40, 3, 5)
    for cuts in ([40], [1, 39], [10, 10, 20]):
        whole, apart = Reservoir(capacity=600), Reservoir(per_channel=True, capacity=600)
        for part in x.split(cuts):
            whole.add(part)
            apart.add(part)
        assert torch.equal(whole.sample().values.sort().values, x.flatten().sort().values[None])
        assert torch.equal(apart.sample().values.sort(1).values, x.transpose(0, 1).flatten(1).sort(1).values)
        assert whole.sample().count == 600
        assert apart.sample().count == 200


def test_maximum_and_mean_are_those_of_the_whole_stream() -> None:
    x = torch.randn(50, 4, 6)
    reservoir = Reservoir(per_channel=True, capacity=40)
    for part in x.split(7):
        reservoir.add(part)
    sample = reservoir.sample()
    assert torch.equal(sample.maximum, x.amax((0, 2)).double())
    torch.testing.assert_close(sample.mean, x.double().mean((0, 2)))
    assert sample.values.shape == (4, 10)


@pytest.mark.parametrize("cuts", [[5000], [100, 4900], [4900, 100], [500] * 10])
def test_every_element_has_the_same_chance_however_the_stream_is_cut(cuts: list[int]) -> None:
    x = torch.arange(5000, dtype=F64)
    trials, capacity = 200, 100
    hits = torch.zeros(50)
    for seed in range(trials):
        reservoir = Reservoir(capacity=capacity, seed=seed)
        for part in x.split(cuts):
            reservoir.add(part)
        values = reservoir.sample().values[0]
        assert len(values) == capacity
        assert len(values.unique()) == capacity
        hits += torch.bincount((values // 100).long(), minlength=50)
    expected = trials * capacity / 50
    # Binomial: 400 hits per hundred, a standard deviation of 20.
    assert (hits - expected).abs().max() < 4.5 * math.sqrt(expected)


def test_the_same_seed_gives_the_same_sample() -> None:
    x = torch.randn(3000, 2)

    def run(seed: int) -> Tensor:
        reservoir = Reservoir(capacity=64, seed=seed)
        for part in x.split(700):
            reservoir.add(part)
        return reservoir.sample().values

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_channels_of_one_place_stay_together() -> None:
    x = torch.arange(4000.0)
    reservoir = Reservoir(per_channel=True, capacity=200)
    reservoir.add(torch.stack([x, -x], 1))
    values = reservoir.sample().values
    assert values.shape == (2, 100)
    assert torch.equal(values[0], -values[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, F64])
def test_layouts_and_types(dtype: torch.dtype) -> None:
    x = torch.randn(4, 3, 5, 5).to(dtype)
    reservoir = Reservoir(per_channel=True)
    reservoir.add(x.to(memory_format=torch.channels_last))
    found = reservoir.sample().values
    assert torch.equal(found.sort(1).values, x.transpose(0, 1).flatten(1).to(found.dtype).sort(1).values)


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(DataError, match="no values"):
        Reservoir().sample()
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(DataError, match="NaN or infinite"):
            Reservoir().add(torch.tensor([1.0, bad]))
    with pytest.raises(ConstraintError, match="capacity"):
        Reservoir(capacity=0)
    reservoir = Reservoir()
    reservoir.add(torch.empty(0, 3))
    with pytest.raises(DataError, match="no values"):
        reservoir.sample()


# ---- percentiles -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "p", "rank"),
    [(1000, 99.9, 999), (1000, 100, 1000), (1000, 99.91, 1000), (10, 50, 5), (11, 50, 6), (3, 0.001, 1), (1, 99.9, 1)],
)
def test_the_percentile_is_the_value_at_its_rank(n: int, p: float, rank: int) -> None:
    values = torch.arange(1.0, n + 1)[torch.randperm(n)][None]
    assert order_statistic(values, p).tolist() == [rank]


def test_rows_have_percentiles_of_their_own() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0, 4.0], [40.0, 30.0, 20.0, 10.0]])
    assert order_statistic(values, 75).tolist() == [3.0, 30.0]


def test_the_population_without_zeros() -> None:
    values = torch.tensor([[0.0, 0.0, 0.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert order_statistic(values, 50, population="nonzero").tolist() == [1.0, 0.0]
    assert order_statistic(values, 50).tolist() == [0.0, 0.0]


def test_the_two_populations_of_a_rectified_normal_distribution() -> None:
    reservoir = Reservoir()
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        reservoir.add(torch.randn(200_000, generator=generator).relu())
    sample = reservoir.sample()
    assert sample.values.shape == (1, 1_000_000)
    assert PercentileThreshold(99.9).threshold(sample, 4).item() == pytest.approx(3.09, abs=0.05)
    assert PercentileThreshold(99.9, population="nonzero").threshold(sample, 4).item() == pytest.approx(3.29, abs=0.06)


# ---- least squared error -----------------------------------------------------------------------------------------


def quantized(a: Tensor, threshold: float, steps: int, initial: float) -> Tensor:
    return threshold / steps * (a * steps / threshold + initial).floor().clamp(0, steps)


@pytest.mark.parametrize("steps", [1, 2, 4, 16])
@pytest.mark.parametrize("initial", [0.0, 0.5])
def test_it_is_the_best_of_all_candidates(steps: int, initial: float) -> None:
    a = torch.randn(2, 4000, dtype=F64).relu() * torch.tensor([[1.0], [5.0]])
    found = least_error_threshold(sample_of(a), steps, initial=initial)
    for row, threshold in zip(a, found, strict=True):
        grid = row.max() * torch.linspace(1, 0.2, 100, dtype=F64)
        errors = torch.stack([(row - quantized(row, float(t), steps, initial)).square().mean() for t in grid])
        own = (row - quantized(row, float(threshold), steps, initial)).square().mean()
        assert own <= errors.min() * (1 + 1e-9)
        torch.testing.assert_close(threshold, grid[errors.argmin()])


def test_more_steps_allow_a_larger_threshold() -> None:
    a = torch.randn(1, 50_000, dtype=F64).relu()
    found = [least_error_threshold(sample_of(a), steps).item() for steps in (1, 4, 16, 64, 256)]
    assert found == sorted(found)
    assert found[0] < 0.5 * found[-1]


def test_an_outlier_does_not_spoil_it() -> None:
    a = torch.cat([torch.rand(999), torch.tensor([5.0])])[None]
    assert least_error_threshold(sample_of(a), 4).item() < 2


def test_of_equally_good_candidates_the_largest_wins() -> None:
    a = torch.tensor([[0.0, 0.0, 4.0]])
    assert least_error_threshold(sample_of(a), 4).item() == 4.0


def test_the_grid_of_snn_calibration_and_its_floor() -> None:
    a = torch.rand(1, 1000, dtype=F64)
    rule = MSEThreshold(candidates=95, smallest=0.06, initial=0.0)
    top = float(a.max())
    grid = [top * (1 - 0.01 * k) for k in range(95)]
    errors = [float((a - quantized(a, t, 8, 0.0)).square().mean()) for t in grid]
    assert rule.threshold(sample_of(a), 8).item() == pytest.approx(grid[int(np.argmin(errors))])


def test_nothing_above_zero_gives_zero() -> None:
    for values in (torch.zeros(1, 10), -torch.rand(1, 10)):
        for rule in (MaxThreshold(), PercentileThreshold(), MSEThreshold()):
            assert rule.threshold(sample_of(values), 4).tolist() == [0.0]


def test_negative_values_count_as_errors_that_no_threshold_mends() -> None:
    a = torch.cat([-torch.rand(500), torch.rand(500)])[None]
    positive = torch.cat([torch.zeros(500), a[0, 500:]])[None]
    assert least_error_threshold(sample_of(a), 4).item() == pytest.approx(
        least_error_threshold(sample_of(positive), 4).item()
    )


# ---- the rules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [MaxThreshold(), PercentileThreshold(), MSEThreshold()], ids=repr)
def test_a_rule_is_a_value_that_says_what_it_does(rule: ThresholdRule) -> None:
    assert rule == dataclasses.replace(rule)
    assert hash(rule) == hash(dataclasses.replace(rule))
    manifest = rule.manifest()
    assert {"statistic", "percentile", "population", "per_channel"} <= set(manifest)
    assert manifest["statistic"] in ("max", "percentile", "mse")
    sample = sample_of(torch.rand(1, 50))
    assert rule.threshold(sample, 4).dtype == F64
    assert 0 < rule.threshold(sample, 4).item() <= sample.maximum.item()


def test_rules_refuse_values_that_mean_nothing() -> None:
    for bad in (0.0, -1.0, 100.5, math.nan):
        with pytest.raises(ConstraintError, match="per cent"):
            PercentileThreshold(bad)
    with pytest.raises(ConstraintError, match="nonzero"):
        PercentileThreshold(population="some")
    for wrong in ({"candidates": 1}, {"smallest": 0.0}, {"smallest": 1.0}, {"initial": 1.0}):
        with pytest.raises(ConstraintError, match=next(iter(wrong))):
            MSEThreshold(**wrong)


def test_the_default_depends_on_the_number_of_steps() -> None:
    assert isinstance(default_rule(32), MSEThreshold)
    assert isinstance(default_rule(33), PercentileThreshold)
