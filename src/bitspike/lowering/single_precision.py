"""Where single precision, in which the network itself runs, may round what its integers hold exactly."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bitspike.integer.bounds.intervals import Range
from bitspike.integer.bounds.widths import survey
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Neuron, Synapse

WHOLE = 2**24
"""Single precision holds every whole number up to here."""


def rounded_in_float(net: IntegerNetwork, exact: Collection[str]) -> Iterator[str]:
    """Yield a note for every neuron and synapse whose numbers the worst inputs take beyond what single precision holds.

    A leak of m / 2**k is a product with m, which is rounded there, and an exact division. Of what does not leak there
    is a note where it reads currents of synapses, whose fraction has many bits: other sums come near to the bound in
    theory only, where all inputs and weights are as large as they can be.

    Args:
        exact: ids of what lowering did not round; of the others a note says so already.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> list(rounded_in_float(one_convolution(), ["neuron"]))
        []
    """
    fractions = _reads_currents(net)
    asked = [
        node
        for node in net.nodes
        if isinstance(node, Neuron | Synapse) and node.id in exact and (node.leak.shift or node.id in fractions)
    ]
    known = survey(net) if asked else {}
    for node in asked:
        if (largest := _largest(known[node.id].work)) > WHOLE:
            what = "its potential" if isinstance(node, Neuron) else "its current"
            leak = f" and the products of its leak by {node.leak.numerator}" if node.leak.shift else ""
            yield (
                f"{node.path}: {what}{leak} may reach {largest:.3g} counts, and float32 holds whole numbers up to "
                "2**24: beyond, the network rounds and its integers do not"
            )


def _reads_currents(net: IntegerNetwork) -> set[str]:
    """Return the ids of all nodes that read a synapse, with no neuron between."""
    currents, readers = set[str](), set[str]()
    for node in net.nodes:
        if any(source in currents for source in node.sources):
            readers.add(node.id)
        if isinstance(node, Synapse) or (node.id in readers and not isinstance(node, Neuron)):
            currents.add(node.id)
    return readers


def _largest(span: Range) -> int:
    return max(-span[0], span[1])
