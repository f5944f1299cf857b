"""How wide the accumulators and potentials must be, proved rather than hoped for.

Interval arithmetic from the input's grid through every node (``Node.interval``, ``Node.bounds``) gives bounds that no
input can leave. A synaptic sum is largest when every positive weight meets the largest input and every negative weight
the smallest. The potential follows step by step from the bounds of its current: leak and shift are monotone, and a
spike by subtraction leaves at most max(threshold - 1, h - threshold). Derivation: docs/widths.md.

Everything that has to know how wide an integer is reads this file: the engines, the chips and the exports.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.bounds.intervals import Bounds, Interval, Range, union
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Input, Neuron
from bitspike.ops.grids import bits_of

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
        kept_bits: of a neuron that keeps its potential in few bits, how many; None of everything else.
    """

    layer: str
    accumulator: Range
    membrane: Range
    kept_bits: int | None = field(default=None, repr=False)

    @property
    def accumulator_bits(self) -> int:
        """Bits of the synaptic sum."""
        return bits_of(*self.accumulator)

    @property
    def membrane_bits(self) -> int:
        """Bits of the potential."""
        return bits_of(*self.membrane)


def survey(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id, however large they are.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> known = survey(one_convolution(threshold=8))
        >>> known["conv"].wire.span, known["neuron"].work, known["neuron"].state
        ((0, 8), (0, 15), (0, 7))
    """
    known: dict[str, Bounds] = {}
    reach: dict[str, Range] = {}
    for node in net.nodes:
        # All sums on the way here since the last spikes or codes.
        before = union((0, 0), *[reach[s] for s in node.sources])
        known[node.id] = node.bounds([known[s].wire for s in node.sources], before, net.steps)
        # Sums begin after spikes and codes.
        reach[node.id] = (0, 0) if isinstance(node, Input | Neuron) else known[node.id].accumulator
    return known


def bounds(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id.

    Raises:
        ConstraintError: numbers of some nodes may leave 63 bits; all of them are named.
    """
    known = survey(net)
    if wide := [node for node in net.nodes if known[node.id].size >= LIMIT]:
        lines = [f"{n.path}: a sum may reach {_short(known[n.id].size)}, more than 63 bits hold" for n in wide]
        raise ConstraintError("\n".join(lines), fix="fewer fraction bits")
    return known


@checked
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
    known = bounds(net)
    kept = [node for node in net.nodes if node.memory == "past"]
    return [
        LayerWidths(
            node.path,
            known[node.id].accumulator,
            known[node.id].membrane,
            node.kept_bits if isinstance(node, FewBitNeuron) else None,
        )
        for node in kept
    ]


def magnitudes(net: IntegerNetwork) -> dict[str, int]:
    """Return, by node id, a bound of every number that computing the node handles, products of a leak included.

    A format that holds all integers up to this bound computes the node without rounding.

    Raises:
        ConstraintError: a sum may leave 63 bits.
    """
    known = bounds(net)
    largest = {}
    for node in net.nodes:
        of = known[node.id]
        largest[node.id] = of.size
        if isinstance(node, Neuron):
            # Leak, input, distance to the threshold, value after a hard reset: all fit their sum, clamped or not.
            potential = max(-of.membrane[0], of.membrane[1]) * max(1, node.leak.numerator)
            sums = max(-of.accumulator[0], of.accumulator[1], -of.membrane[0], of.membrane[1])
            fits = sums + potential + int(node.threshold.max()) + int(np.abs(node.v_reset).max())
            largest[node.id] = max(fits, of.size)
    return largest


def _short(magnitude: int) -> str:
    return f"{magnitude:.3g}" if magnitude < 1 << 1000 else f"2**{magnitude.bit_length() - 1}"
