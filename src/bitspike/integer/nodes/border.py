"""Where integers enter an integer network, and where they leave it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from bitspike.integer.arithmetic import Integers, Shape, Whole, per_channel, sum_over_time
from bitspike.integer.bounds.intervals import Bounds, Interval, Range, added, constant, ends, union
from bitspike.integer.limits import ByStep, Positive
from bitspike.integer.nodes.base import Gained, Memory, Node
from bitspike.ops.grids import Grid

Coding = Literal["direct", "bernoulli", "rate", "frames"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Where codes enter. ``coding`` says how the host makes them: ``direct``, ``bernoulli``, ``rate``, ``frames``.

    Of ``frames`` real inputs have the samples first, [N, T, ...], and are else as of ``direct`` ones that change.

    Args:
        grid: the integer grid of the codes.
        constant: the same codes at every step, so the wire is [1, N, ...].
        divisor: of the Bernoulli coder.
    """

    grid: Grid
    constant: bool = True
    coding: Coding = "direct"
    divisor: Positive = 1.0

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        return constant(self.shape[0], self.grid.low, self.grid.high)

    @property
    def still(self) -> bool:
        return self.constant

    def problems(self, inputs: list[Shape], steps: int) -> Iterator[str]:
        if inputs:
            yield "an input reads nothing"


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Gained):
    """What leaves the network: the sum over all steps of gain * source, plus bias. [N, ...], without a time axis."""

    memory: ClassVar[Memory] = "past"

    bias: ByStep

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        """Return ``sum over t of (sum over sources of gain * source[t] + bias[t])``, [N, ...]."""
        bias = per_channel(self.bias[:steps], len(self.shape))
        return sum_over_time(self.combined(inputs, steps) + bias, steps)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return 0: what it sends leaves the network, and no node reads it."""
        return constant(self.shape[0], 0, 0)

    def bounds(self, inputs: list[Interval], before: Range, steps: int) -> Bounds:
        """Bound the sum over time, at any of its moments, and every order of its summation."""
        sums = self.gained(inputs)
        low, high = added(sums, self.bias)
        current = union(sums.span, ends(low), ends(high))
        total = Interval(np.minimum(low, 0), np.maximum(high, 0)).sum_over_time(steps).span
        charge = sums.sum_over_time(steps).span
        bias = Interval(np.minimum(self.bias, 0), np.maximum(self.bias, 0)).sum_over_time(steps).span
        work = union(current, (charge[0] + bias[0], charge[1] + bias[1]))
        return Bounds(self.interval(inputs, steps), sums, current, union(current, before), total, total, work)
