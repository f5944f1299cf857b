"""The same neuron in finer counts, so that all channels have one threshold, as some readers need.

A neuron of a NIR file may have one threshold per channel; several readers take one for all. Counting the potential of a
channel in units that are a power of two smaller changes no spike: whatever is added to the potential or compared with
it grows by the same factor, and a float carries the factor without rounding.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.integer.bounds.grain import grain
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Integers, Neuron


def finer(node: Neuron, factor: Integers) -> Neuron:
    """Return a neuron that counts its potential in units ``factor`` [1 or C] times smaller.

    Example:
        >>> import numpy as np
        >>> from bitspike.integer.examples import one_convolution
        >>> node = finer(one_convolution(threshold=8)["neuron"], np.array([4]))
        >>> node.threshold.tolist(), node.gains[0].tolist(), node.unit.tolist()
        ([[32]], [[4]], [0.25])
    """
    return replace(
        node,
        gains=tuple(gain * factor for gain in node.gains),
        bias=node.bias * factor,
        threshold=node.threshold * factor,
        initial=node.initial * factor,
        v_reset=node.v_reset * factor,
        retract=node.retract * factor,
        unit=node.unit / factor,
    )


def equal_thresholds(net: IntegerNetwork) -> IntegerNetwork:
    """Return a network with the same spikes whose neurons fire at one threshold, wherever powers of two make it so.

    A neuron stays as it is where its thresholds are equal, differ by other factors or change over time, where its leak
    may round (rounding does not scale), and where its potential has limits, which are one number for all channels.
    """
    return replace(net, nodes=tuple(_equal(n, net.steps) if isinstance(n, Neuron) else n for n in net.nodes))


def _equal(node: Neuron, steps: int) -> Neuron:
    theta = node.threshold
    limited = node.floor is not None or node.width is not None or node.right_shift or node.signed
    limited = limited or isinstance(node, FewBitNeuron)
    if len(theta) > 1 or (theta == theta[0, 0]).all() or not theta.all() or limited or grain(node, steps) is None:
        return node
    lowest = theta[0] & -theta[0]
    if (theta[0] // lowest != theta[0, 0] // lowest[0]).any():
        return node
    return finer(node, lowest.max() // lowest)
