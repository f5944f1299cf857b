"""Whether an ONNX file computes in int32 or int64, by the proven widths of the network and of ONNX's own detours.

Wires and potentials have the bounds of ``bitspike.integer.bounds.widths``, or in a network of counts their sums over
all steps. ONNX adds detours of its own: products of digits overshoot their sum, a shift subtracts the remainder first,
and parameters are tensors of the same integers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bitspike.formats.onnx.products import largest_product
from bitspike.integer.bounds.widths import Bounds, Range, survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Gained, Neuron, Node, Readout, Weighted


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
    """Return bounds that no input can leave; with ``totals`` of sums over all steps, as a network of counts carries.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> ranges(one_convolution()).wires["conv"]
        (0, 8)
    """
    wires: dict[str, Range] = {}
    largest = 0
    for id, bounds in survey(net).items():
        node = net[id]
        wires[id] = (bounds.wire.sum_over_time(net.steps) if totals else bounds.wire).span
        work = _total(node, bounds, net.steps) if totals else bounds.size
        if isinstance(node, Weighted):
            work = max(work, largest_product(node, wires[node.sources[0]]))
        if isinstance(node, Neuron):
            # x - x mod 2**k lies up to 2**k below x.
            kept = node.kept_shift if isinstance(node, FewBitNeuron) else 0
            work += 1 << max(node.right_shift, node.leak.shift, kept)
        largest = max(largest, work, _parameters(node), net.steps, magnitude(wires[id]))
    return Ranges(wires, largest)


def magnitude(wire: Range) -> int:
    """Return the largest magnitude of a range."""
    return max(-wire[0], wire[1])


def _total(node: Node, bounds: Bounds, steps: int) -> int:
    """Return the largest magnitude of the sums over all steps that make a node's count."""
    charge = magnitude(bounds.sums.sum_over_time(steps).span)
    if isinstance(node, Neuron | Readout):
        charge += steps * int(np.abs(node.bias).max())
    if isinstance(node, Neuron):
        charge += int(np.abs(node.initial).max()) + int(node.threshold.max())
    return charge


def _parameters(node: Node) -> int:
    """Return the largest magnitude of the parameters of a node, its weights left out."""
    fields = [*node.timed_fields(), *node.channel_fields()] if isinstance(node, Gained) else []
    most = max((int(np.abs(values).max()) for _, values in fields), default=0)
    return max(most, node.leak.numerator, abs(node.floor or 0)) if isinstance(node, Neuron) else most


def numbers_of(spans: Ranges) -> type[np.int32] | type[np.int64] | None:
    """Return the narrowest integers that hold every number, or None if 64 bits are too few.

    Example:
        >>> numbers_of(Ranges({}, 2**31)).__name__
        'int64'
    """
    if spans.largest < 2**31:
        return np.int32
    return np.int64 if spans.largest < 2**63 else None
