"""The synapse: what a spike sends on decays over the steps after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Whole
from bitspike.integer.bounds.intervals import Bounds, Interval, Numbers, Range, Seen, constant, ends, roomy, union
from bitspike.integer.limits import Between
from bitspike.integer.nodes.base import Memory, Node
from bitspike.ops.grids import Dyadic


@dataclass(frozen=True, eq=False, kw_only=True)
class Synapse(Node):
    """A filter that decays: ``y[t] = ((y[t-1] * m) >> k) + (x[t] << left_shift)``, y = 0 before; leak m / 2**k.

    ``>>`` rounds down. What leaves it is a current, an integer of many bits.

    Args:
        leak: m / 2**k, at most 1.
        left_shift: how many bits of y lie below one count of x, so that the leak's products keep what they would
            round away.

    Raises:
        ConstraintError: a leak above 1, by which currents would grow.
    """

    operation: ClassVar[str] = "synapse"
    memory: ClassVar[Memory] = "past"
    linear: ClassVar[bool] = False

    leak: Dyadic
    left_shift: Annotated[int, Between(0, 40)]

    def __post_init__(self) -> None:
        if self.leak.shift < 0 or not 0 <= float(self.leak) <= 1:
            raise ConstraintError(
                f"synapse {self.id!r}: a leak of {self.leak.numerator}/2**{self.leak.shift}; allowed are 0 to 1",
                fix="leak=Dyadic(3, 2), three quarters",
            )

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        """Run all steps, one after the other."""
        (x,) = inputs
        y = np.zeros(x.shape[1:], np.int64)
        out = np.empty((steps, *y.shape), np.int64)
        for t in range(steps):
            arriving = x[min(t, len(x) - 1)].astype(np.int64) << self.left_shift
            y = ((y * self.leak.numerator) >> self.leak.shift) + arriving
            out[t] = y
        return out

    @property
    def counts(self) -> bool:
        """Whether its sum over time follows from the sum that it reads: no, what comes early has decayed for longer."""
        return False

    def uncounted(self, *, changing: bool) -> Iterator[str]:
        yield f"leaks by {float(self.leak):g} from step to step; needed is a network without synapses"

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return the bounds of every step: of inputs that are as small, or as large, as they can be at all steps."""
        return self._followed(inputs[0], steps, Seen())

    def bounds(self, inputs: list[Interval], before: Range, steps: int) -> Bounds:
        """Bound what is kept from step to step, and the products of the leak."""
        work = Seen()
        wire = self._followed(inputs[0], steps, work)
        nothing = constant(self.shape[0], 0, 0)
        return Bounds(
            wire, nothing, accumulator=union(wire.span, before), membrane=wire.span, state=wire.span,
            work=union(work.range, wire.span, before),
        )  # fmt: skip

    def _followed(self, x: Interval, steps: int, work: Seen) -> Interval:
        """Follow the interval through all steps, each widened to hold 0, and show the numbers on the way."""
        m, k, lows, highs = self.leak.numerator, self.leak.shift, [], []
        low: Numbers = np.zeros(self.shape[0], np.int64)
        high = low
        for t in range(steps):
            a, b = (bound[min(t, len(bound) - 1)] for bound in (x.low, x.high))
            kept, arriving = (max(map(abs, union(ends(p), ends(q)))) for p, q in ((low, high), (a, b)))
            most = kept * max(1, m) + (arriving << self.left_shift)
            low, high, a, b = roomy(most, low, high, a, b)
            a, b = a << self.left_shift, b << self.left_shift
            work.add(low * m, high * m, a, b)
            # Rounding down is monotone, so the ends may be followed by themselves.
            low, high = ((low * m) >> k) + a, ((high * m) >> k) + b
            lows.append(np.minimum(low, 0))
            highs.append(np.maximum(high, 0))
        return Interval(np.stack(lows), np.stack(highs))
