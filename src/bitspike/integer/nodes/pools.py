"""Pools: the sum, the largest integer or the largest count of a window."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar

import numpy as np

from bitspike.integer.arithmetic import (
    LEAST,
    Integers,
    Shape,
    Whole,
    by_step,
    over_windows,
    readers_along,
    window_shape,
)
from bitspike.integer.bounds.intervals import Bounds, Interval, Range, constant, union
from bitspike.integer.limits import Paddings, Sizes
from bitspike.integer.nodes.base import Memory, Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Node):
    """The base of all nodes that make one integer of each window, channel by channel."""

    kernel: Sizes
    stride: Sizes
    padding: Paddings

    def shape_of(self, source: Shape) -> Shape | None:
        if len(self.kernel) != len(source) - 1:
            return None
        return (source[0], *window_shape(source[1:], self.kernel, self.stride, self.padding, (1,) * len(self.kernel)))

    def windows(self, combine: np.ufunc, x: Whole, *, start: int, padded: int) -> Integers:
        """Combine the integers of every window of every step of [T, N, C, ...], as :func:`over_windows` does."""
        window = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        return by_step(x, lambda step: over_windows(combine, step, **window, start=start, padded=padded))


@dataclass(frozen=True, eq=False, kw_only=True)
class SumPool(Pool):
    """The sum over a window, ``y = sum over i of x_i``; an average pool whose division went into ``scale``."""

    operation: ClassVar[str] = "average_pool"

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        """Add up every window; a padded place is 0."""
        return self.windows(np.add, inputs[0], start=0, padded=0)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return the bounds of as many integers as the window holds."""
        return inputs[0].times(math.prod(self.kernel))

    def operations(self, source: Shape) -> int:
        """Return one addition per place of a window."""
        return math.prod(self.shape) * math.prod(self.kernel)

    def reach(self, source: Shape) -> Integers:
        """Return in how many windows each place lies."""
        ones = (1,) * len(self.kernel)
        axes = zip(source[1:], self.shape[1:], self.kernel, self.stride, self.padding, ones, strict=True)
        return reduce(np.multiply.outer, [readers_along(*axis) for axis in axes])[None]


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Pool):
    """The largest integer of a window at each step, ``y[t] = max_i x_i[t]``. A padded place counts nothing."""

    operation: ClassVar[str] = "max_pool"
    linear: ClassVar[bool] = False

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        return self.windows(np.maximum, inputs[0], start=LEAST, padded=LEAST)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return those of the source: the largest of some integers is one of them."""
        return inputs[0]


@dataclass(frozen=True, eq=False, kw_only=True)
class CountMaxPool(Pool):
    """The maximum of a window's running counts, as it grows: ``y[t] = max_i N_i[t] - max_i N_i[t-1]``, N_i from 0.

    For spikes of 0 and 1 the output is 0 or 1 at every step, and its count is at the end the largest count of the
    window: max pooling of rates, exactly. A padded place counts 0.
    """

    operation: ClassVar[str] = "count_max_pool"
    memory: ClassVar[Memory] = "past"
    linear: ClassVar[bool] = False

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        """Emit what the largest count of each window grows by.

        Of a constant wire every count grows by the same integer at each step, and so does the largest: it stays
        constant.
        """
        counts = np.cumsum(inputs[0], axis=0, dtype=np.int64)
        return np.diff(self.windows(np.maximum, counts, start=LEAST, padded=0), axis=0, prepend=0)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return those of the source: the largest count grows, and falls, by no more than some count does."""
        return inputs[0]

    def bounds(self, inputs: list[Interval], before: Range, steps: int) -> Bounds:
        """Bound the counters and their differences as well."""
        wire = self.interval(inputs, steps)
        counts = wire.sum_over_time(steps).span
        sums = union(wire.span, before)
        apart = counts[0] - counts[1], counts[1] - counts[0]
        return Bounds(
            wire=wire, sums=constant(self.shape[0], 0, 0), accumulator=sums, membrane=union(wire.span, counts),
            state=counts, work=union(sums, apart),
        )  # fmt: skip
