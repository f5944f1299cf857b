"""Ranges that no input can leave: of every wire, and of every potential (rule R5 of the chip checks).

Interval arithmetic from the input's grid through the network; every interval holds 0, so it holds partial sums too. A
weighted sum is largest where every positive code meets the largest input and every negative one the smallest. The
potential follows step by step: leak and clamps are monotone, and a spike by subtraction leaves at most
max(threshold - 1, h - threshold). docs/widths.md has the derivation.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.network import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
)

_SAFE = 2.0**62
_KEEP_CHANNELS = ("MaxPool", "Upsample", "Pad", "CountMaxPool")


@dataclass(frozen=True, eq=False)
class Bounds:
    """What one node may hold.

    Args:
        low, high: of its output by channel, int64 [C]; low <= 0 <= high.
        current: smallest and largest sum that a neuron or read-out receives in a step, with its bias.
        potential: smallest and largest potential at any moment; of a read-out, its sum over time.
    """

    low: Integers
    high: Integers
    current: tuple[int, int] = (0, 0)
    potential: tuple[int, int] = (0, 0)


def bits_of(low: int, high: int) -> int:
    """Return the bits of two's complement that hold every integer from ``low`` to ``high``.

    Example:
        >>> bits_of(-8, 7), bits_of(0, 8)
        (4, 5)
    """
    return 1 + max(high.bit_length() if high >= 0 else 0, (-low - 1).bit_length() if low < 0 else 0)


def bounds(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the ranges of every node, by its id.

    Raises:
        ConstraintError: a sum may leave 63 bits.
    """
    found: dict[str, Bounds] = {}
    for node in net.nodes:
        inputs = [found[s] for s in node.sources]
        found[node.id] = _of(node, inputs, net.steps)
        if max(_size(found[node.id].low), _size(found[node.id].high)) >= _SAFE:
            raise ConstraintError(f"{node.path}: a sum may need more than 63 bits", fix="fewer fraction bits")
    return found


def _size(values: Integers) -> float:
    return float(np.abs(values.astype(np.float64)).max())


def _even(node: Node, low: int, high: int) -> Bounds:
    channels = node.shape[0]
    return Bounds(np.full(channels, min(low, 0), np.int64), np.full(channels, max(high, 0), np.int64))


def _times(x: Bounds, factor: int, where: str) -> Bounds:
    if max(_size(x.low), _size(x.high)) * factor >= _SAFE:
        raise ConstraintError(f"{where}: a sum may need more than 63 bits", fix="fewer fraction bits")
    return Bounds(x.low * factor, x.high * factor)


def _of(node: Node, inputs: list[Bounds], steps: int) -> Bounds:
    match node:
        case Input():
            return _even(node, node.grid.low, node.grid.high)
        case Convolution() | TransposedConvolution() | Linear():
            return _weighted(node, inputs[0])
        case SumPool():
            return _times(inputs[0], math.prod(node.kernel), node.path)
        case Burst():
            return _times(inputs[0], steps, node.path)
        case Concat():
            return Bounds(np.concatenate([x.low for x in inputs]), np.concatenate([x.high for x in inputs]))
        case Slice():
            return Bounds(inputs[0].low[node.start : node.stop], inputs[0].high[node.start : node.stop])
        case CountMaxPool():
            # The largest of the running counts moves by no more than any of them does.
            return Bounds(np.minimum(inputs[0].low, 0), np.maximum(inputs[0].high, 0))
        case Add():
            low, high = _gained(node, inputs)
            return _channels(node, low.min(0), high.max(0))
        case Neuron():
            return _neuron(node, inputs, steps)
        case Readout():
            return _readout(node, inputs, steps)
        case Transpose() if node.axes[0] == 0:
            return inputs[0]
    if type(node).__name__ in _KEEP_CHANNELS:
        return inputs[0]
    x = inputs[0]
    each, rest = divmod(node.shape[0], len(x.low))
    if len(node.shape) == 1 and not rest and type(node).__name__ == "Reshape":
        return Bounds(np.repeat(x.low, each), np.repeat(x.high, each))
    return _even(node, int(x.low.min()), int(x.high.max()))


def _channels(node: Node, low: Integers, high: Integers) -> Bounds:
    shape = (node.shape[0],)
    return Bounds(np.broadcast_to(np.minimum(low, 0), shape), np.broadcast_to(np.maximum(high, 0), shape))


def _weighted(node: Convolution | TransposedConvolution | Linear, x: Bounds) -> Bounds:
    codes, groups = node.weight.codes, getattr(node, "groups", 1)
    reach = float(np.maximum(-x.low, x.high).max())
    if float(np.abs(codes.astype(np.float64)).sum()) * reach >= _SAFE:
        per_output = (
            codes.shape[1:] if not isinstance(node, TransposedConvolution) else codes.shape[:1] + codes.shape[2:]
        )
        if math.prod(per_output) * _size(codes) * reach >= _SAFE:
            raise ConstraintError(f"{node.path}: a sum may need more than 63 bits", fix="fewer bits")
    sums = [_sums(taps, groups, x) for taps in _phases(node)]
    return _channels(node, np.min([a for a, _ in sums], axis=0), np.max([b for _, b in sums], axis=0))


