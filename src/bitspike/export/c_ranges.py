"""Proven bounds of every number that the C program handles, and the integer types that hold them.

Plain interval arithmetic in Python's integers, which cannot overflow; the equations are those of docs/widths.md, with
one interval for all channels of a wire. Every interval holds 0, so it holds each product and each partial sum too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ExportError
from bitspike.integer.network import (
    Add,
    Burst,
    Convolution,
    CountMaxPool,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    SumPool,
    TransposedConvolution,
)

Range = tuple[int, int]
_Big = npt.NDArray[Any]
"""Python's integers in an array."""


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest integers of one node; each range holds 0.

    Args:
        wire: what leaves the node.
        work: every number on the way: partial sums, products of a leak, differences to a threshold.
        state: what is kept from step to step: potential, running sum, running counts.
    """

    wire: Range
    work: Range
    state: Range = (0, 0)

    @property
    def calculation(self) -> int:
        """Bits of the numbers that compute the node: 32 or 64."""
        return max(32, bits_of(self.work))


def bits_of(bounds: Range) -> int:
    """Return the bits of the smallest integer type of C that holds a range and its negative.

    Example:
        >>> bits_of((-127, 127)), bits_of((-128, 0)), bits_of((0, 2**31)), bits_of((0, 2**63))
        (8, 16, 64, 128)
    """
    most = max(-bounds[0], bounds[1])
    return next((bits for bits in (8, 16, 32, 64) if most < 1 << (bits - 1)), 128)


def survey(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id.

    Raises:
        ExportError: numbers of some nodes may leave 64 bits; all of them are named.

    Example:
        >>> from bitspike.integer.debug import one_convolution
        >>> survey(one_convolution(threshold=8))["neuron"]
        Bounds(wire=(0, 1), work=(0, 15), state=(0, 7))
    """
    found: dict[str, Bounds] = {}
    for node in net.nodes:
        found[node.id] = _bounds(node, [found[s].wire for s in node.sources], net.steps)
    wide = [n for n in net.nodes if max(map(bits_of, (found[n.id].work, found[n.id].state))) > 64]
    if wide:
        lines = [
            f"{n.path}  {type(n).__name__} {n.id}: from {found[n.id].work[0]} to {found[n.id].work[1]}" for n in wide
        ]
        message = f"C holds integers of 64 bits; {len(wide)} of {len(net.nodes)} nodes may need more"
        raise ExportError("\n  ".join([message, *lines]), fix="fewer fraction bits or smaller gains")
    return found


def _hull(*values: int) -> Range:
    return min(0, *values), max(0, *values)


def _bounds(node: Node, wires: list[Range], steps: int) -> Bounds:
    match node:
        case Input():
            wire = _hull(node.grid.low, node.grid.high)
            return Bounds(wire, wire)
        case Neuron():
            return _neuron(node, wires, steps)
        case Readout():
            return _readout(node, wires, steps)
        case Add():
            low, high = _gained(node, wires)
            wire = _hull(low.min(), high.max())
            return Bounds(wire, wire)
        case Burst():
            wire = _hull(wires[0][0] * steps, wires[0][1] * steps)
            return Bounds(wire, wire)
        case CountMaxPool():
            counts = _hull(wires[0][0] * steps, wires[0][1] * steps)
            return Bounds(wires[0], _hull(counts[0] - counts[1], counts[1] - counts[0]), counts)
        case SumPool():
            area = math.prod(node.kernel)
            wire = _hull(wires[0][0] * area, wires[0][1] * area)
            return Bounds(wire, wire)
        case Convolution() | TransposedConvolution() | Linear():
            wire = _weighted(node, wires[0])
            return Bounds(wire, wire)
    wire = _hull(*[end for wire in wires for end in wire])
    return Bounds(wire, wire)


