"""What a wire means while a network is lowered: real value = sum of scale * integers over its summands, plus an offset.

Batch norms, pools and biases only change scales and offsets; no integer is touched until a neuron, a read-out or a
layer that needs plain integers decides on a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.nodes import Integers, Reals, Shape

_MULTIPLES = 2**16
"""How many units the smallest scale of a sum may be before they count as unrelated."""


@dataclass(frozen=True, eq=False)
class Summand:
    """Integers of one node, each worth ``scale`` [1] or [C], or [T, C] by step; it may be negative."""

    node: str
    scale: Reals


@dataclass(frozen=True, eq=False)
class Wire:
    """A symbolic wire.

    Args:
        summands: their values are added.
        offset: real value that is added at every step, [1] or [C], or [T, C] by step.
        shape: for one sample and one step.
        timed: whether the trained network's tensor has a time axis here.
        burst: the whole charge of a run arrives at the first step, T times the offset with it.
        last: whether that time axis is the last one, and not the first.
    """

    summands: tuple[Summand, ...]
    offset: Reals
    shape: Shape
    timed: bool
    burst: bool = False
    last: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The ids of the nodes that a reader of all summands reads."""
        return tuple(summand.node for summand in self.summands)

    @property
    def plain(self) -> bool:
        """One summand, one positive scale for all channels, no offset: integers that any layer can read."""
        return (
            len(self.summands) == 1
            and bool((self.summands[0].scale == self.summands[0].scale.flat[0]).all())
            and float(self.summands[0].scale.flat[0]) > 0
            and not self.offset.any()
        )

    @property
    def by_step(self) -> bool:
        """Whether an integer is not worth the same at every step, as after a norm whose steps differ."""
        return any(values.ndim > 1 for values in (self.offset, *(summand.scale for summand in self.summands)))

    def affine(self, gain: Reals, shift: Reals) -> Wire:
        """Return ``gain * wire + shift``, per channel, or [T, C] per step and channel."""
        summands = tuple(replace(b, scale=b.scale * gain) for b in self.summands)
        return replace(self, summands=summands, offset=self.offset * gain + shift)

    def plus(self, other: Wire) -> Wire:
        """Return the sum of two wires of one shape.

        Raises:
            LoweringError: one delivers its charge at once and the other step by step.
        """
        if self.burst != other.burst:
            raise LoweringError(
                "cannot add these: one delivers its whole input at step 0 (after bs.nn.Burst), the other step by step",
                fix="bs.nn.Burst() after the addition",
            )
        if self.last != other.last:
            raise LoweringError(
                "cannot add these: time is the first axis of one and the last of the other",
                fix="bs.nn.TimeLast around the layers of the first, or none around those of the other",
            )
        return replace(self, summands=self.summands + other.summands, offset=self.offset + other.offset)


@dataclass(frozen=True, eq=False)
class OnGrid:
    """Summands and offset in units of ``unit / 2**fraction_bits``; :func:`put_on_grid` makes it.

    Args:
        gains: one [1 or T, 1 or C] per summand.
        bias: [1 or T, 1 or C].
        worst: the largest relative rounding, of a gain or of the bias against ``reference``; 0 if exact. Gains that
            change over time are measured against the largest of their channel.
    """

    gains: tuple[Integers, ...]
    bias: Integers
    worst: float


def smallest_scale(wire: Wire) -> Reals:
    """Return the smallest magnitude of a summand's scale by channel, the natural unit of their sum.

    Of a scale that changes over time the largest counts: one step at which a channel is nearly switched off shall not
    make all thresholds large.
    """
    scales = np.stack(np.broadcast_arrays(*[_rows(np.abs(b.scale)).max(0) for b in wire.summands]))
    scales = np.where(scales > 0, scales, np.inf).min(0)
    finite = scales[np.isfinite(scales)]
    # A channel that a batch norm has switched off has no scale of its own; any unit serves it.
    return np.where(np.isfinite(scales), scales, finite.min() if finite.size else 1.0)


