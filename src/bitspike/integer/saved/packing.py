"""Codes of 1 to 8 bits in as many bits of memory: what a chip stores, next to each other without gaps.

The codes are taken row by row; code i occupies the bits ``i * bits`` to ``(i + 1) * bits - 1`` of the stream, its
lowest bit first. Bit j of the stream is bit ``j % 8``, counted from the lowest, of byte ``j // 8``; the last byte is
filled up with zeros. A code is stored in two's complement or, where the grid is given by its levels, as the index of
its level. With 1 bit the levels are -1 and +1: 0 stands for -1 and 1 for +1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitspike.errors import ConstraintError

SIGNS = (-1, 1)


def pack(codes: NDArray[np.integer], bits: int, *, levels: Sequence[int] | None = None) -> NDArray[np.uint8]:
    """Pack codes into bytes.

    Args:
        codes: integers of any shape.
        bits: width of one stored code, 1 to 8.
        levels: all possible codes, ascending, at most ``2**bits``: indices are stored. None stores two's complement
            (at 1 bit the levels -1 and +1).

    Returns:
        uint8 [ceil(codes.size * bits / 8)].

    Raises:
        ConstraintError: ``bits`` outside 1 to 8, more than ``2**bits`` levels, or a code that the grid does not hold.

    Example:
        >>> pack(np.array([1, -2, 0, -1]), bits=2).tolist()  # 01 10 00 11, the first lowest: 0b11_00_10_01
        [201]
    """
    table = _table(bits, levels)
    codes = np.asarray(codes)
    index = np.searchsorted(table, codes).clip(max=len(table) - 1)
    foreign = np.flatnonzero(table[index] != codes)
    if foreign.size:
        grid = f"the levels {table[0]} to {table[-1]}"
        raise ConstraintError(
            f"pack(bits={bits}): code {codes.flat[foreign[0]]} at flat index {foreign[0]} is none of {grid}; "
            f"{foreign.size} of {codes.size} codes do not fit",
            fix="pack(codes, bits, levels=...) with the levels of the scheme" if levels is None else None,
        )
    stored = index if levels is not None or bits == 1 else codes
    planes = (stored.reshape(-1, 1).astype(np.int64) >> np.arange(bits)) & 1
    return np.packbits(planes.astype(np.uint8), axis=None, bitorder="little")


def unpack(
    packed: NDArray[np.uint8], bits: int, shape: Sequence[int], *, levels: Sequence[int] | None = None
) -> NDArray[np.int64]:
    """Return the codes of ``shape`` that ``pack`` has put into these bytes.

    Raises:
        ConstraintError: ``bits`` outside 1 to 8, too many levels, bytes that are too many or too few, or an index
            without a level.

    Example:
        >>> unpack(np.array([201], dtype=np.uint8), bits=2, shape=(2, 2)).tolist()
        [[1, -2], [0, -1]]
    """
    table = _table(bits, levels)
    count = int(np.prod(tuple(shape), dtype=np.int64))
    needed = -(-count * bits // 8)
    if packed.shape != (needed,):
        raise ConstraintError(
            f"unpack(bits={bits}, shape={tuple(shape)}): needs {needed} bytes, found an array of shape {packed.shape}"
        )
    planes = np.unpackbits(packed, count=count * bits, bitorder="little").reshape(count, bits)
    index = planes.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
    if levels is None and bits > 1:
        half = 1 << (bits - 1)
        return np.asarray((index ^ half) - half).reshape(shape)
    if index.size and int(index.max()) >= len(table):
        raise ConstraintError(f"unpack: found index {int(index.max())}, and there are {len(table)} levels")
    return np.asarray(table[index]).reshape(shape)


def _table(bits: int, levels: Sequence[int] | None) -> NDArray[np.int64]:
    if not 1 <= bits <= 8:
        raise ConstraintError(f"packing {bits} bits: 1 to 8 are possible")
    if levels is None:
        levels = SIGNS if bits == 1 else range(-(1 << (bits - 1)), 1 << (bits - 1))
    if not 0 < len(levels) <= 1 << bits:
        raise ConstraintError(f"packing {len(levels)} levels into {bits} bits: 1 to {1 << bits} fit")
    table = np.asarray(levels, dtype=np.int64)
    if (np.diff(table) <= 0).any():
        raise ConstraintError("packing: the levels must ascend")
    return table