def _weighted(node: Convolution | TransposedConvolution | Linear, wire: Range) -> Range:
    """Bound the sum of products: positive codes meet the largest input, negative ones the smallest."""
    codes = node.weight.codes
    if isinstance(node, TransposedConvolution):  # [C_in, C_out/groups, ...] to [C_out, C_in/groups * ...]
        codes = codes.reshape(node.groups, codes.shape[0] // node.groups, codes.shape[1], -1)
        codes = codes.transpose(0, 2, 1, 3).reshape(node.shape[0], -1)
    flat = codes.reshape(len(codes), -1)
    up, down = np.maximum(flat, 0).sum(1).astype(object), np.minimum(flat, 0).sum(1).astype(object)
    low, high = wire
    return _hull((up * low + down * high).min(), (up * high + down * low).max())


def _gained(node: Add | Neuron | Readout, wires: list[Range]) -> tuple[_Big, _Big]:
    """Bound the sum of gain * source by step and channel."""
    low = high = np.zeros((1, 1), object)
    for gain, wire in zip(node.gains, wires, strict=True):
        a, b = gain.astype(object) * wire[0], gain.astype(object) * wire[1]
        low, high = low + np.minimum(a, b), high + np.maximum(a, b)
    return low, high


def _readout(node: Readout, wires: list[Range], steps: int) -> Bounds:
    low, high = _gained(node, wires)
    sums = _hull(low.min(), high.max())
    low, high = np.minimum(low + node.bias.astype(object), 0), np.maximum(high + node.bias.astype(object), 0)
    each = steps if len(low) == 1 else 1
    total = _hull((low.sum(0) * each).min(), (high.sum(0) * each).max())
    return Bounds((0, 0), _hull(*sums, *total, low.min(), high.max(), *_ends(node.bias)), total)


def _ends(values: Integers) -> Range:
    return int(values.min()), int(values.max())


class _Seen:
    """The smallest and the largest of all numbers that were shown to it."""

    def __init__(self) -> None:
        self.low, self.high = 0, 0

    def add(self, *values: _Big) -> None:
        self.low = min(self.low, *[int(v.min()) for v in values])
        self.high = max(self.high, *[int(v.max()) for v in values])


def _neuron(node: Neuron, wires: list[Range], steps: int) -> Bounds:
    work, state = _Seen(), _Seen()
    bias, thresholds = node.bias.astype(object), node.threshold.astype(object)
    low_i, high_i = _gained(node, wires)
    work.add(low_i, high_i, bias, thresholds, *[node.v_reset] * (node.reset == "hard"), *[-node.retract] * node.signed)
    low_i, high_i = (low_i >> node.right_shift) + bias, (high_i >> node.right_shift) + bias
    work.add(low_i, high_i)
    low = high = node.initial.astype(object)
    v_reset, retract = node.v_reset.astype(object), node.retract.astype(object)
    m, k = node.leak.numerator, node.leak.shift
    for t in range(steps):
        i_low, i_high = low_i[min(t, len(low_i) - 1)], high_i[min(t, len(high_i) - 1)]
        theta = thresholds[min(t, len(thresholds) - 1)]
        state.add(low, high)
        if node.leak_order == "before":
            work.add(low * m, high * m)
            h_low, h_high = ((low * m) >> k) + i_low, ((high * m) >> k) + i_high
        else:
            work.add(low + i_low, high + i_high, (low + i_low) * m, (high + i_high) * m)
            h_low, h_high = ((low + i_low) * m) >> k, ((high + i_high) * m) >> k
        work.add(h_low, h_high)
        if node.floor is not None:
            h_low, h_high = np.maximum(h_low, node.floor), np.maximum(h_high, node.floor)
            work.add(h_low, h_high)
        if node.width is not None:
            least, most = -(1 << (node.width - 1)), (1 << (node.width - 1)) - 1
            h_low, h_high = np.clip(h_low, least, most), np.clip(h_high, least, most)
        low, high = _after(node, h_low, h_high, theta, v_reset, retract)
    state.add(low, high)
    work.add(np.array([state.low, state.high], object))
    return Bounds((-1, 1) if node.signed else (0, 1), (work.low, work.high), (state.low, state.high))


def _after(node: Neuron, h_low: _Big, h_high: _Big, theta: _Big, v_reset: _Big, retract: _Big) -> tuple[_Big, _Big]:
    """Bound the potential after the reset."""
    # The largest potential that does not fire: threshold - 1 for "ge", threshold for "gt".
    quiet = theta - 1 if node.fire == "ge" else theta
    fires, always = h_high > quiet, h_low > quiet
    soft = node.reset == "soft"
    top = h_high - theta if soft else v_reset
    bottom = np.maximum(h_low, quiet + 1) - theta if soft else v_reset
    low = np.where(always, bottom, np.where(fires, np.minimum(h_low, bottom), h_low))
    high = np.where(always, top, np.where(fires, np.maximum(np.minimum(h_high, quiet), top), h_high))
    if node.signed:
        # A spike taken back adds the threshold to a potential of at most -retract.
        back = np.minimum(h_high, -retract) + theta
        high = np.where(h_low <= -retract, np.maximum(high, back), high)
    return low, high
