"""How wide the accumulators and potentials must be, proved rather than hoped for.

Interval arithmetic from the input's grid through every node gives bounds that no input can leave. A synaptic sum is
largest when every positive weight meets the largest input and every negative weight the smallest. The potential follows
step by step from the bounds of its current: leak and shift are monotone, and after a spike by subtraction at most
max(threshold - 1, h - threshold) is left. Derivation: docs/widths.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.network import (
    Add,
    Convolution,
    Gained,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Readout,
    Reshape,
    SumPool,
)

_SAFE = 2.0**62


@dataclass(frozen=True)
class LayerWidths:
    """Worst-case ranges of one layer, and the bits of two's complement that hold them.

    Args:
        layer: module path.
        accumulator: smallest and largest synaptic sum, bias included.
        membrane: smallest and largest potential at any moment of any step.
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
    """Bounds of a wire by channel, int64 [C]; they include 0, which padding brings in."""

    low: Integers
    high: Integers


def widths(net: IntegerNetwork) -> list[LayerWidths]:
    """Return the worst-case widths of every neuron and read-out, in the order of data flow.

    Raises:
        ConstraintError: a sum may leave 63 bits.
    """
    ranges: dict[str, _Range] = {}
    found = []
    for node in net.nodes:
        inputs = [ranges[s] for s in node.sources]
        if isinstance(node, Neuron):
            current = _current(node, inputs)
            found.append(LayerWidths(node.path, _span(*current), _membrane(node, current, net.steps)))
            least = -1 if node.signed else 0
            ranges[node.id] = _constant(node, least, 1)
        elif isinstance(node, Readout):
            low, high = _current(node, inputs)
            total = _span(np.minimum(low, 0) * net.steps, np.maximum(high, 0) * net.steps)
            found.append(LayerWidths(node.path, total, total))
        else:
            ranges[node.id] = _stateless(node, inputs)
    return found


def _constant(node: Node, low: int, high: int) -> _Range:
    channels = node.shape[0]
    return _Range(np.full(channels, low, np.int64), np.full(channels, high, np.int64))


def _span(low: Integers, high: Integers) -> tuple[int, int]:
    return int(low.min()), int(high.max())


def _stateless(node: Node, inputs: list[_Range]) -> _Range:
    match node:
        case Input():
            return _constant(node, min(node.grid.low, 0), max(node.grid.high, 0))
        case Convolution() | Linear():
            return _weighted(node, inputs[0])
        case SumPool():
            area = int(np.prod(node.kernel))
            return _Range(inputs[0].low * area, inputs[0].high * area)
        case MaxPool():
            return inputs[0]
        case Reshape():
            each = node.shape[0] // len(inputs[0].low)
            return _Range(np.repeat(inputs[0].low, each), np.repeat(inputs[0].high, each))
        case Add():
            low, high = _gained(node.gains, inputs)
            return _Range(np.minimum(low.min(0), 0), np.maximum(high.max(0), 0))
    raise ConstraintError(f"node {node.id!r}: no bound is known for a {type(node).__name__}")


def _weighted(node: Convolution | Linear, x: _Range) -> _Range:
    codes = node.weight.codes
    groups = node.groups if isinstance(node, Convolution) else 1
    # Sum the kernel's taps of one sign per input channel: [C_out, C_in/groups].
    axes = tuple(range(2, codes.ndim))
    up, down = np.maximum(codes, 0).sum(axes), np.minimum(codes, 0).sum(axes)
    low, high = [], []
    for u, d, lo, hi in zip(*(np.split(a, groups) for a in (up, down, x.low, x.high)), strict=True):
        _refuse_overflow(float(np.abs(codes).sum()) * max(float(np.abs(lo).max()), float(np.abs(hi).max())), node.path)
        high.append(u @ hi + d @ lo)
        low.append(u @ lo + d @ hi)
    return _Range(np.concatenate(low), np.concatenate(high))


def _gained(gains: tuple[Integers, ...], inputs: list[_Range]) -> tuple[Integers, Integers]:
    """Return the bounds of the sum of gain * input, [1 or T, C] each."""
    low: Integers = np.zeros((1, 1), np.int64)
    high: Integers = np.zeros((1, 1), np.int64)
    for gain, x in zip(gains, inputs, strict=True):
        a, b = gain * x.low, gain * x.high
        low, high = low + np.minimum(a, b), high + np.maximum(a, b)
    return low, high


def _current(node: Neuron | Readout, inputs: list[_Range]) -> tuple[Integers, Integers]:
    assert isinstance(node, Gained)
    for gain, x in zip(node.gains, inputs, strict=True):
        _refuse_overflow(float(np.abs(gain).max()) * max(float(-x.low.min()), float(x.high.max())), node.path)
    low, high = _gained(node.gains, inputs)
    shift = node.right_shift if isinstance(node, Neuron) else 0
    return (low >> shift) + node.bias, (high >> shift) + node.bias


def _membrane(node: Neuron, current: tuple[Integers, Integers], steps: int) -> tuple[int, int]:
    low_i, high_i = current
    m, k = node.leak.numerator, node.leak.shift
    low = high = node.initial
    least, most = int(low.min()), int(high.max())

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
        fires = h_high > quiet
        after = h_high - theta if node.reset == "soft" else np.broadcast_to(node.v_reset, h_high.shape)
        high = np.where(fires, np.maximum(np.minimum(h_high, quiet), after), h_high)
        always = h_low > quiet
        lowest = h_low - theta if node.reset == "soft" else np.broadcast_to(node.v_reset, h_low.shape)
        first_firing = np.maximum(h_low, quiet + 1) - theta if node.reset == "soft" else lowest
        low = np.where(always, lowest, np.where(fires, np.minimum(h_low, first_firing), h_low))
        if node.signed:
            # A spike taken back adds the threshold to a potential of at most -retract.
            back = h_low <= -node.retract
            high = np.where(back, np.maximum(high, theta - node.retract), high)
        note(low, high)
        _refuse_overflow(float(max(abs(least), abs(most))) * m, node.path)
    return least, most


def _refuse_overflow(magnitude: float, path: str) -> None:
    if magnitude >= _SAFE:
        raise ConstraintError(
            f"{path}: a sum may reach {magnitude:.3g}, more than 63 bits hold", fix="fewer fraction bits"
        )
