"""Where single precision, in which the network itself runs, may round what its integers hold exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bitspike.integer.bounds.intervals import Range
from bitspike.integer.bounds.widths import survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Neuron

WHOLE = 2**24
"""Single precision holds every whole number up to here."""


def rounded_in_float(net: IntegerNetwork, exact: Collection[str]) -> Iterator[str]:
    """Yield a note for every leaky neuron whose numbers the worst inputs take beyond what single precision holds.

    A leak of m / 2**k is a product with m, which is rounded there, and an exact division.

    Args:
        exact: ids of the neurons whose numbers lowering did not round; of the others a note says so already.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> list(rounded_in_float(one_convolution(), ["neuron"]))
        []
    """
    known = survey(net) if exact else {}
    for node in net.nodes:
        if not isinstance(node, Neuron) or node.id not in exact or not node.leak.shift:
            continue
        if (largest := _largest(known[node.id].work)) > WHOLE:
            yield (
                f"{node.path}: its potential and the products of its leak by {node.leak.numerator} may reach "
                f"{largest:.3g} counts, and float32 holds whole numbers up to 2**24: beyond, the network rounds and "
                "its integers do not"
            )


def _largest(span: Range) -> int:
    return max(-span[0], span[1])
