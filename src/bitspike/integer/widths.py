"""How wide the accumulators and potentials must be, proved rather than hoped for.

Interval arithmetic from the input's grid through every node gives bounds that no input can leave. A synaptic sum is
largest when every positive weight meets the largest input and every negative weight the smallest. Intervals hold 0, and
so every partial sum too, whatever the order of summation. The potential follows step by step from the bounds of its
current: leak and shift are monotone, and a spike by subtraction leaves at most max(threshold - 1, h - threshold).
Derivation: docs/widths.md.
"""

from __future__ import annotations

from collections.abc import Iterator
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

_SAFE = 2.0**62


@dataclass(frozen=True)
class LayerWidths:
    """Worst-case ranges of one layer, and the bits of two's complement that hold them.

    Args:
        layer: module path.
        accumulator: smallest and largest synaptic sum of a step at any moment: partial, before the shift, with or
            without the bias.
        membrane: smallest and largest potential at any moment of any step; of a read-out, its sum over time; of a pool
            of counts, its counters.
    """

    layer: str
    accumulator: tuple[int, int]
    membrane: tuple[int, int]

    @property
    def accumulator_bits(self) -> int:
        """Bits of the synaptic sum."""
        return bits_of(*self.accumulator)

    @property
    def membrane_bits(self) -> int:
        """Bits of the potential."""
        return bits_of(*self.membrane)


def bits_of(low: int, high: int) -> int:
    """Return the bits of two's complement that hold every integer from ``low`` to ``high``.

    Example:
        >>> bits_of(-8, 7), bits_of(0, 8), bits_of(0, 0)
        (4, 5, 1)
    """
    return 1 + max(
        high.bit_length() if high >= 0 else (-high - 1).bit_length(), (-low - 1).bit_length() if low < 0 else 0
    )


@dataclass(frozen=True, eq=False)
class _Range:
    """Bounds of a wire.

    Args:
        low, high: by step and channel, int64 [1 or T, C]; low <= 0 <= high.
        reach: smallest and largest number of any sum on the way from the last spikes or codes to this wire.
    """

    low: Integers
    high: Integers
    reach: tuple[int, int] = (0, 0)


Current = tuple[Integers, Integers]
"""Bounds of a sum by step and channel, int64 [1 or T, C] each."""


def widths(net: IntegerNetwork) -> list[LayerWidths]:
    """Return the worst-case widths of all that keeps something over time, in the order of data flow.

    These are the neurons, the read-outs and the pools of counts.

    Raises:
        ConstraintError: a sum may leave 63 bits.

    Example:
        >>> from bitspike.integer.debug import one_convolution
        >>> widths(one_convolution(threshold=8))[0]
        LayerWidths(layer='neuron', accumulator=(0, 8), membrane=(0, 15))
    """
    return [LayerWidths(node.path, sums, membrane) for node, sums, membrane in _survey(net) if _reported(node)]


def magnitudes(net: IntegerNetwork) -> dict[str, int]:
    """Return, by node id, a bound of every number that computing the node handles, products of a leak included.

    A format that holds all integers up to this bound computes the node without rounding.
    """
    found = {}
    for node, sums, membrane in _survey(net):
        found[node.id] = max(-sums[0], sums[1], -membrane[0], membrane[1])
        if isinstance(node, Neuron):
            # Leak, input, distance to the threshold, value after a hard reset: all fit their sum, clamped or not.
            potential = max(-membrane[0], membrane[1]) * max(1, node.leak.numerator)
            found[node.id] += potential + int(node.threshold.max()) + int(np.abs(node.v_reset).max())
    return found


def _reported(node: Node) -> bool:
    return isinstance(node, Neuron | Readout | CountMaxPool)


def _survey(net: IntegerNetwork) -> Iterator[tuple[Node, tuple[int, int], tuple[int, int]]]:
    """Yield every node with the range of its sums and of its potential or result."""
    ranges: dict[str, _Range] = {}
    for node in net.nodes:
        inputs = [ranges[s] for s in node.sources]
        if isinstance(node, Neuron):
            current, sums = _current(node, inputs)
            yield node, sums, _membrane(node, current, net.steps)
            ranges[node.id] = _constant(node, -1 if node.signed else 0, 1)
        elif isinstance(node, Readout):
            total, sums = _total(node, inputs, net.steps)
            yield node, sums, total
        else:
            x = _layer(node, inputs, net.steps)
            least, most = _span(x.low, x.high)
            reach = _union((least, most), *[r.reach for r in inputs]) if inputs else (0, 0)
            _refuse_overflow(float(max(-least, most)), node.path)
            ranges[node.id] = _Range(x.low, x.high, reach)
            counted = _span(*_over_time(inputs[0], net.steps, node.path)) if isinstance(node, CountMaxPool) else (0, 0)
            yield node, reach, _union((least, most), counted)


