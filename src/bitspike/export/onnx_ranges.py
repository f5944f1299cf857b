"""Bounds of every number in an integer network, so that an ONNX file can choose int32 or int64 and say why.

Plain interval arithmetic in Python's integers, which cannot overflow. The bounds are coarser than those of
``bs.widths``: they have to be safe, not tight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

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
    SumPool,
    TransposedConvolution,
)

Range = tuple[int, int]


@dataclass(frozen=True)
class Ranges:
    """Smallest and largest integer of every wire, and the largest magnitude of any number on the way.

    Args:
        wires: by node id; every range holds 0.
        largest: no number that computes the network is larger in magnitude.
    """

    wires: dict[str, Range] = field(default_factory=dict)
    largest: int = 0

    def of(self, node: Node) -> Range:
        """Return the range of what a node of one source reads."""
        return self.wires[node.sources[0]]


def ranges(net: IntegerNetwork, *, totals: bool = False) -> Ranges:
    """Return bounds that no input can leave.

    Args:
        net: the network.
        totals: bound sums over all steps instead of single steps, as a network of counts carries them.

    Example:
        >>> from bitspike.integer.debug import one_convolution
        >>> ranges(one_convolution()).wires["conv"]
        (0, 8)
    """
    wires: dict[str, Range] = {}
    largest, steps = 0, net.steps
    for node in net.nodes:
        sources = [wires[s] for s in node.sources]
        low, high, reach = _range(node, sources, steps, totals=totals)
        wires[node.id] = low, high = min(low, 0), max(high, 0)
        largest = max(largest, reach, high, -low)
    return Ranges(wires, largest)


def _range(node: Node, sources: list[Range], steps: int, *, totals: bool) -> tuple[int, int, int]:
    """Return low, high and the largest magnitude on the way."""
    times = steps if totals else 1
    match node:
        case Input():
            return node.grid.low * times, node.grid.high * times, 0
        case Convolution() | TransposedConvolution() | Linear():
            return _products(node, sources[0])
        case SumPool():
            taps = math.prod(node.kernel)
            return sources[0][0] * taps, sources[0][1] * taps, 0
        case CountMaxPool():
            return *sources[0], 2 * steps * magnitude(sources[0])
        case Burst():
            low, high = sources[0]
            return low * steps // times, high * steps // times, 0
        case Concat():
            return min(low for low, _ in sources), max(high for _, high in sources), 0
        case Add():
            return _gained(node, sources)
        case Readout():
            low, high, reach = _gained(node, sources)
            bias = steps * int(np.abs(node.bias).max())
            reach = reach * (steps // times) + bias
            return -reach, reach, reach
        case Neuron():
            reach = _potential(node, sources, steps, totals=totals)
            return -times if node.signed else 0, times, reach
        case _:
            return *sources[0], 0


def magnitude(wire: Range) -> int:
    """Return the largest magnitude of a range."""
    return max(-wire[0], wire[1])


def _products(node: Convolution | TransposedConvolution | Linear, wire: Range) -> tuple[int, int, int]:
    codes = by_output(node)
    plus, minus = int(np.maximum(codes, 0).sum(1).max()), -int(np.minimum(codes, 0).sum(1).min())
    low, high = wire[0] * plus - wire[1] * minus, wire[1] * plus - wire[0] * minus
    # Products of digits overshoot their sum: 3 times for codes beyond 8 bits, 3 times for wires beyond 8 bits.
    reach = (plus + minus) * magnitude(wire)
    return low, high, 16 * reach if codes.size and (np.abs(codes).max() > 127 or wire[1] - wire[0] > 255) else 2 * reach


def by_output(node: Convolution | TransposedConvolution | Linear) -> Integers:
    """Return the codes as [C_out, everything that one output may read]."""
    codes = node.weight.codes
    if isinstance(node, TransposedConvolution):
        codes = forward_codes(node)
    return codes.reshape(len(codes), -1)


def forward_codes(node: TransposedConvolution) -> Integers:
    """Return the codes of the convolution [C_out, C_in/groups, *kernel] that reads the spread input.

    Output o of a transposed convolution gathers what its neighbors spread to it: the kernel is mirrored.
    """
    codes, groups = node.weight.codes, node.groups
    into, per_group, *kernel = codes.shape
    grouped = np.swapaxes(codes.reshape(groups, into // groups, per_group, *kernel), 1, 2)
    mirrored = np.flip(grouped, axis=tuple(range(3, grouped.ndim)))
    return np.ascontiguousarray(mirrored.reshape(groups * per_group, into // groups, *kernel))


def _gained(node: Add | Neuron | Readout, sources: list[Range]) -> tuple[int, int, int]:
    low = high = reach = 0
    for gain, wire in zip(node.gains, sources, strict=True):
        ends = [
            int(gain.min()) * wire[0],
            int(gain.min()) * wire[1],
            int(gain.max()) * wire[0],
            int(gain.max()) * wire[1],
        ]
        low, high = low + min(*ends, 0), high + max(*ends, 0)
        reach += max(map(abs, ends))
    return low, high, reach


def _potential(node: Neuron, sources: list[Range], steps: int, *, totals: bool) -> int:
    """Bound every number of a neuron's update: the potential can grow by one current a step."""
    _, _, sums = _gained(node, sources)
    bias, threshold = int(np.abs(node.bias).max()), int(node.threshold.max())
    if totals:
        return sums + steps * bias + int(np.abs(node.initial).max()) + threshold
    current = sums + bias
    m, k = max(node.leak.numerator, 1 << node.leak.shift), node.leak.shift
    least = max(threshold, int(np.abs(node.v_reset).max()), int(node.retract.max()), abs(node.floor or 0), steps)
    v, reach = max(int(np.abs(node.initial).max()), least), 0
    limit = None if node.width is None else max(1 << (node.width - 1), least)
    for _ in range(steps):
        reach = max(reach, (v + current) * m + current)
        v = ((v * m) >> k) + current + 1 if node.leak_order == "before" else (((v + current) * m) >> k) + 1
        v = max(v, least) if limit is None else max(min(v, limit), least)
    return reach + v + threshold + (1 << max(node.right_shift, k))


def numbers_of(found: Ranges) -> type[np.int32] | type[np.int64] | None:
    """Return the narrowest integers that hold every number, or None if 64 bits are too few.

    Example:
        >>> numbers_of(Ranges({}, 2**31)).__name__
        'int64'
    """
    if found.largest < 2**31:
        return np.int32
    return np.int64 if found.largest < 2**63 else None
