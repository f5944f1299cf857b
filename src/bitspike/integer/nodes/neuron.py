"""The spiking neuron in integers: its equation, its limits, its proven bounds.

Step by step, all integers (m / 2**k is the leak, >> an arithmetic shift, that is, rounding down, and round() rounds
down too, or with ``rounding`` "zero" toward zero):

    current   i = (sum over sources of gain * source) >> right_shift, plus bias
    leak      h = round(v * m / 2**k) + i     leak "before" the input
              h = round((v + i) * m / 2**k)   leak "after" the input
    limits    h = max(h, floor) where there is one;  h saturates at ``width`` bits where there is one
    fire      s = 1 where h >= threshold ("ge") or h > threshold ("gt"), else 0
              signed: s = -1 where h <= -retract and the spikes sent so far add up to more than 0
    reset     v = h - threshold * s ("soft");  v = v_reset where s = 1, else h ("hard")

``gain``, ``bias`` and ``threshold`` may change per step and per channel: they are arrays [1 or T, 1 or C].
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, get_args

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Whole, divided, per_channel, still
from bitspike.integer.bounds.intervals import (
    Bounds,
    Interval,
    Numbers,
    Range,
    Seen,
    added,
    constant,
    ends,
    roomy,
    union,
)
from bitspike.integer.limits import Between, ByStep, Wide, Worth
from bitspike.integer.nodes.base import Gained, Memory
from bitspike.ops.grids import Dyadic, Fire, Leak, Reset, Rounding


@dataclass(frozen=True, eq=False, kw_only=True)
class Neuron(Gained):
    """A spiking neuron; the module's docstring has its equations.

    Args:
        bias: [1 or T, 1 or C], added at every step.
        threshold: [1 or T, 1 or C].
        initial: potential before the first step, [1 or C].
        unit: real value of one count of the potential, [1] or [C].
        fraction_bits: k, how many bits of the potential lie below one count of the synaptic sum.
        leak: m / 2**k.
        rounding: of the leak's products.
        floor: lower clamp of the potential, or None.
        width: bits at which the potential saturates, or None.
    """

    memory: ClassVar[Memory] = "past"
    linear: ClassVar[bool] = False

    bias: ByStep
    threshold: ByStep
    initial: Integers
    unit: Worth
    fraction_bits: Annotated[int, Between(0, 62)] = 0
    right_shift: Annotated[int, Between(0, 127)] = 0
    leak: Dyadic = Dyadic(1, 0)
    leak_order: Leak = "before"
    reset: Reset = "soft"
    v_reset: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    fire: Fire = "ge"
    signed: bool = False
    retract: Integers = field(default_factory=lambda: np.ones(1, np.int64))
    floor: Wide | None = None
    width: Annotated[int, Between(2, 63)] | None = None
    rounding: Rounding = "floor"

    def __post_init__(self) -> None:
        least = 1 if self.fire == "ge" else 0
        problems = {
            f"fire={self.fire!r}: allowed are {get_args(Fire)}": self.fire not in get_args(Fire),
            f"reset={self.reset!r}: allowed are {get_args(Reset)}": self.reset not in get_args(Reset),
            f"leak_order={self.leak_order!r}: allowed are {get_args(Leak)}": self.leak_order not in get_args(Leak),
            f"rounding={self.rounding!r}: allowed are {get_args(Rounding)}": self.rounding not in get_args(Rounding),
            "a signed neuron resets by subtraction": self.signed and self.reset != "soft",
            f"a threshold below {least} for {self.fire!r}": bool((self.threshold < least).any()),
            "retract below 0": bool((self.retract < 0).any()),
            "a negative shift": min(self.right_shift, self.fraction_bits, self.leak.shift, self.leak.numerator) < 0,
            f"width={self.width}: at least 2 bits": self.width is not None and self.width < 2,
        }
        if refused := [text for text, wrong in problems.items() if wrong]:
            raise ConstraintError(
                f"neuron {self.id!r}: {'; '.join(refused)}", fix="values that the neuron's equations hold"
            )

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        return self.spiking(inputs, steps)[0]

    def spiking(self, inputs: list[Whole], steps: int) -> tuple[npt.NDArray[np.int8], Integers]:
        """Run all steps; returns spikes int8 and potentials before reset (h) int64, [T, N, ...]."""
        dims = len(self.shape)
        current = self.combined(inputs, steps) >> self.right_shift
        current = current + per_channel(self.bias[:steps], dims)
        threshold = per_channel(self.threshold[:steps], dims)
        samples = current.shape[1]
        v = np.broadcast_to(per_channel(self.initial, dims), (samples, *self.shape)).astype(np.int64)
        emitted = np.zeros((samples, *self.shape), np.int64)
        spikes = np.empty((steps, samples, *self.shape), np.int8)
        potentials = np.empty((steps, samples, *self.shape), np.int64)
        m, k = self.leak.numerator, self.leak.shift
        leaks = (m, k) != (1, 0)
        v_reset, retract = per_channel(self.v_reset, dims), per_channel(self.retract, dims)
        for t in range(steps):
            i = current[min(t, len(current) - 1)]
            theta = threshold[min(t, len(threshold) - 1)]
            if not leaks:
                h = v + i
            elif self.leak_order == "before":
                h = divided(v * m, k, self.rounding) + i
            else:
                h = divided((v + i) * m, k, self.rounding)
            if self.floor is not None:
                h = np.maximum(h, self.floor)
            if self.width is not None:
                h = np.clip(h, -(1 << (self.width - 1)), (1 << (self.width - 1)) - 1)
            fired = h >= theta if self.fire == "ge" else h > theta
            spikes[t], potentials[t] = fired, h
            if self.signed:
                spikes[t] -= (h <= -retract) & (emitted > 0)
                emitted += spikes[t]
            v = self.carried(h - theta * spikes[t] if self.reset == "soft" else np.where(fired, v_reset, h))
        return spikes, potentials

    def carried(self, potential: Integers) -> Integers:
        """Return what the next step reads of the potential after the reset: all of it."""
        return potential

    def uncounted(self, *, changing: bool) -> Iterator[str]:
        """Yield what the closed form of :mod:`bitspike.integer.count` does not hold for."""
        shift = f"shifts its charge right by {self.right_shift} at every step; needed is right_shift=0, with threshold"
        width = f"saturates at {self.width} bits; needed is width=None, and widths(net) says how many bits suffice"
        reasons = {
            f"leaks by {float(self.leak):g}; needed is a leak of 1 (IF)": float(self.leak) != 1,
            "resets to a value; needed is reset='soft'": self.reset != "soft",
            "takes spikes back; needed is signed=False": self.signed,
            f"has a floor of {self.floor}; needed is floor=None": self.floor is not None,
            width: self.width is not None,
            "has thresholds that change over time; needed is one for all steps": not still(self.threshold),
            "has a threshold of 0; needed is 1 or more": bool((self.threshold < 1).any()),
            f"{shift}, bias and initial potential times 2**{self.right_shift}": self.right_shift != 0,
        }
        yield from (reason for reason, wrong in reasons.items() if wrong)
        yield from super().uncounted(changing=changing)

    # --- bounds: the equations of ``spiking`` once more, on intervals; docs/widths.md derives them ---

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return 0 and 1, and -1 where spikes are taken back."""
        return constant(self.shape[0], -1 if self.signed else 0, 1)

    def bounds(self, inputs: list[Interval], before: Range, steps: int) -> Bounds:
        """Bound the current, the potential at any moment, and every number on the way."""
        sums = self.gained(inputs)
        i_low, i_high = added(sums, self.bias, self.right_shift)
        current = union(sums.span, ends(i_low), ends(i_high))
        membrane, state, work = Seen(*ends(self.initial)), Seen(), Seen(*current)
        if self.rounding == "zero":  # what is added to a negative product, or divides it
            work.add(np.array([1 << self.leak.shift]))
        work.add(self.bias, self.threshold, *[self.v_reset] * (self.reset == "hard"), *[-self.retract] * self.signed)
        self._follow(i_low, i_high, steps, membrane, state, work)
        reach = union(current, before)
        wire = self.interval(inputs, steps)
        return Bounds(wire, sums, current, reach, membrane.range, state.range, union(work.range, membrane.range))

    def kept_bounds(self, sums: Interval, steps: int) -> list[tuple[Numbers, Numbers]]:
        """Return the smallest and largest of what is kept before the first step and after each, [1 or C] each.

        Args:
            sums: of gain * source, as of :meth:`gained`.

        Example:
            >>> from bitspike.integer.bounds.intervals import constant
            >>> from bitspike.integer.examples import one_convolution
            >>> one_convolution(threshold=8)["neuron"].kept_bounds(constant(1, 0, 5), steps=3)
            [(array([0]), array([0])), (array([0]), array([5])), (array([0]), array([7])), (array([0]), array([7]))]
        """
        steps_seen = _EveryTime()
        self._follow(*added(sums, self.bias, self.right_shift), steps, Seen(), steps_seen, Seen())
        return steps_seen.pairs

    def _follow(self, i_low: Numbers, i_high: Numbers, steps: int, membrane: Seen, state: Seen, work: Seen) -> None:
        """Follow the interval of the potential through all steps and show what happens on the way."""
        m, k = self.leak.numerator, self.leak.shift
        low, high = self._carried_bounds(self.initial, self.initial, state, work)
        for t in range(steps):
            a, b = i_low[min(t, len(i_low) - 1)], i_high[min(t, len(i_high) - 1)]
            theta = self.threshold[min(t, len(self.threshold) - 1)]
            most = max(map(abs, union(ends(low), ends(high)))) + max(map(abs, union(ends(a), ends(b))))
            low, high, a, b = roomy(most * max(1, m), low, high, a, b)
            if self.leak_order == "before":
                work.add(low * m, high * m)
                h_low, h_high = (divided(v * m, k, self.rounding) for v in (low, high))
                h_low, h_high = h_low + a, h_high + b
            else:
                membrane.add(low + a, high + b)
                work.add((low + a) * m, (high + b) * m)
                h_low, h_high = (divided(v * m, k, self.rounding) for v in (low + a, high + b))
            work.add(h_low, h_high)
            h_low, h_high = self._limited(h_low, h_high)
            left = self._reset(h_low, h_high, theta)
            low, high = self._carried_bounds(*left, state, work)
            membrane.add(h_low, h_high, *left, low, high)

    def _carried_bounds(self, low: Numbers, high: Numbers, state: Seen, work: Seen) -> tuple[Numbers, Numbers]:
        """Return the interval of what the next step reads, and show what lies in memory until then."""
        state.add(low, high)
        return low, high

    def _limited(self, low: Numbers, high: Numbers) -> tuple[Numbers, Numbers]:
        """Return the interval after the lower clamp and the saturation."""
        if self.floor is not None:
            low, high = np.maximum(low, self.floor), np.maximum(high, self.floor)
        # Numbers that are still int64 lie inside a wider saturation anyway, whose ends int64 does not hold.
        if self.width is not None and (self.width <= 64 or low.dtype == object):
            edge = 1 << (self.width - 1)
            low, high = np.clip(low, -edge, edge - 1), np.clip(high, -edge, edge - 1)
        return low, high

    def _reset(self, low: Numbers, high: Numbers, theta: Numbers) -> tuple[Numbers, Numbers]:
        """Return the interval after the reset."""
        # The largest potential that does not fire: threshold - 1 for "ge", threshold for "gt".
        quiet = theta - 1 if self.fire == "ge" else theta
        may, must = high > quiet, low > quiet
        soft = self.reset == "soft"
        top = high - theta if soft else self.v_reset
        bottom = np.maximum(low, quiet + 1) - theta if soft else self.v_reset
        new_low = np.where(must, bottom, np.where(may, np.minimum(low, bottom), low))
        new_high = np.where(must, top, np.where(may, np.maximum(quiet, top), high))
        if self.signed:
            # A spike taken back adds the threshold to a potential of at most -retract.
            back = np.minimum(high, -self.retract) + theta
            new_high = np.where(low <= -self.retract, np.maximum(new_high, back), new_high)
        return new_low, new_high


class _EveryTime(Seen):
    """All pairs of bounds that were shown, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: list[tuple[Numbers, Numbers]] = []

    def add(self, *values: Numbers) -> None:
        super().add(*values)
        low, high = values
        self.pairs.append((low, high))
