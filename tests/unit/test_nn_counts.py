"""Pools by sums and counts, gains, bursts and input codes, against what they stand for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import Burst, Codes, CountMaxPool, Gain, SumPool
from bitspike.ops.grids import Grid

AVERAGES: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
MAXIMA: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


def spikes(*shape: int, seed: int = 0) -> Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.3).float()


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1), (1, 2, 0)])
def test_a_sum_pool_is_an_average_pool_times_its_window(dims: int, kernel: int, stride: int, padding: int) -> None:
    x = spikes(3, 2, 4, *[7] * dims)
    found = SumPool((kernel,) * dims, (stride,) * dims, (padding,) * dims)(x)
    average = AVERAGES[dims](x.flatten(0, 1), kernel, stride, padding)
    assert torch.equal(found, (average * kernel**dims).round().view(found.shape))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 1, 1), (3, 2, 1)])
def test_a_count_max_pool_counts_as_far_as_the_largest_count(dims: int, kernel: int, stride: int, padding: int) -> None:
    x = spikes(9, 2, 4, *[7] * dims)
    found = CountMaxPool((kernel,) * dims, (stride,) * dims, (padding,) * dims)(x)
    assert set(found.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(found.sum(0), MAXIMA[dims](x.sum(0), kernel, stride, padding))
    for steps in range(1, 9):
        assert torch.equal(found[:steps].sum(0), MAXIMA[dims](x[:steps].sum(0), kernel, stride, padding))


def test_a_max_pool_of_every_step_counts_too_far() -> None:
    x = spikes(9, 2, 4, 8, 8)
    by_step = F.max_pool2d(x.flatten(0, 1), 2).view(9, 2, 4, 4, 4).sum(0)
    assert (by_step > CountMaxPool((2, 2))(x).sum(0)).any()


def test_windows_need_one_number_per_axis() -> None:
    with pytest.raises(ConstraintError, match="one number per axis"):
        SumPool((2, 2), (2,))


def test_a_gain_is_one_number_or_one_per_channel() -> None:
    x = torch.ones(2, 1, 3, 2)
    assert Gain(2.0)(x).unique().tolist() == [2.0]
    assert Gain(torch.tensor([1.0, 2.0, 3.0]))(x)[0, 0, :, 0].tolist() == [1.0, 2.0, 3.0]


def test_a_burst_keeps_the_charge() -> None:
    x = torch.rand(5, 2, 3)
    found = Burst()(x)
    assert torch.equal(found[0], x.sum(0))
    assert not found[1:].any()
    assert found.shape == x.shape


def test_codes_round_and_clip() -> None:
    grid = Grid(scale=0.25, low=0, high=3)
    assert Codes(grid)(torch.tensor([-1.0, 0.3, 0.4, 9.0])).tolist() == [0.0, 1.0, 2.0, 3.0]


def test_none_of_them_holds_parameters() -> None:
    modules: list[nn.Module] = [SumPool((2,)), CountMaxPool((2,)), Gain(1.0), Burst(), Codes(Grid(1.0, 0, 1))]
    assert not [p for m in modules for p in m.parameters()]
