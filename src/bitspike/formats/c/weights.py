"""Weight codes in as many bits as they have, in the form that the C program reads.

Codes of 1 to 7 bits (and of 8 where they leave -128 to 127) are stored as the index of their level, next to each other
without gaps: code i occupies the bits ``i * bits`` to ``(i + 1) * bits - 1`` of the stream, bit j of the stream is bit
``j % 8``, counted from the lowest, of byte ``j // 8``. One byte of 0 follows, so that a reader may always take two.
Other codes are stored in two's complement of 8, 16 or 32 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.integer.nodes import Integers, Weight


@dataclass(frozen=True, eq=False)
class Packed:
    """Codes as they lie in memory.

    Args:
        bits: of one stored code.
        levels: the codes by index; empty where two's complement is stored.
        data: uint8 bytes of indices, or int8, int16 or int32 codes.
    """

    bits: int
    levels: tuple[int, ...]
    data: npt.NDArray[Any]


def pack(weight: Weight, codes: Integers) -> Packed | None:
    """Return the codes of a weight, in the order in which they are to be stored; None where 32 bits do not hold them.

    Example:
        >>> weight = Weight(codes=np.array([1, -1, 0, 1]), step=np.ones(1), bits=2, low=-1, high=1)
        >>> packed = pack(weight, weight.codes)
        >>> packed.levels, packed.data.tolist()  # indices 2, 0, 1, 2, the first lowest: 0b10_01_00_10
        ((-1, 0, 1), [146, 0])
    """
    levels = _levels(weight)
    if levels:
        index = np.searchsorted(np.array(levels), codes.reshape(-1))
        planes = ((index[:, None] >> np.arange(weight.bits)) & 1).astype(np.uint8)
        return Packed(weight.bits, levels, np.append(np.packbits(planes, axis=None, bitorder="little"), np.uint8(0)))
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    for kind in (np.int8, np.int16, np.int32):
        if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
            return Packed(np.iinfo(kind).bits, (), codes.reshape(-1).astype(kind))
    return None


def _levels(weight: Weight) -> tuple[int, ...]:
    """Return the levels whose index is stored, or nothing where the code itself is."""
    if not 1 <= weight.bits <= 8 or (weight.bits == 8 and weight.low >= -128 and weight.high <= 127):
        return ()
    allowed = weight.levels or (range(weight.low, weight.high + 1) if weight.high - weight.low < 256 else ())
    used = np.unique(weight.codes)
    for choice in (sorted(allowed), used.tolist()):
        fits = 0 < len(choice) <= 1 << weight.bits and choice[0] >= -(2**15) and choice[-1] < 2**15
        if fits and np.isin(used, np.array(choice)).all():
            return tuple(choice)
    return ()
