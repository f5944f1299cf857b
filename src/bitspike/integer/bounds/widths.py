"""How wide the accumulators and potentials must be, proved rather than hoped for.

Interval arithmetic from the input's grid through every node (``integer.intervals``) gives bounds that no input can
leave. A synaptic sum is largest when every positive weight meets the largest input and every negative weight the
smallest. The potential follows step by step from the bounds of its current: leak and shift are monotone, and a spike by
subtraction leaves at most max(threshold - 1, h - threshold). Derivation: docs/widths.md.

Everything that has to know how wide an integer is reads this file: the engines, the chips and the exports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.bounds.intervals import Interval, Range, Whole, constant, ends, gained, layer, roomy, union
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import CountMaxPool, Input, Neuron, Node, Readout

__all__ = ["Bounds", "Interval", "LayerWidths", "Range", "bits_of", "bounds", "magnitudes", "survey", "widths"]

LIMIT = 1 << 62
"""Magnitudes below it fit 63 bits of two's complement."""


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
    accumulator: Range
    membrane: Range

    @property
    def accumulator_bits(self) -> int:
        """Bits of the synaptic sum."""
        return bits_of(*self.accumulator)

    @property
    def membrane_bits(self) -> int:
        """Bits of the potential."""
        return bits_of(*self.membrane)


@dataclass(frozen=True, eq=False)
class Bounds:
    """What the numbers of one node cannot leave.

    Args:
        wire: what leaves the node, by step and channel; of a read-out, 0.
        sums: the sum of gain * source, before shift and bias, by step and channel; 0 where there are no gains.
        current: every sum of gains of a step: before and after the shift, with and without the bias; it holds 0.
        accumulator: every sum on the way from the last spikes or codes, ``current`` included.
        membrane: the potential at any moment, before and after the reset; a read-out's sum over time; a pool's counts.
        state: what is kept from step to step: the potential after the reset, the sum over time, the counts; it holds 0.
        work: every number that computes the node: partial sums in any order, products of a leak, differences to a
            threshold, the parameters themselves; it holds 0.
    """

    wire: Interval
    sums: Interval
    current: Range = (0, 0)
    accumulator: Range = (0, 0)
    membrane: Range = (0, 0)
    state: Range = (0, 0)
    work: Range = (0, 0)

    @property
    def size(self) -> int:
        """The largest magnitude of all."""
        low, high = union(self.wire.span, self.accumulator, self.membrane, self.state, self.work)
        return max(-low, high)


def bits_of(low: int, high: int) -> int:
    """Return the bits of two's complement that hold every integer from ``low`` to ``high``.

    Example:
        >>> bits_of(-8, 7), bits_of(0, 8), bits_of(0, 0)
        (4, 5, 1)
    """
    return 1 + max(
        high.bit_length() if high >= 0 else (-high - 1).bit_length(), (-low - 1).bit_length() if low < 0 else 0
    )