def _phases(node: Convolution | TransposedConvolution | Linear) -> list[Integers]:
    """Return the codes that meet in one output, [C_out, C_in/groups, taps], one array per phase of a transposed one."""
    codes = node.weight.codes
    if not isinstance(node, TransposedConvolution):
        return [codes.reshape(*codes.shape[:2], -1)]
    into, out = codes.shape[:2]
    g = node.groups
    # [C_in, C_out/g, ...] to [C_out, C_in/g, ...]
    turned = (
        codes.reshape(g, into // g, out, *codes.shape[2:]).swapaxes(1, 2).reshape(g * out, into // g, *codes.shape[2:])
    )
    axes = [
        [[i for i in range(k) if (i * d) % s == r] for r in range(s)]
        for k, d, s in zip(codes.shape[2:], node.dilation, node.stride, strict=True)
    ]
    return [_taken(turned, taps).reshape(g * out, into // g, -1) for taps in itertools.product(*axes) if all(taps)]


def _taken(codes: Integers, taps: tuple[list[int], ...]) -> Integers:
    """Return the codes [C_out, C_in, *taps] at some taps of each axis."""
    for axis, chosen in enumerate(taps):
        codes = codes.take(chosen, axis=axis + 2)
    return codes


def _sums(codes: Integers, groups: int, x: Bounds) -> tuple[Integers, Integers]:
    up, down = np.maximum(codes, 0).sum(2), np.minimum(codes, 0).sum(2)
    low, high = [], []
    for u, d, lo, hi in zip(*(np.split(a, groups) for a in (up, down, x.low, x.high)), strict=True):
        high.append(u @ hi + d @ lo)
        low.append(u @ lo + d @ hi)
    return np.concatenate(low), np.concatenate(high)


def _gained(node: Add | Neuron | Readout, inputs: list[Bounds]) -> tuple[Integers, Integers]:
    """Return the bounds of the sum of gain * input by step and channel, [1 or T, C]; they hold 0."""
    low: Integers = np.zeros((1, node.shape[0]), np.int64)
    high = low
    total = 0.0
    for gain, x in zip(node.gains, inputs, strict=True):
        total += _size(gain) * max(_size(x.low), _size(x.high))
        if total >= _SAFE:
            raise ConstraintError(f"{node.path}: a sum may need more than 63 bits", fix="fewer fraction bits")
        a, b = gain * x.low, gain * x.high
        low, high = low + np.minimum(a, b), high + np.maximum(a, b)
    return low, high


def _readout(node: Readout, inputs: list[Bounds], steps: int) -> Bounds:
    low, high = _gained(node, inputs)
    low, high = low + node.bias, high + node.bias
    current = min(int(low.min()), 0), max(int(high.max()), 0)
    every = [np.broadcast_to(b, (steps, b.shape[1])) for b in (np.minimum(low, 0), np.maximum(high, 0))]
    total = int(every[0].sum(0).min()), int(every[1].sum(0).max())
    blank = _even(node, 0, 0)
    return Bounds(blank.low, blank.high, current, total)


def _neuron(node: Neuron, inputs: list[Bounds], steps: int) -> Bounds:
    low, high = _gained(node, inputs)
    i_low, i_high = (low >> node.right_shift) + node.bias, (high >> node.right_shift) + node.bias
    least, most = min(int(low.min()), int(i_low.min()), 0), max(int(high.max()), int(i_high.max()), 0)
    wire = _even(node, -1 if node.signed else 0, 1)
    return Bounds(wire.low, wire.high, (least, most), _potential(node, i_low, i_high, steps))


def _potential(node: Neuron, i_low: Integers, i_high: Integers, steps: int) -> tuple[int, int]:
    """Follow the interval of the potential through all steps."""
    m, k = node.leak.numerator, node.leak.shift
    low = high = node.initial
    seen = [int(low.min()), int(high.max())]

    def note(a: Integers, b: Integers) -> None:
        seen[0], seen[1] = min(seen[0], int(a.min())), max(seen[1], int(b.max()))
        if max(-seen[0], seen[1]) * max(1, m) >= _SAFE:
            raise ConstraintError(f"{node.path}: the potential may need more than 63 bits", fix="fewer fraction bits")

    for t in range(steps):
        a, b = i_low[min(t, len(i_low) - 1)], i_high[min(t, len(i_high) - 1)]
        theta = node.threshold[min(t, len(node.threshold) - 1)]
        if node.leak_order == "before":
            h_low, h_high = ((low * m) >> k) + a, ((high * m) >> k) + b
        else:
            note(low + a, high + b)
            h_low, h_high = ((low + a) * m) >> k, ((high + b) * m) >> k
        if node.floor is not None:
            h_low, h_high = np.maximum(h_low, node.floor), np.maximum(h_high, node.floor)
        if node.width is not None:
            edge = 1 << (node.width - 1)
            h_low, h_high = np.clip(h_low, -edge, edge - 1), np.clip(h_high, -edge, edge - 1)
        note(h_low, h_high)
        low, high = _after(node, h_low, h_high, theta)
        note(low, high)
    return seen[0], seen[1]


def _after(node: Neuron, low: Integers, high: Integers, theta: Integers) -> tuple[Integers, Integers]:
    """Return the interval behind the reset."""
    quiet = theta - 1 if node.fire == "ge" else theta  # the largest potential that does not fire
    may, must = high > quiet, low > quiet
    if node.reset == "soft":
        top, bottom = high - theta, np.maximum(low, quiet + 1) - theta
    else:
        top = bottom = node.v_reset
    new_low = np.where(must, bottom, np.where(may, np.minimum(low, bottom), low))
    new_high = np.where(must, top, np.where(may, np.maximum(quiet, top), high))
    if node.signed:  # a spike taken back adds the threshold to a potential of at most -retract
        back = np.minimum(high, -node.retract) + theta
        new_high = np.where(low <= -node.retract, np.maximum(new_high, back), new_high)
    return new_low, new_high
