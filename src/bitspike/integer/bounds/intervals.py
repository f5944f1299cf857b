"""Intervals of integers through the layers of a network: what no input can leave.

An interval has bounds by step and channel and holds 0. So it holds every product and every partial sum too, whatever
the order of summation. All bounds are exact: int64, or Python's integers where int64 may overflow.
Derivation: docs/widths.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
)

Range = tuple[int, int]
Whole = npt.NDArray[Any]
"""Integers that cannot overflow."""

ROOM = 1 << 61
"""Sums and differences of two magnitudes below it are far from the end of int64."""


@dataclass(frozen=True, eq=False)
class Interval:
    """Bounds of a wire or of a sum.

    Args:
        low, high: by step and channel, [1 or T, C]; low <= 0 <= high.
    """

    low: Whole
    high: Whole

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

    def over_time(self, steps: int) -> Interval:
        """Return the bounds [1, C] of the sum over the first steps, however many of ``steps`` they are.

        Example:
            >>> Interval(np.array([[-1], [0]]), np.array([[2], [5]])).over_time(2).span
            (-1, 7)
        """
        if len(self.low) == 1:
            return self.times(steps)
        low, high = roomy(self.size * steps, self.low, self.high)
        return Interval(low.sum(0, keepdims=True), high.sum(0, keepdims=True))


def roomy(most: int, *values: Whole) -> tuple[Whole, ...]:
    """Return values as Python's integers where numbers of magnitude ``most`` come near the end of int64."""
    return values if most < ROOM else tuple(v.astype(object) for v in values)


def union(*ranges: Range) -> Range:
    """Return the smallest range that holds all of them.

    Example:
        >>> union((0, 3), (-2, 1))
        (-2, 3)
    """
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def ends(values: Whole) -> Range:
    """Return the smallest and the largest of some integers."""
    return int(values.min()), int(values.max())


def constant(node: Node, low: int, high: int) -> Interval:
    """Return the same bounds for all steps and channels of a node, widened to hold 0."""
    shape = (1, node.shape[0])
    low, high = min(low, 0), max(high, 0)
    kind = np.int64 if max(-low, high) < 1 << 63 else object
    return Interval(np.full(shape, low, kind), np.full(shape, high, kind))


def layer(node: Node, inputs: list[Interval], steps: int) -> Interval:
    """Return the bounds of what leaves a node without gains, or an addition."""
    match node:
        case Input():
            return constant(node, node.grid.low, node.grid.high)
        case Convolution() | Linear() | TransposedConvolution():
            return _weighted(node, inputs[0])
        case SumPool():
            return inputs[0].times(math.prod(node.kernel))
        case MaxPool() | CountMaxPool() | Upsample() | Pad():
            # The largest count grows by no more than the largest growth of a count, and falls by no more either.
            return inputs[0]
        case Burst():
            return _burst(inputs[0], steps)
        case Concat():
            return Interval(_side_by_side([x.low for x in inputs]), _side_by_side([x.high for x in inputs]))
        case Slice():
            return Interval(inputs[0].low[:, node.start : node.stop], inputs[0].high[:, node.start : node.stop])
        case Reshape():
            return _reshaped(node, inputs[0])
        case Transpose():
            return inputs[0] if node.axes[0] == 0 else _mixed(node, inputs[0])
        case Add():
            return gained(node, inputs)
    raise ConstraintError(f"node {node.id!r}: no bound is known for a {type(node).__name__}")


def gained(node: Add | Neuron | Readout, inputs: list[Interval]) -> Interval:
    """Return the bounds of the sum of gain * input, [1 or T, C]."""
    most = sum(max(map(abs, ends(gain))) * x.size for gain, x in zip(node.gains, inputs, strict=True))
    low: Whole = np.zeros((1, node.shape[0]), np.int64)
    high = low
    for gain, x in zip(node.gains, inputs, strict=True):
        gain, x_low, x_high = roomy(most, gain, x.low, x.high)
        a, b = gain * x_low, gain * x_high
        low, high = low + np.minimum(a, b), high + np.maximum(a, b)
    return Interval(low, high)


def _burst(x: Interval, steps: int) -> Interval:
    """All at the first step, 0 at every other."""
    total = x.over_time(steps)
    rest = np.zeros((steps - 1, x.low.shape[1]), np.int64)
    return Interval(np.concatenate([total.low, rest]), np.concatenate([total.high, rest]))


def _side_by_side(bounds: list[Whole]) -> Whole:
    longest = max(len(b) for b in bounds)
    return np.concatenate([np.broadcast_to(b, (longest, b.shape[1])) for b in bounds], axis=1)


def _mixed(node: Node, x: Interval) -> Interval:
    """Return the widest bounds of a step for all channels of a node that mixes them."""
    shape = (len(x.low), node.shape[0])
    low, high = x.low.min(1, keepdims=True), x.high.max(1, keepdims=True)
    return Interval(np.broadcast_to(low, shape), np.broadcast_to(high, shape))


def _reshaped(node: Reshape, x: Interval) -> Interval:
    each, rest = divmod(node.shape[0], x.low.shape[1])
    if rest or len(node.shape) > 1:
        return _mixed(node, x)
    return Interval(np.repeat(x.low, each, axis=1), np.repeat(x.high, each, axis=1))


def _weighted(node: Convolution | Linear | TransposedConvolution, x: Interval) -> Interval:
    """Let positive codes meet the largest input and negative ones the smallest."""
    codes = node.weight.codes
    most = max(map(abs, ends(codes))) * codes.size
    (codes,) = roomy(most, codes)
    low, high = [], []
    for phase in _phases(node, codes):
        # Sum the taps of one sign per input channel: [groups, C_out/groups, C_in/groups].
        axes = tuple(range(3, phase.ndim))
        up, down = np.maximum(phase, 0).sum(axes), np.minimum(phase, 0).sum(axes)
        reach = int((up - down).sum(2).max()) * x.size
        up, down, *ends_of_x = roomy(reach, up, down, x.low, x.high)
        lo, hi = (b.reshape(len(b), len(up), up.shape[2]) for b in ends_of_x)
        high.append(_products(hi, up) + _products(lo, down))
        low.append(_products(lo, up) + _products(hi, down))
    return Interval(np.minimum.reduce(low), np.maximum.reduce(high))


def _products(bound: Whole, taps: Whole) -> Whole:
    """Multiply [steps, groups, C_in/groups] by [groups, C_out/groups, C_in/groups] to [steps, C_out]."""
    by_group: Whole = (taps[None] @ bound[..., None])[..., 0]
    return by_group.reshape(len(bound), -1)


def _phases(node: Convolution | Linear | TransposedConvolution, codes: Whole) -> Iterator[Whole]:
    """Yield the codes that meet in one output: [groups, C_out/groups, C_in/groups, *taps].

    A transposed convolution gives its outputs, one after the other along an axis, every stride-th tap in turn: tap k
    adds to the outputs at ``k * dilation`` modulo the stride.
    """
    groups = 1 if isinstance(node, Linear) else node.groups
    codes = codes.reshape(groups, len(codes) // groups, *codes.shape[1:])
    if not isinstance(node, TransposedConvolution):
        yield codes
        return
    codes = codes.swapaxes(1, 2)
    for phase in np.ndindex(*node.stride):
        met = codes
        for axis, (d, s, at) in enumerate(zip(node.dilation, node.stride, phase, strict=True), start=3):
            met = met.compress(np.arange(codes.shape[axis]) * d % s == at, axis)
        yield met