def survey(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id, however large they are.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> found = survey(one_convolution(threshold=8))
        >>> found["conv"].wire.span, found["neuron"].work, found["neuron"].state
        ((0, 8), (0, 15), (0, 7))
    """
    found: dict[str, Bounds] = {}
    reach: dict[str, Range] = {}
    for node in net.nodes:
        before = union((0, 0), *[reach[s] for s in node.sources])
        found[node.id] = _of(node, [found[s].wire for s in node.sources], before, net.steps)
        # Sums begin behind spikes and codes.
        reach[node.id] = (0, 0) if isinstance(node, Input | Neuron) else found[node.id].accumulator
    return found


def bounds(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id.

    Raises:
        ConstraintError: numbers of some nodes may leave 63 bits; all of them are named.
    """
    found = survey(net)
    if wide := [node for node in net.nodes if found[node.id].size >= LIMIT]:
        lines = [f"{n.path}: a sum may reach {_short(found[n.id].size)}, more than 63 bits hold" for n in wide]
        raise ConstraintError("\n".join(lines), fix="fewer fraction bits")
    return found


def widths(net: IntegerNetwork) -> list[LayerWidths]:
    """Return the worst-case widths of all that keeps something over time, in the order of data flow.

    These are the neurons, the read-outs and the pools of counts.

    Raises:
        ConstraintError: a sum may leave 63 bits.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> widths(one_convolution(threshold=8))[0]
        LayerWidths(layer='neuron', accumulator=(0, 8), membrane=(0, 15))
    """
    found = bounds(net)
    kept = [node for node in net.nodes if isinstance(node, Neuron | Readout | CountMaxPool)]
    return [LayerWidths(node.path, found[node.id].accumulator, found[node.id].membrane) for node in kept]


def magnitudes(net: IntegerNetwork) -> dict[str, int]:
    """Return, by node id, a bound of every number that computing the node handles, products of a leak included.

    A format that holds all integers up to this bound computes the node without rounding.

    Raises:
        ConstraintError: a sum may leave 63 bits.
    """
    known = bounds(net)
    found = {}
    for node in net.nodes:
        of = known[node.id]
        found[node.id] = of.size
        if isinstance(node, Neuron):
            # Leak, input, distance to the threshold, value after a hard reset: all fit their sum, clamped or not.
            potential = max(-of.membrane[0], of.membrane[1]) * max(1, node.leak.numerator)
            sums = max(-of.accumulator[0], of.accumulator[1], -of.membrane[0], of.membrane[1])
            found[node.id] = sums + potential + int(node.threshold.max()) + int(np.abs(node.v_reset).max())
    return found


def _short(magnitude: int) -> str:
    return f"{magnitude:.3g}" if magnitude < 1 << 1000 else f"2**{magnitude.bit_length() - 1}"


def _of(node: Node, inputs: list[Interval], before: Range, steps: int) -> Bounds:
    """Return the bounds of a node; ``before`` holds the sums of the layers that it reads."""
    nothing = constant(node, 0, 0)
    match node:
        case Neuron():
            return _neuron(node, inputs, before, steps)
        case Readout():
            return _readout(node, inputs, before, steps)
        case CountMaxPool():
            counts, (low, high) = inputs[0].over_time(steps).span, inputs[0].span
            reach = union((low, high), before)
            apart = counts[0] - counts[1], counts[1] - counts[0]
            return Bounds(inputs[0], nothing, (0, 0), reach, union((low, high), counts), counts, union(reach, apart))
    wire = layer(node, inputs, steps)
    return Bounds(wire, nothing, accumulator=union(wire.span, before), work=wire.span)


def _current(node: Neuron | Readout, sums: Interval) -> tuple[Whole, Whole]:
    """Return the smallest and largest of what is added at each step, [1 or T, C]; they need not hold 0."""
    shift = node.right_shift if isinstance(node, Neuron) else 0
    bias, low, high = roomy(sums.size + max(map(abs, ends(node.bias))), node.bias, sums.low, sums.high)
    return (low >> shift) + bias, (high >> shift) + bias


def _readout(node: Readout, inputs: list[Interval], before: Range, steps: int) -> Bounds:
    """Bound the sum over time, at any of its moments, and every order of its summation."""
    sums = gained(node, inputs)
    low, high = _current(node, sums)
    current = union(sums.span, ends(low), ends(high))
    total = Interval(np.minimum(low, 0), np.maximum(high, 0)).over_time(steps).span
    charge = sums.over_time(steps).span
    bias = Interval(np.minimum(node.bias, 0), np.maximum(node.bias, 0)).over_time(steps).span
    work = union(current, (charge[0] + bias[0], charge[1] + bias[1]))
    return Bounds(constant(node, 0, 0), sums, current, union(current, before), total, total, work)


class _Seen:
    """The smallest and the largest of all numbers that were shown to it."""

    def __init__(self, low: int = 0, high: int = 0) -> None:
        self.range = low, high

    def add(self, *values: Whole) -> None:
        self.range = union(self.range, *map(ends, values))


def _neuron(node: Neuron, inputs: list[Interval], before: Range, steps: int) -> Bounds:
    sums = gained(node, inputs)
    i_low, i_high = _current(node, sums)
    current = union(sums.span, ends(i_low), ends(i_high))
    membrane, state, work = _Seen(*ends(node.initial)), _Seen(), _Seen(*current)
    work.add(node.bias, node.threshold, *[node.v_reset] * (node.reset == "hard"), *[-node.retract] * node.signed)
    _follow(node, i_low, i_high, steps, membrane, state, work)
    wire = constant(node, -1 if node.signed else 0, 1)
    reach = union(current, before)
    return Bounds(wire, sums, current, reach, membrane.range, state.range, union(work.range, membrane.range))


def _follow(node: Neuron, i_low: Whole, i_high: Whole, steps: int, membrane: _Seen, state: _Seen, work: _Seen) -> None:
    """Follow the interval of the potential through all steps and show what happens on the way."""
    m, k = node.leak.numerator, node.leak.shift
    low: Whole = node.initial
    high: Whole = node.initial
    state.add(low, high)
    for t in range(steps):
        a, b = i_low[min(t, len(i_low) - 1)], i_high[min(t, len(i_high) - 1)]
        theta = node.threshold[min(t, len(node.threshold) - 1)]
        most = max(map(abs, union(ends(low), ends(high)))) + max(map(abs, union(ends(a), ends(b))))
        low, high, a, b = roomy(most * max(1, m), low, high, a, b)
        if node.leak_order == "before":
            work.add(low * m, high * m)
            h_low, h_high = ((low * m) >> k) + a, ((high * m) >> k) + b
        else:
            membrane.add(low + a, high + b)
            work.add((low + a) * m, (high + b) * m)
            h_low, h_high = ((low + a) * m) >> k, ((high + b) * m) >> k
        work.add(h_low, h_high)
        h_low, h_high = _limited(node, h_low, h_high)
        low, high = _after(node, h_low, h_high, theta)
        membrane.add(h_low, h_high, low, high)
        state.add(low, high)


def _limited(node: Neuron, low: Whole, high: Whole) -> tuple[Whole, Whole]:
    """Return the interval behind the lower clamp and the saturation."""
    if node.floor is not None:
        low, high = np.maximum(low, node.floor), np.maximum(high, node.floor)
    if node.width is not None and (node.width <= 64 or low.dtype == object):
        edge = 1 << (node.width - 1)
        low, high = np.clip(low, -edge, edge - 1), np.clip(high, -edge, edge - 1)
    return low, high


def _after(node: Neuron, low: Whole, high: Whole, theta: Whole) -> tuple[Whole, Whole]:
    """Return the interval behind the reset."""
    # The largest potential that does not fire: threshold - 1 for "ge", threshold for "gt".
    quiet = theta - 1 if node.fire == "ge" else theta
    may, must = high > quiet, low > quiet
    soft = node.reset == "soft"
    top = high - theta if soft else node.v_reset
    bottom = np.maximum(low, quiet + 1) - theta if soft else node.v_reset
    new_low = np.where(must, bottom, np.where(may, np.minimum(low, bottom), low))
    new_high = np.where(must, top, np.where(may, np.maximum(quiet, top), high))
    if node.signed:
        # A spike taken back adds the threshold to a potential of at most -retract.
        back = np.minimum(high, -node.retract) + theta
        new_high = np.where(low <= -node.retract, np.maximum(new_high, back), new_high)
    return new_low, new_high
