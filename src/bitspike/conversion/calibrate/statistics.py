"""What is known about the values of one tensor after a whole stream of batches: a fair sample, maximum and mean.

Batches differ, so quantiles of batches cannot be averaged into the quantile of the stream. A reservoir can: every
element of the stream has the same chance to be in it, however the stream was cut into batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import ConstraintError, DataError

CAPACITY = 1_000_000
"""Elements that a reservoir keeps of one tensor; with rows, all rows together."""

Population = Literal["all", "nonzero"]
"""Which values a percentile counts: all of them, or those that are not zero."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Values of one tensor over a stream; a row is the layer, or one channel.

    Attributes:
        values: float32 or float64 [rows, k]: all values of the stream, or a fair sample of them.
        maximum: float64 [rows], over all values.
        mean: float64 [rows], over all values.
        count: number of values per row that there were in all.
    """

    values: Tensor
    maximum: Tensor
    mean: Tensor
    count: int


class Reservoir:
    """Collect a fair sample of a stream of tensors.

    Every position draws a key from [0, 1); the ``capacity`` smallest keys stay. Which positions of a new batch get a
    key that matters is drawn first (a binomial number of them), so only those are touched. Up to ``capacity`` elements
    are kept one and all, and nothing is random. All channels of a position stay or go together.

    Args:
        per_channel: one row per channel (axis 1) instead of one for all.
        capacity: most elements that are kept, of all rows together.
        seed: of the keys; a number or several.

    Source: sampling by random keys, Vitter 1985 (doi 10.1145/3147.3165) and Efraimidis and Spirakis 2006
    (doi 10.1016/j.ipl.2005.11.003).

    Example:
        >>> reservoir = Reservoir()
        >>> reservoir.add(torch.tensor([[0.0, 3.0]]))
        >>> reservoir.add(torch.tensor([[1.0, 0.0]]))
        >>> sample = reservoir.sample()
        >>> sample.values.tolist(), sample.maximum.tolist(), sample.mean.tolist()
        ([[0.0, 3.0, 1.0, 0.0]], [3.0], [1.0])
    """

    def __init__(self, *, per_channel: bool = False, capacity: int = CAPACITY, seed: int | tuple[int, ...] = 0) -> None:
        if capacity < 1:
            raise ConstraintError(f"Reservoir(capacity={capacity}): at least 1 is needed", fix="capacity=1_000_000")
        self.per_channel = per_channel
        self.capacity = capacity
        self._random = np.random.default_rng(seed)
        self._limit = 1.0  # all positions whose key lies below it are kept
        self._keys = np.empty(0)
        self._values: Tensor | None = None
        self._maximum = self._total = torch.empty(0)
        self._count = 0

    def add(self, x: Tensor) -> None:
        """Take in one batch.

        Args:
            x: floating, [N, C, ...] per channel, else any shape. Channels must not change from call to call.

        Raises:
            DataError: a value is NaN or infinite.
        """
        x = x.detach()
        if not x.numel():
            return
        # N samples, C rows, S places; a position is a sample and a place, and has one key for all rows.
        x_NCS = x.reshape(x.shape[0], x.shape[1], -1) if self.per_channel else x.reshape(1, 1, -1)
        maximum = x_NCS.amax((0, 2)).double().cpu()
        # The sum shows -inf too, which the maximum does not.
        total = x_NCS.sum((0, 2), dtype=torch.float64).cpu()
        if not bool((maximum.isfinite() & total.isfinite()).all()):
            raise DataError(
                "a value is NaN or infinite, so it has no place in a statistic",
                fix="look at the weights and at the transforms: the float network itself gives such values",
            )
        known = self._values is not None
        self._maximum = torch.maximum(self._maximum, maximum) if known else maximum
        self._total = self._total + total if known else total
        self._keep(x_NCS)

    def _keep(self, x_NCS: Tensor) -> None:
        rows, width = x_NCS.shape[1], x_NCS.shape[2]
        new, room = x_NCS.shape[0] * width, max(1, self.capacity // x_NCS.shape[1])
        self._count += new
        # Keys above this limit have no chance but one in a million million; with too few below it the sample is a
        # little smaller, and as fair.
        limit = min(self._limit, (room + 8 * math.sqrt(room) + 32) / self._count)
        places = np.arange(new)
        if limit < 1:
            # How many of the new uniform keys lie below the limit is binomial; all positions are equally likely.
            places = self._random.choice(new, self._random.binomial(new, limit), replace=False, shuffle=False)
        # A key that lies below the limit is uniform below it.
        keys = np.concatenate([self._keys, self._random.random(len(places)) * limit])
        at = torch.from_numpy(places).to(x_NCS.device)
        values = x_NCS[at // width, :, at % width].t().cpu()  # [rows, k]
        values = values.double() if values.dtype == torch.float64 else values.float()
        values = values if self._values is None else torch.cat([self._values, values], 1)
        # The limit falls with the count; an older key above it must go, as a new one would not be drawn.
        stay = np.flatnonzero(keys <= limit)
        if len(stay) > room:
            # The smallest keys, sorted by place, so that values stay in the order of the stream.
            stay = np.sort(np.argpartition(keys, room - 1)[:room])
            limit = float(keys[stay].max())
        if len(stay) < len(keys):
            keys, values = keys[stay], values[:, torch.from_numpy(stay)]
        assert values.shape == (rows, len(keys))
        self._limit, self._keys, self._values = limit, keys, values

    def sample(self) -> Sample:
        """Return what has been collected.

        Raises:
            DataError: nothing has been added.
        """
        if self._values is None:
            raise DataError("a statistic of no values at all was asked for", fix="add(...) values first")
        return Sample(self._values, self._maximum, self._total / self._count, self._count)


def order_statistic(values: Tensor, p: float, *, population: Population = "all") -> Tensor:
    """Return the percentile of each row by nearest rank: the value at index ``min(n, ceil(p n / 100)) - 1``, ascending.

    Unlike ``torch.quantile`` it knows no limit on the number of values and invents none between two of them.

    Args:
        values: [rows, k].
        p: per cent, above 0 to 100.
        population: what counts; a row without values has the percentile 0.

    Returns:
        float64 [rows].

    Example:
        >>> values = torch.tensor([[0.0, 0.0, 1.0, 2.0]])
        >>> order_statistic(values, 50).item(), order_statistic(values, 50, population="nonzero").item()
        (0.0, 1.0)
    """
    percentiles = []
    for row in values:
        counted = row[row != 0] if population == "nonzero" else row
        n = counted.numel()
        # 0.999 is no binary number: 99.9 per cent of 1000 would come out as 999.0000000000001, and the rank as 1000.
        rank = min(n, math.ceil(Fraction(str(p)) * n / 100))
        percentiles.append(counted.kthvalue(rank).values.double() if n else row.new_zeros((), dtype=torch.float64))
    return torch.stack(percentiles)


def least_error_threshold(
    sample: Sample, steps: int, *, candidates: int = 100, smallest: float = 0.2, initial: float = 0.5
) -> Tensor:
    """Return the threshold of each row with the least squared error after ``steps`` steps.

        threshold = argmin E[(a - Q(a))^2],  Q(a) = threshold * clamp(floor(a T / threshold + initial), 0, T) / T

    over ``candidates`` shares of the maximum from 1 down to ``smallest``; of equally good ones the largest. The values
    are sorted once; each candidate then costs T look-ups in running sums, whatever their number.

    Args:
        sample: of values that are >= 0, or cut off at 0 by Q.
        steps: T, at least 1.
        candidates: number of shares, at least 2.
        smallest: the smallest share, above 0 and below 1.
        initial: potential before the first step as a share of the threshold: 1/2 rounds, 0 rounds down.

    Returns:
        float64 [rows]; 0 where the maximum is not above 0.

    Example:
        >>> values = torch.cat([torch.full((99,), 1.0), torch.tensor([4.0])])[None]
        >>> sample = Sample(values, torch.tensor([4.0]).double(), torch.tensor([1.03]).double(), 100)
        >>> least_error_threshold(sample, 2).item() < 2.1
        True
    """
    a = sample.values.double().contiguous().clamp(min=0).sort(1).values.contiguous()
    # sums[i] adds up the i smallest values, so a difference of two is the sum between two ranks.
    sums = torch.nn.functional.pad(a.cumsum(1), (1, 0))
    power = sample.values.double().square().sum(1)
    top = sample.maximum.clamp(min=0)
    level = torch.arange(steps + 1, dtype=torch.float64)
    rows, k = a.shape
    first, last = torch.zeros(rows, 1, dtype=torch.long), torch.full((rows, 1), k)
    best, least = top.clone(), torch.full_like(top, torch.inf)
    for i in range(candidates):
        threshold = top * (1 - (1 - smallest) * i / (candidates - 1))
        step = (threshold / steps)[:, None]
        edges = torch.searchsorted(a, ((level[1:] - initial) * step).contiguous())  # the first value of each level
        edges = torch.cat([first, edges, last], 1)
        counts, parts = edges.diff(dim=1), sums.gather(1, edges).diff(dim=1)
        value = level * step
        # sum (a - Q)^2 = sum a^2 - 2 sum Q a + sum Q^2, and Q is one number between two edges.
        error = power - 2 * (value * parts).sum(1) + (value.square() * counts).sum(1)
        better = error < least - 1e-12 * power  # a smaller one must be better by more than rounding
        best, least = torch.where(better, threshold, best), torch.where(better, error, least)
    return best
