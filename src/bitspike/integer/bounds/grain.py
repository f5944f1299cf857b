"""How many bits at the end of a neuron's numbers are 0: whether a leak ever rounds, and units that a chip can hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bitspike.integer.arithmetic import Integers
from bitspike.integer.nodes.neuron import Neuron

ENDLESS = 63
"""Zero bits at the end of 0."""
Count = TypeVar("Count", int, Integers)


def shifted(values: Count, bits: int) -> Count:
    """Return ``values * 2**bits``, rounded down where bits are below 0.

    Example:
        >>> shifted(3, 2), shifted(np.array([-5, 4]), -1).tolist()
        (12, [-3, 2])
    """
    return values << bits if bits >= 0 else values >> -bits


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
    value of a hard one bring their own. While there are bits to take, rounding changes nothing, so a reader that
    multiplies without rounding has the same potential.

    Example:
        >>> from dataclasses import replace
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


@dataclass(frozen=True, eq=False)
class Aligned:
    """A neuron in the units of a chip on which what arrives, and what is compared, are multiples of ``2**bits``.

    Args:
        finer: one count of the neuron is ``2**finer`` counts of the chip; below 0 they are coarser.
        quiet: by channel [C], the largest multiple that does not fire, as ``quiet * 2**bits``: the neuron fires above.
    """

    finer: int
    quiet: Integers

    def of(self, values: Count) -> Count:
        """Return numbers of the neuron in counts of the chip; one integer of Python may have any size."""
        return shifted(values, self.finer)


def aligned(node: Neuron, steps: int, bits: int) -> Aligned | str:
    """Return a neuron in units of a chip, or what of it does not fit.

    Where the leak never rounds, a unit that is a power of two finer changes no spike; the coarsest one is taken that
    makes what arrives multiples of ``2**bits``, and leaves one of them between the potentials that fire and those that
    do not. Where it rounds, the unit is the neuron's own, since rounding does not scale.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> unit = aligned(one_convolution(threshold=8)["neuron"], 4, 6)
        >>> unit.finer, unit.quiet.tolist()  # 7 counts do not fire
        (6, [7])
    """
    tail = grain(node, steps)
    theta = np.broadcast_to(node.threshold, (1, node.shape[0]))[0]
    if tail is None:
        least = zero_bits(*node.gains)
        if least < bits:
            return (
                f"its leak rounds, and its gains are multiples of {1 << least}; those of what it adds up are multiples "
                f"of {1 << bits}"
            )
        tried, tail = [0], 0
    else:
        tail = bits if tail == ENDLESS else tail  # of a neuron that nothing reaches
        tried = list(range(max(-tail, bits - min(zero_bits(*node.gains), ENDLESS - 1)), bits - tail + 1))
    for finer in tried:
        if (quiet := _quiet(node, theta, tail, finer, bits)) is not None:
            return Aligned(finer, quiet)
    sign = ">=" if node.fire == "ge" else ">"
    wrong = int(theta[(theta - (node.fire == "ge")) % (1 << bits) != 0][0])
    return f"its leak rounds and it fires at potentials {sign} {wrong}; compared is with multiples of {1 << bits}, by >"


def _quiet(node: Neuron, theta: Integers, tail: int, finer: int, bits: int) -> Integers | None:
    """Return by channel a multiple of 2**bits between what fires and what does not, or None where there is none."""
    step, theta = 1 << tail, theta.astype(object)  # thresholds may have 62 bits
    # Potentials are multiples of the step: the smallest that fires, and one step below it.
    fires = -(-theta // step) * step if node.fire == "ge" else (theta // step + 1) * step
    high, low = shifted(fires, finer), shifted(fires - step, finer)
    quiet = np.maximum(-((-low) >> bits), 0)
    return quiet.astype(np.int64) if bool(((quiet << bits) < high).all()) else None
