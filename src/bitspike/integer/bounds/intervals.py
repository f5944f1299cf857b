"""Intervals of integers, and the bounds of a node that are made of them: what no input can leave.

An interval has bounds by step and channel and holds 0. So it holds every product and every partial sum too, whatever
the order of summation. Each node says how its own follows from those of its sources (``Node.interval``). All bounds are
exact: int64, or Python's integers where int64 may overflow. Derivation: docs/widths.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Range = tuple[int, int]
Numbers = npt.NDArray[Any]
"""Integers that cannot overflow."""

ROOM = 1 << 61
"""Sums and differences of two magnitudes below it are far from the end of int64."""

_AT_ONCE = 1 << 16


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds of a wire or of a sum.

    Args:
        low, high: by step and channel, [1 or T, C]; low <= 0 <= high.
    """

    low: Numbers
    high: Numbers

    @property
    def span(self) -> Range:
        """The smallest and the largest bound."""
        return int(self.low.min()), int(self.high.max())

    @property
    def size(self) -> int:
        """The largest magnitude."""
        return max(-int(self.low.min()), int(self.high.max()))

    def times(self, factor: int) -> Interval:
        """Return the bounds of so many of them.

        Example:
            >>> Interval(np.array([[-1]]), np.array([[2]])).times(3).span
            (-3, 6)
        """
        low, high = roomy(self.size * factor, self.low, self.high)
        return Interval(low * factor, high * factor)

    def sum_over_time(self, steps: int) -> Interval:
        """Return the bounds [1, C] of the sum over the first steps, however many of ``steps`` they are.

        Example:
            >>> Interval(np.array([[-1], [0]]), np.array([[2], [5]])).sum_over_time(2).span
            (-1, 7)
        """
        if len(self.low) == 1:
            return self.times(steps)
        # Every step's interval holds 0, so the sum over all steps bounds the sum over fewer.
        low, high = roomy(self.size * steps, self.low, self.high)
        return Interval(low.sum(0, keepdims=True), high.sum(0, keepdims=True))


def roomy(most: int, *values: Numbers) -> tuple[Numbers, ...]:
    """Return values as Python's integers where numbers of magnitude ``most`` come near the end of int64."""
    return values if most < ROOM else tuple(v.astype(object) for v in values)


def union(*ranges: Range) -> Range:
    """Return the smallest range that holds all of them.

    Example:
        >>> union((0, 3), (-2, 1))
        (-2, 3)
    """
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def ends(values: Numbers) -> Range:
    """Return the smallest and the largest of some integers."""
    return int(values.min()), int(values.max())


def added(sums: Interval, bias: Numbers, right_shift: int = 0) -> tuple[Numbers, Numbers]:
    """Return the smallest and largest of ``(sum >> right_shift) + bias``, [1 or T, C]; they need not hold 0."""
    bias, low, high = roomy(sums.size + max(map(abs, ends(bias))), bias, sums.low, sums.high)
    # Rounding down is monotone, so the ends may be shifted by themselves.
    return (low >> right_shift) + bias, (high >> right_shift) + bias


def constant(channels: int, low: int, high: int) -> Interval:
    """Return the same bounds for all steps and channels, widened to hold 0."""
    low, high = min(low, 0), max(high, 0)
    kind = np.int64 if max(-low, high) < 1 << 63 else object
    return Interval(np.full((1, channels), low, kind), np.full((1, channels), high, kind))


def mixed(x: Interval, channels: int) -> Interval:
    """Return the widest bounds of a step for all channels of a node that mixes those of its source."""
    shape = (len(x.low), channels)
    low, high = x.low.min(1, keepdims=True), x.high.max(1, keepdims=True)
    return Interval(np.broadcast_to(low, shape), np.broadcast_to(high, shape))


def side_by_side(parts: list[Interval]) -> Interval:
    """Return the bounds of channels that stand one after another."""
    longest = max(len(x.low) for x in parts)

    def joined(bounds: list[Numbers]) -> Numbers:
        return np.concatenate([np.broadcast_to(b, (longest, b.shape[1])) for b in bounds], axis=1)

    return Interval(joined([x.low for x in parts]), joined([x.high for x in parts]))


