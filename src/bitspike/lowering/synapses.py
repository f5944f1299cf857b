"""A synapse in integers: how many bits its currents need below one spike, so that the leak loses nothing or little."""

from __future__ import annotations

import numpy as np

from bitspike.integer import nodes
from bitspike.lowering.builder import Builder
from bitspike.lowering.fit_neuron import Precision, fewest, lost
from bitspike.lowering.wires import Wire
from bitspike.nn import Synapse
from bitspike.ops.grids import dyadic


def synapse(builder: Builder, precision: Precision, path: str, module: Synapse, wire: Wire) -> Wire:
    """Add the node of a synapse and return the wire of its currents.

    A leak of m / 2**k is exact while every product keeps its bits: what arrives ends in k zeros for each step that it
    lasts. ``gain`` becomes part of what one integer is worth.

    Raises:
        LoweringError: it reads real values with an offset, or of scales that are no multiples of each other.
    """
    wire = builder.plain(path, wire)
    (summand,) = wire.summands
    leak = dyadic(module.decay, bits=precision.leak_bits)
    if float(leak) != module.decay:
        builder.notes.append(f"{path}: decay {module.decay:.6g} became {leak.numerator}/2**{leak.shift}")

    def at(k: int) -> tuple[int, None, float]:
        # A current is measured against that of one spike, which is 2**k counts.
        return k, None, lost(leak, builder.steps - 1, [np.array([1 << k])]) / 2**k

    k, (_, _, worst) = fewest(at, precision, fixed=None, most=precision.max_fraction_bits)
    if worst > 0:
        builder.notes.append(f"{path}: rounded within {worst:.2g} of the current of one spike, with {k} fraction bits")
    scale = np.abs(summand.scale[:1]) * module.gain / 2.0**k
    node = nodes.Synapse(**builder.head(path, wire), scale=scale, leak=leak, left_shift=k)
    if worst == 0 and float(leak) == module.decay:
        builder.exact.append(node.id)
    return builder.wire(node, scale, timed=True)