def _constant(node: Node, low: int, high: int) -> _Range:
    shape = (1, node.shape[0])
    return _Range(np.full(shape, min(low, 0), np.int64), np.full(shape, max(high, 0), np.int64))


def _span(low: Integers, high: Integers) -> tuple[int, int]:
    return int(low.min()), int(high.max())


def _union(*ranges: tuple[int, int]) -> tuple[int, int]:
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _layer(node: Node, inputs: list[_Range], steps: int) -> _Range:
    match node:
        case Input():
            return _constant(node, node.grid.low, node.grid.high)
        case Convolution() | Linear() | TransposedConvolution():
            return _weighted(node, inputs[0])
        case SumPool():
            area = int(np.prod(node.kernel))
            _refuse_overflow(area * float(np.maximum(-inputs[0].low, inputs[0].high).max()), node.path)
            return _Range(inputs[0].low * area, inputs[0].high * area)
        case MaxPool() | CountMaxPool() | Upsample() | Pad():
            # The largest count grows by no more than the largest growth of a count, and falls by no more either.
            return inputs[0]
        case Burst():
            return _burst(inputs[0], steps, node.path)
        case Concat():
            return _Range(_side_by_side([x.low for x in inputs]), _side_by_side([x.high for x in inputs]))
        case Slice():
            return _Range(inputs[0].low[:, node.start : node.stop], inputs[0].high[:, node.start : node.stop])
        case Reshape():
            return _reshaped(node, inputs[0])
        case Transpose():
            return inputs[0] if node.axes[0] == 0 else _mixed(node, inputs[0])
        case Add():
            return _Range(*_gained(node, inputs))
    raise ConstraintError(f"node {node.id!r}: no bound is known for a {type(node).__name__}")


def _over_time(x: _Range, steps: int, path: str) -> tuple[Integers, Integers]:
    """Return the bounds of the sum of the first steps, however many they are: int64 [C]."""
    _refuse_overflow(steps * float(np.maximum(-x.low, x.high).max()), path)
    times = steps if len(x.low) == 1 else 1
    return x.low.sum(0) * times, x.high.sum(0) * times


def _burst(x: _Range, steps: int, path: str) -> _Range:
    low, high = (np.zeros((steps, x.low.shape[1]), np.int64) for _ in range(2))
    low[0], high[0] = _over_time(x, steps, path)
    return _Range(low, high)


def _side_by_side(bounds: list[Integers]) -> Integers:
    longest = max(len(b) for b in bounds)
    return np.concatenate([np.broadcast_to(b, (longest, b.shape[1])) for b in bounds], axis=1)


def _mixed(node: Node, x: _Range) -> _Range:
    """Return the widest bounds of a step for all channels of a node that mixes them."""
    shape = (len(x.low), node.shape[0])
    low, high = x.low.min(1, keepdims=True), x.high.max(1, keepdims=True)
    return _Range(np.broadcast_to(low, shape), np.broadcast_to(high, shape))


def _reshaped(node: Reshape, x: _Range) -> _Range:
    each, rest = divmod(node.shape[0], x.low.shape[1])
    if rest or len(node.shape) > 1:
        return _mixed(node, x)
    return _Range(np.repeat(x.low, each, axis=1), np.repeat(x.high, each, axis=1))


def _weighted(node: Convolution | Linear | TransposedConvolution, x: _Range) -> _Range:
    low, high = [], []
    for phase in _phases(node):
        # Sum the taps of one sign per input channel: [groups, C_out/groups, C_in/groups].
        axes = tuple(range(3, phase.ndim))
        up, down = np.maximum(phase, 0).sum(axes), np.minimum(phase, 0).sum(axes)
        _refuse_overflow(float((up - down).sum(2).max()) * float(np.maximum(-x.low, x.high).max()), node.path)
        lo, hi = (b.reshape(len(b), len(up), up.shape[2]) for b in (x.low, x.high))
        high.append(_products(hi, up) + _products(lo, down))
        low.append(_products(lo, up) + _products(hi, down))
    return _Range(np.minimum.reduce(low), np.maximum.reduce(high))


def _products(bound: Integers, taps: Integers) -> Integers:
    """Multiply [steps, groups, C_in/groups] by [groups, C_out/groups, C_in/groups] to [steps, C_out]."""
    by_group: Integers = np.einsum("tgi,goi->tgo", bound, taps)
    return by_group.reshape(len(bound), -1)


