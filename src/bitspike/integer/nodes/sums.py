"""Sums of wires, and the sum over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from bitspike.integer.arithmetic import Integers, Whole, sum_over_time
from bitspike.integer.bounds.intervals import Interval
from bitspike.integer.nodes.base import Gained, Memory, Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Gained):
    """The sum of gain * source over all sources, on one grid: ``y[t] = sum over sources of gain[t] * x[t]``."""

    operation: ClassVar[str] = "add"

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        return self.combined(inputs, steps)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        return self.gained(inputs)


@dataclass(frozen=True, eq=False, kw_only=True)
class Burst(Node):
    """All that arrives over time, at once: the sum over all steps at the first step, 0 at every other.

    ``y[0] = x[0] + ... + x[T-1];  y[t] = 0 for t > 0``. Before a neuron it makes the schedule layer by layer: the
    neuron fires when its whole input is there.
    """

    operation: ClassVar[str] = "burst"
    memory: ClassVar[Memory] = "all"

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        """Put the sum of the steps that are run into the first of them."""
        (x,) = inputs
        out = np.zeros((steps, *x.shape[1:]), np.int64)
        out[0] = sum_over_time(x, steps)
        return out

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return the bounds of the sum at the first step, and 0 at every other."""
        total = inputs[0].sum_over_time(steps)
        rest = np.zeros((steps - 1, self.shape[0]), np.int64)
        return Interval(np.concatenate([total.low, rest]), np.concatenate([total.high, rest]))
