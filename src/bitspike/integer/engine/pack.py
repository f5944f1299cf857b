"""Weight codes in the order in which each method of the native engine reads them.

A layer's codes are int8 [O, C, kh, kw]. Outputs are padded with zeros to a multiple of 16, inputs to what a unit of
the source's layout holds: 4 channels of bytes, 32 of bits, 6 or 8 of bit planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from math import gcd, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitspike.kernels.engine.structs import Layout, Method, OpStruct, level, library, per_unit

Codes = npt.NDArray[np.int8]
_PART = 1 << 16


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights for one method; the fields of ``Op`` in kernels/engine/engine.h."""

    method: Method
    weights: npt.NDArray[np.generic]
    correction: npt.NDArray[np.int32]
    planes: int = 0
    factor: int = 1
    offset: int = 0
    flush: int = 1


SOURCE = {
    Method.DOT: Layout.BYTES,
    Method.POPCOUNT: Layout.BITS,
    Method.EVENTS: Layout.BITS,
    Method.TABLE: Layout.PLANES,
}
"""The layout that each method reads."""


def aligned(size: int, dtype: npt.DTypeLike, fill: int = 0) -> npt.NDArray[Any]:
    """Return filled memory that begins where a cache line does: a vector across two lines costs two loads.

    Example:
        >>> aligned(3, np.int32, fill=7).tolist()
        [7, 7, 7]
    """
    bytes_of = np.dtype(dtype).itemsize
    # Zeros come from the system page by page, when they are first written: nothing is touched here.
    memory = np.zeros(size * bytes_of + 64, np.uint8)
    start = -memory.ctypes.data % 64
    view = memory[start : start + size * bytes_of].view(dtype)
    if fill:
        view.fill(fill)
    return view


def padded(channels: int) -> int:
    """Return the length of one row of parameters: channels rounded up to 16.

    Example:
        >>> padded(10)
        16
    """
    return -(-channels // 16) * 16


def bounds(codes: Codes, together: int | None = None) -> tuple[int, int]:
    """Return the largest sum of magnitudes of an output, and that of so many of its inputs that are read ``together``.

    None: as many as one byte of a wire holds.

    Example:
        >>> bounds(np.full((1, 24, 1, 1), -7, np.int8))[0]
        168
    """
    native = library()
    assert native is not None
    sums = np.zeros(2, np.int64)
    out, inputs, *kernel = codes.shape
    native.bitspike_engine_bounds(
        codes.ctypes.data, out, inputs, prod(kernel), together or per_unit(), sums.ctypes.data
    )
    return int(sums[0]), int(sums[1])


def bit_planes(codes: Codes) -> tuple[int, int, int]:
    """Return offset, factor and bits of ``codes = factor * u + offset`` with u >= 0 of as few bits as possible.

    Example:
        >>> bit_planes(np.array([-1, 1], np.int8)), bit_planes(np.arange(-7, 8, dtype=np.int8))
        ((-1, 2, 1), (-7, 1, 4))
    """
    seen, every = np.zeros(256, bool), np.ascontiguousarray(codes).view(np.uint8).ravel()
    # Most parts of millions of codes hold none that was not seen before, and looking is faster than marking.
    for part in (every[first : first + _PART] for first in range(0, every.size, _PART)):
        if not seen.take(part).all():
            seen[part] = True
    values = sorted(np.flatnonzero(seen).astype(np.uint8).view(np.int8).tolist()) or [0]
    factor = max(1, reduce(gcd, (value - values[0] for value in values), 0))
    return values[0], factor, max(1, ((values[-1] - values[0]) // factor).bit_length())


def methods(codes: Codes, *, binary: bool, largest: tuple[int, int] | None = None) -> list[Method]:
    """Return the methods that compute a layer exactly on this machine.

    Args:
        codes: of the layer.
        binary: its source carries 0 and 1 only.
        largest: the :func:`bounds` of the codes, where they are known.

    Example:
        >>> [m.name for m in methods(np.full((1, 512, 9, 9), 7, np.int8), binary=True)]  # beyond 16 bits
        ['DOT', 'POPCOUNT']
        >>> [m.name for m in methods(np.ones((1, 4, 1, 1), np.int8), binary=False)]
        ['DOT']
    """
    exact = [Method.DOT]
    if binary:
        exact.append(Method.POPCOUNT)
        magnitude, of_a_byte = largest or bounds(codes)
        # EVENTS adds in 16 bits with a sign.
        if magnitude <= 2**15 - 1:
            exact.append(Method.EVENTS)
        # A byte holds the tables of at least one unit; words hold the sum of all.
        if level() >= 3 and of_a_byte <= 255 and magnitude <= 2**16 - 1:
            exact.append(Method.TABLE)
    return exact


def pack(codes: Codes, method: Method, *, units: int, low: int, high: int) -> Packed:
    """Pack a layer's codes for a method, whose layout holds the source in so many ``units``.

    ``low`` is the smallest value of the source, which its bytes leave out, and ``high`` the largest.
    """
    native = library()
    assert native is not None
    out, inputs, *kernel = codes.shape
    taps, outputs = prod(kernel), padded(out)
    op, correction, flush = OpStruct(method=method, factor=1), np.zeros(0, np.int32), 1
    if method == Method.DOT:
        weights = aligned(outputs * taps * units * 4, np.int8)
        correction = np.zeros(outputs, np.int32)
        # sum w x = sum w (x - low) + low sum w; the border holds 0 - low, so this is right at the edge too.
        correction[:out] = low * codes.reshape(out, -1).sum(1, dtype=np.int64)
        # Units whose products of two inputs add up to no more than 16 bits with a sign; below 2 words are of no use.
        flush = (2**15 - 1) // max(1, (high - low) * bounds(codes, 2)[1])
    elif method == Method.POPCOUNT:
        op.offset, op.factor, op.planes = bit_planes(codes)
        weights = aligned(outputs * taps * units * op.planes, np.uint32)
    elif method == Method.EVENTS:
        # 32 weights are read at a time: the last row needs room for 32, also where it has 16.
        weights = aligned(outputs * taps * units * 32 + 32, np.int16)
    else:
        whole = -(-out // per_unit()) * per_unit()
        weights = aligned(whole * taps * units * (64 if per_unit() == 6 else 32), np.uint8)
        # Entries lack the smallest sum of their table, which `correction` gives back tap by tap.
        magnitude, of_a_byte = bounds(codes)
        correction, flush = np.zeros((taps, whole), np.int32), 255 // max(1, of_a_byte)
        op.offset = magnitude  # neurons that know it may count in words
    native.bitspike_engine_pack(
        op, codes.ctypes.data, out, inputs, taps, units, per_unit(), weights.ctypes.data, correction.ctypes.data,
        torch.get_num_threads(),
    )  # fmt: skip
    return Packed(method, weights, correction, op.planes, op.factor, op.offset, flush)