def _phases(node: Convolution | Linear | TransposedConvolution) -> Iterator[Integers]:
    """Yield the codes that meet in one output: [groups, C_out/groups, C_in/groups, *taps].

    A transposed convolution gives its outputs, one after the other along an axis, every stride-th tap in turn: tap k
    adds to the outputs at ``k * dilation`` modulo the stride.
    """
    codes = node.weight.codes
    groups = 1 if isinstance(node, Linear) else node.groups
    if not isinstance(node, TransposedConvolution):
        yield codes.reshape(groups, len(codes) // groups, *codes.shape[1:])
        return
    codes = codes.reshape(groups, len(codes) // groups, *codes.shape[1:]).swapaxes(1, 2)
    for phase in np.ndindex(*node.stride):
        met = codes
        for axis, (d, s, at) in enumerate(zip(node.dilation, node.stride, phase, strict=True), start=3):
            met = met.compress(np.arange(codes.shape[axis]) * d % s == at, axis)
        yield met


def _gained(node: Add | Neuron | Readout, inputs: list[_Range]) -> Current:
    """Return the bounds of the sum of gain * input; they hold 0."""
    low: Integers = np.zeros((1, 1), np.int64)
    high: Integers = np.zeros((1, 1), np.int64)
    magnitude = 0.0
    for gain, x in zip(node.gains, inputs, strict=True):
        magnitude += float(np.abs(gain.astype(np.float64)).max()) * float(np.maximum(-x.low, x.high).max())
        _refuse_overflow(magnitude, node.path)
        a, b = gain * x.low, gain * x.high
        low, high = low + np.minimum(a, b), high + np.maximum(a, b)
    return low, high


def _current(node: Neuron | Readout, inputs: list[_Range]) -> tuple[Current, tuple[int, int]]:
    """Return the bounds of what is added at each step, and the range of every sum on the way there."""
    low, high = _gained(node, inputs)
    shift = node.right_shift if isinstance(node, Neuron) else 0
    shifted = low >> shift, high >> shift
    _refuse_overflow(float(max(-low.min(), high.max())) + float(np.abs(node.bias.astype(np.float64)).max()), node.path)
    current = shifted[0] + node.bias, shifted[1] + node.bias
    return current, _union(_span(low, high), _span(*shifted), _span(*current), *[x.reach for x in inputs])


def _total(node: Readout, inputs: list[_Range], steps: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the range of the sum over time, at any of its moments, and of the sums of one step."""
    (low, high), sums = _current(node, inputs)
    _refuse_overflow(float(max(-low.min(), high.max())) * steps, node.path)
    low, high = (np.broadcast_to(b, (steps, b.shape[1])) for b in (np.minimum(low, 0), np.maximum(high, 0)))
    return _span(low.sum(0), high.sum(0)), sums


def _membrane(node: Neuron, current: Current, steps: int) -> tuple[int, int]:
    low_i, high_i = current
    m, k = node.leak.numerator, node.leak.shift
    low = high = node.initial
    least, most = int(low.min()), int(high.max())
    _refuse_overflow(float(max(-least, most, -int(low_i.min()), int(high_i.max()))) * max(1, m), node.path)

    def note(a: Integers, b: Integers) -> None:
        nonlocal least, most
        least, most = min(least, int(a.min())), max(most, int(b.max()))

    for t in range(steps):
        i_low, i_high = low_i[min(t, len(low_i) - 1)], high_i[min(t, len(high_i) - 1)]
        theta = node.threshold[min(t, len(node.threshold) - 1)]
        if node.leak_order == "before":
            h_low, h_high = ((low * m) >> k) + i_low, ((high * m) >> k) + i_high
        else:
            note(low + i_low, high + i_high)
            h_low, h_high = ((low + i_low) * m) >> k, ((high + i_high) * m) >> k
        if node.floor is not None:
            h_low, h_high = np.maximum(h_low, node.floor), np.maximum(h_high, node.floor)
        if node.width is not None:
            floor, ceiling = -(1 << (node.width - 1)), (1 << (node.width - 1)) - 1
            h_low, h_high = np.clip(h_low, floor, ceiling), np.clip(h_high, floor, ceiling)
        note(h_low, h_high)
        # The largest potential that does not fire: threshold - 1 for "ge", threshold for "gt".
        quiet = theta - 1 if node.fire == "ge" else theta
        fires, always = h_high > quiet, h_low > quiet
        soft = node.reset == "soft"
        top = h_high - theta if soft else node.v_reset
        bottom = np.maximum(h_low, quiet + 1) - theta if soft else node.v_reset
        low = np.where(always, bottom, np.where(fires, np.minimum(h_low, bottom), h_low))
        high = np.where(always, top, np.where(fires, np.maximum(quiet, top), h_high))
        if node.signed:
            # A spike taken back adds the threshold to a potential of at most -retract.
            back = np.minimum(h_high, -node.retract) + theta
            high = np.where(h_low <= -node.retract, np.maximum(high, back), high)
        note(low, high)
        _refuse_overflow(float(max(-least, most)) * max(1, m), node.path)
    return least, most


def _refuse_overflow(magnitude: float, path: str) -> None:
    if magnitude >= _SAFE:
        raise ConstraintError(
            f"{path}: a sum may reach {magnitude:.3g}, more than 63 bits hold", fix="fewer fraction bits"
        )
