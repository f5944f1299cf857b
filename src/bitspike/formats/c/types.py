"""The integer types of C that hold the numbers of a network, chosen by its proven widths."""

from __future__ import annotations

from bitspike.errors import ExportError
from bitspike.integer.bounds.widths import Bounds, Range, survey
from bitspike.integer.network import IntegerNetwork


def type_bits(bounds: Range) -> int:
    """Return the bits of the smallest integer type of C that holds a range and its negative.

    Example:
        >>> type_bits((-127, 127)), type_bits((-128, 0)), type_bits((0, 2**31)), type_bits((0, 2**63))
        (8, 16, 64, 128)
    """
    most = max(-bounds[0], bounds[1])
    return next((bits for bits in (8, 16, 32, 64) if most < 1 << (bits - 1)), 128)


def work_bits(bounds: Bounds) -> int:
    """Return the bits of the numbers that compute a node: 32, or 64 where the bounds ask for it."""
    return max(32, type_bits(bounds.work))


def bounds_of(net: IntegerNetwork) -> dict[str, Bounds]:
    """Return the bounds of every node by id.

    Raises:
        ExportError: numbers of some nodes may leave 64 bits; all of them are named.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> bounds = bounds_of(one_convolution(threshold=8))["neuron"]
        >>> bounds.wire.span, bounds.work, bounds.state
        ((0, 1), (0, 15), (0, 7))
    """
    bounds = survey(net)
    wide = [n for n in net.nodes if max(map(type_bits, (bounds[n.id].work, bounds[n.id].state))) > 64]
    if wide:
        lines = [
            f"{n.path}  {type(n).__name__} {n.id}: from {bounds[n.id].work[0]} to {bounds[n.id].work[1]}" for n in wide
        ]
        message = f"C holds integers of 64 bits; {len(wide)} of {len(net.nodes)} nodes may need more"
        raise ExportError("\n  ".join([message, *lines]), fix="fewer fraction bits or smaller gains")
    return bounds
