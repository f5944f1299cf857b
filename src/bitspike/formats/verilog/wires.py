"""How a wire lies in memory: words of several channels of one place, place after place."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.integer.bounds.widths import Range, bits_of
from bitspike.integer.nodes import Shape


@dataclass(frozen=True)
class Wire:
    """The memory of a wire.

    Word ``place * groups + group`` holds the channels ``group * lanes`` onwards, the first one in the lowest bits.

    Args:
        name: of the memory.
        channels: of the wire.
        height, width: places.
        lanes: channels of a word; the last word of a place may hold more than there are, as zeros.
        bits: of one integer.
        signed: whether it is in two's complement.
    """

    name: str
    channels: int
    height: int
    width: int
    lanes: int
    bits: int
    signed: bool

    @property
    def groups(self) -> int:
        """Words of one place."""
        return -(-self.channels // self.lanes)

    @property
    def words(self) -> int:
        """Words of all places."""
        return self.height * self.width * self.groups

    @property
    def word_bits(self) -> int:
        """Bits of a word."""
        return self.lanes * self.bits

    @property
    def address_bits(self) -> int:
        """Bits of the address of a word."""
        return address_bits(self.words)


def wire(name: str, shape: Shape, span: Range, lanes: int) -> Wire:
    """Return the memory of a wire of a shape whose integers lie within a span.

    Example:
        >>> wire("m0", (10, 4, 4), (0, 1), lanes=8)
        Wire(name='m0', channels=10, height=4, width=4, lanes=5, bits=1, signed=False)
    """
    height, width = plane(shape)
    signed = span[0] < 0
    bits = bits_of(*span) - (not signed)
    return Wire(name, shape[0], height, width, shared_lanes(shape[0], lanes), max(1, bits), signed)


def plane(shape: Shape) -> tuple[int, int]:
    """Return height and width of a shape [C], [C, W] or [C, H, W].

    Example:
        >>> plane((8,)), plane((8, 5)), plane((8, 4, 5))
        ((1, 1), (1, 5), (4, 5))
    """
    return math.prod(shape[1:-1]), shape[-1] if len(shape) > 1 else 1


def shared_lanes(channels: int, most: int) -> int:
    """Return into how many lanes channels are split: as few words as ``most`` lanes allow, filled as evenly as can be.

    Example:
        >>> shared_lanes(10, 16), shared_lanes(10, 8), shared_lanes(17, 16)
        (10, 5, 9)
    """
    words = -(-channels // most)
    return -(-channels // words)


def address_bits(words: int) -> int:
    """Return the bits of an address of so many words, at least 1.

    Example:
        >>> address_bits(1), address_bits(16), address_bits(17)
        (1, 4, 5)
    """
    return max(1, (words - 1).bit_length())