def weighted(x: Interval, codes: Numbers) -> Interval:
    """Return the bounds of sums of products: positive codes meet the largest input and negative ones the smallest.

    Args:
        x: of the source.
        codes: all that meet in one output, [groups, C_out/groups, C_in/groups, *taps].
    """
    most = max(map(abs, ends(codes))) * codes.size if codes.size else 0
    (codes,) = roomy(most, codes)
    if codes.dtype != object and codes.size and _alike(x):
        return _of_rows(x, codes.reshape(-1, math.prod(codes.shape[2:])))
    # Taps of one sign add up per input channel: [groups, C_out/groups, C_in/groups].
    axes = tuple(range(3, codes.ndim))
    up, down = np.maximum(codes, 0).sum(axes), np.minimum(codes, 0).sum(axes)
    reach = int((up - down).sum(2).max()) * x.size
    up, down, *ends_of_x = roomy(reach, up, down, x.low, x.high)
    low, high = (b.reshape(len(b), len(up), up.shape[2]) for b in ends_of_x)
    return Interval(_products(low, up) + _products(high, down), _products(high, up) + _products(low, down))


def _alike(x: Interval) -> bool:
    """Tell whether all channels of a step have the same bounds."""
    return bool((x.low == x.low[:, :1]).all() and (x.high == x.high[:, :1]).all())


def _of_rows(x: Interval, codes: Numbers) -> Interval:
    """Return the bounds of sums of products with codes [C_out, all that meet in it], of channels that are alike."""
    up, down = _signed_sums(codes)
    up, down, low, high = roomy(int((up - down).max()) * x.size, up, down, x.low[:, :1], x.high[:, :1])
    return Interval(low * up + high * down, high * up + low * down)


def _signed_sums(codes: Numbers) -> tuple[Numbers, Numbers]:
    """Return the sum of the positive and that of the negative codes of each row."""
    whole = codes.sum(1)
    up = np.empty_like(whole)
    # A few rows at a time, whose copy stays in the cache: one of millions of codes would take new memory.
    rows = max(1, _AT_ONCE // codes.shape[1])
    for first in range(0, len(codes), rows):
        np.maximum(codes[first : first + rows], 0).sum(1, out=up[first : first + rows])
    return up, whole - up


def _products(bound: Numbers, taps: Numbers) -> Numbers:
    """Multiply [steps, groups, C_in/groups] by [groups, C_out/groups, C_in/groups] to [steps, C_out]."""
    by_group: Numbers = (taps[None] @ bound[..., None])[..., 0]
    return by_group.reshape(len(bound), -1)


@dataclass(frozen=True, eq=False)
class Bounds:
    """What the numbers of one node cannot leave.

    Args:
        wire: what leaves the node, by step and channel; of a read-out, 0.
        sums: the sum of gain * source, before shift and bias, by step and channel; 0 where there are no gains.
        current: every sum of gains of a step: before and after the shift, with and without the bias; it holds 0.
        accumulator: every sum on the way from the last spikes or codes, ``current`` included.
        membrane: the potential at any moment, before and after the reset; a read-out's sum over time; a pool's counts.
        state: what is kept from step to step: the potential after the reset, the sum over time, the counts; it holds 0.
        work: every number that computes the node: partial sums in any order, products of a leak, differences to a
            threshold, the parameters themselves; it holds 0.
    """

    wire: Interval
    sums: Interval
    current: Range = (0, 0)
    accumulator: Range = (0, 0)
    membrane: Range = (0, 0)
    state: Range = (0, 0)
    work: Range = (0, 0)

    @property
    def size(self) -> int:
        """The largest magnitude of all."""
        low, high = union(self.wire.span, self.accumulator, self.membrane, self.state, self.work)
        return max(-low, high)


class Seen:
    """The smallest and the largest of all numbers that were shown to it."""

    def __init__(self, low: int = 0, high: int = 0) -> None:
        self.range = low, high

    def add(self, *values: Numbers) -> None:
        self.range = union(self.range, *map(ends, values))