def natural_unit(wire: Wire, *others: Reals) -> Reals:
    """Return, by channel, the largest unit of which the scales of all summands are whole multiples; else the smallest.

    Scales that are no small multiples of one unit, as floats of a training are not, get the smallest scale. What else
    should be a whole multiple, [1] or [C], such as a threshold, comes as ``others``.
    """
    least = smallest_scale(wire)
    least = np.broadcast_to(least, np.broadcast_shapes(least.shape, *(o.shape for o in others)))
    values = [*(row for b in wire.summands for row in _rows(np.abs(b.scale))), *others]
    scales = np.stack([np.broadcast_to(v, least.shape) for v in values])
    units = least.copy()
    for c in range(len(least)):
        present = {float(x) for x in scales[:, c] if x > 0}
        if len(present) < 2:
            continue
        # Floats are fractions n / d exactly; their largest common unit is gcd(n) over a common d.
        parts = [x.as_integer_ratio() for x in present]
        grain = math.lcm(*(d for _, d in parts))
        divisor = math.gcd(*(n * (grain // d) for n, d in parts))
        # least / unit: unrelated floats have a common unit too, but one that is far too small.
        if least[c] * grain / divisor <= _MULTIPLES:
            units[c] = divisor / grain
    return units


def put_on_grid(wire: Wire, unit: Reals, fraction_bits: int, *, reference: Reals) -> OnGrid:
    """Round a wire's scales and offset to multiples of ``unit / 2**fraction_bits``, unit [1] or [C].

    An error of the offset is measured against the real value ``reference``, such as the threshold.
    """
    step = unit / 2.0**fraction_bits
    gains, worst = [], 0.0
    for summand in wire.summands:
        exact = whole(summand.scale / step)
        gain = np.round(exact)
        worst = max(worst, _relative_error(gain, exact))
        gains.append(_rows(integers(gain)))
    exact = whole(wire.offset / step)
    bias = np.round(exact)
    worst = max(worst, float((np.abs(bias - exact) * step / reference).max()))
    return OnGrid(tuple(gains), _rows(integers(bias)), worst)


def _rows(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return [1] or [C] as one row, and [T, C] as it is."""
    return np.atleast_2d(values)


def _relative_error(gain: Reals, exact: Reals) -> float:
    if exact.ndim == 1:
        return float(np.abs(np.divide(gain, exact, out=np.ones_like(exact), where=exact != 0) - 1).max())
    # What a layer sums up is as large at one step as at another, so the largest gain of a channel is the measure.
    largest = np.abs(exact).max(0)
    return float((np.abs(gain - exact) / np.where(largest > 0, largest, 1.0)).max())


def whole(values: Reals) -> Reals:
    """Return values with those that are whole up to the rounding of a few float products made whole.

    A wider margin would call large numbers whole that are not: at 2**40 this one is 1/512 already.
    """
    near = np.round(values)
    return np.where(np.abs(values - near) <= 2.0**-49 * np.maximum(1.0, np.abs(near)), near, values)


def integers(values: Reals) -> Integers:
    """Return whole floats as int64.

    Raises:
        ConstraintError: a value lies beyond the 53 bits in which floats are whole numbers exactly.
    """
    if not np.abs(values).max() <= 2.0**53:
        raise ConstraintError(
            f"an integer would be {np.abs(values).max():.3g}, more than 53 bits hold",
            fix="fewer fraction bits: bs.Precision(max_fraction_bits=...), or scales that are closer to each other",
        )
    return values.astype(np.int64)


def finite(values: Reals, what: str) -> Reals:
    """Return values; refuse NaN and infinity."""
    if not np.isfinite(values).all():
        raise LoweringError(
            f"{what} holds NaN or infinity: the training has diverged",
            fix="a smaller learning rate, or gradient clipping",
        )
    return values


def without_dead(wire: Wire, reference: Reals) -> tuple[Wire, int]:
    """Set scales that no input could lift to anything to 0, and return how many channels those are.

    Weight decay drives the gain of an unused batch norm channel to values such as 1e-30. As a unit it would make
    thresholds that no integer holds; its sums, below 2**30 in any real layer, stay under 2**-20 of the reference.
    """
    least = reference * 2.0**-50
    scales = [np.broadcast_arrays(b.scale, least) for b in wire.summands]
    dead = [(np.abs(scale) < limit) & (scale != 0) for scale, limit in scales]
    summands = tuple(
        replace(b, scale=np.where(d, 0.0, s)) if d.any() else b
        for b, (s, _), d in zip(wire.summands, scales, dead, strict=True)
    )
    return replace(wire, summands=summands), sum(int(_rows(d).any(0).sum()) for d in dead)
