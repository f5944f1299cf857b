"""The same neuron in finer counts, so that all channels have one threshold, as some readers need.

A neuron of a NIR file may have one threshold per channel; several readers take one for all. Counting the potential of a
channel in units that are a power of two smaller changes no spike: whatever is added to the potential or compared with
it grows by the same factor, and a float carries the factor without rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import FewBitNeuron, Integers, Neuron

ENDLESS = 63
"""Zero bits at the end of 0."""


def zero_bits(*values: Integers) -> int:
    """Return how many times all values can be halved.

    Example:
        >>> zero_bits(np.array([12, 8, 0])), zero_bits(np.array([0]))
        (2, 63)
    """
    bits = 0
    for some in values:
        bits |= int(np.bitwise_or.reduce(some, axis=None))
    return (bits & -bits).bit_length() - 1 if bits else ENDLESS


def grain(node: Neuron, steps: int) -> int | None:
    """Return how many bits at the end of every potential of a run are 0, or None where a leak may round.

    A leak of m / 2**k takes k bits from the end at every step; what arrives, the threshold of a soft reset and the
    value of a hard one bring their own. While there are bits to take, rounding down changes nothing, so a reader that
    multiplies without rounding has the same potential.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> from bitspike.ops.grids import Dyadic
        >>> node = one_convolution()["neuron"]
        >>> half, none = Dyadic(1, 1), Dyadic(1, 0)
        >>> gains, theta = (np.array([[16]]),), np.array([[64]])
        >>> fine = replace(node, gains=gains, threshold=theta, leak=half)
        >>> grain(fine, 4), grain(fine, 6), grain(replace(fine, leak=none), 6)
        (1, None, 4)
    """
    shift = node.leak.shift if float(node.leak) != 1 else 0
    reset = node.threshold if node.reset == "soft" else node.v_reset
    limits = [] if node.floor is None else [np.array([node.floor])]
    arrives = zero_bits(*node.gains, node.bias)
    own = zero_bits(node.initial)
    least = min(own, arrives)
    for _ in range(steps):
        entry = own if node.leak_order == "before" else min(own, arrives)
        if entry < shift:
            return None
        entry = entry if entry == ENDLESS else entry - shift
        own = min(entry, arrives, zero_bits(reset, *limits))
        least = min(least, own)
    return least


def finer(node: Neuron, factor: Integers) -> Neuron:
    """Return a neuron that counts its potential in units ``factor`` [1 or C] times smaller.

    Example:
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
