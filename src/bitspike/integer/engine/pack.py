"""Weight codes in the order in which each method of the native engine reads them.

A layer's codes are int64 [O, C, kh, kw]. Outputs are padded with zeros to a multiple of 16, inputs to what a unit of
the source's layout holds: 4 channels of bytes, 32 of bits, 6 or 8 of bit planes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.integer.network import Integers
from bitspike.kernels.engine import Layout, Method, per_unit

_WORD = 32


@dataclass(frozen=True, eq=False)
class Packed:
    """Weights for one method; the fields of ``Op`` in kernels/engine.h."""

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
    memory = np.empty(size * bytes_of + 64, np.uint8)
    start = -memory.ctypes.data % 64
    view = memory[start : start + size * bytes_of].view(dtype)
    view.fill(fill)
    return view


def _in_line(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    copy = aligned(values.size, values.dtype).reshape(values.shape)
    copy[...] = values
    return copy


def padded(channels: int) -> int:
    """Return the length of one row of parameters: channels rounded up to 16.

    Example:
        >>> padded(10)
        16
    """
    return -(-channels // 16) * 16


def methods(codes: Integers, *, binary: bool, tables: bool) -> list[Method]:
    """Return the methods that compute a layer exactly.

    Args:
        codes: [O, C, kh, kw], each within a signed byte.
        binary: whether the source carries spikes 0 and 1 only.
        tables: whether the machine has byte shuffles.

    Example:
        >>> [m.name for m in methods(np.ones((1, 4, 1, 1), np.int64), binary=True, tables=True)]
        ['DOT', 'POPCOUNT', 'EVENTS', 'TABLE']
        >>> [m.name for m in methods(np.full((1, 4, 1, 1), 100), binary=True, tables=True)]
        ['DOT', 'POPCOUNT', 'EVENTS']
    """
    found = [Method.DOT]
    magnitude = int(np.abs(codes).reshape(len(codes), -1).sum(1).max())
    if binary:
        found.append(Method.POPCOUNT)
        if magnitude <= 2**15 - 1:
            found.append(Method.EVENTS)
        if tables and _largest_table(codes) * per_unit() // _inputs_of_a_table() <= 255 and magnitude <= 2**16 - 1:
            found.append(Method.TABLE)
    return found


def pack(codes: Integers, method: Method, *, units: int, low: int) -> Packed:
    """Pack a layer's codes.

    Args:
        codes: [O, C, kh, kw].
        method: how its sums are computed.
        units: of the source wire in the layout that the method reads.
        low: the smallest value of the source, which its bytes leave out.
    """
    if method == Method.DOT:
        return _dot(codes, units, low)
    return _PACKERS[method](codes, units)


def _filled(codes: Integers, inputs: int, outputs: int) -> Integers:
    out, channels, *kernel = codes.shape
    filled = np.zeros((outputs, inputs, *kernel), np.int64)
    filled[:out, :channels] = codes
    return filled


def _dot(codes: Integers, units: int, low: int) -> Packed:
    outputs = padded(len(codes))
    w = _filled(codes, units * 4, outputs).reshape(outputs // 16, 16, units, 4, *codes.shape[2:])
    ordered = _in_line(w.transpose(0, 4, 5, 2, 1, 3).astype(np.int8))  # [block, ky, kx, unit, 16, 4]
    sums = np.zeros(outputs, np.int32)
    sums[: len(codes)] = low * codes.reshape(len(codes), -1).sum(1)
    return Packed(Method.DOT, ordered, sums)


def _popcount(codes: Integers, units: int) -> Packed:
    outputs, offset = padded(len(codes)), int(codes.min())
    # codes = factor * u + offset with u >= 0 of as few bits as possible: one bit for weights of two values.
    factor = max(1, reduce(gcd, np.unique(codes - offset).tolist(), 0))
    filled = _filled(codes - offset, units * _WORD, outputs) // factor
    planes = max(1, int(filled.max()).bit_length())
    w = filled.reshape(outputs // 16, 16, units, _WORD, *codes.shape[2:]).transpose(0, 4, 5, 2, 1, 3)
    bits = np.stack([(w >> p) & 1 for p in range(planes)], axis=1).astype(np.uint8)
    words = np.packbits(bits, axis=-1, bitorder="little").view("<u4")[..., 0]  # [block, plane, ky, kx, unit, 16]
    return Packed(Method.POPCOUNT, _in_line(words), _NOTHING, planes, factor, offset)


def _events(codes: Integers, units: int) -> Packed:
    outputs = padded(len(codes))
    w = _filled(codes, units * _WORD, outputs).transpose(2, 3, 1, 0).reshape(-1, outputs)  # [(ky, kx, channel), O]
    # The last block of outputs may be read 16 beyond its row.
    return Packed(Method.EVENTS, _in_line(np.append(w.astype(np.int16).ravel(), np.zeros(32, np.int16))), _NOTHING)


def _inputs_of_a_table() -> int:
    return 6 if per_unit() == 6 else 4


def _grouped(codes: Integers, units: int, outputs: int) -> npt.NDArray[np.float32]:
    """Return [tap, unit, table, O, inputs]: the weights behind every table, small integers."""
    inputs = _inputs_of_a_table()
    filled = _filled(codes, units * per_unit(), outputs).astype(np.float32)
    return filled.reshape(outputs, units, per_unit() // inputs, inputs, -1).transpose(4, 1, 2, 0, 3)


def _largest_table(codes: Integers) -> int:
    units = -(-codes.shape[1] // per_unit())
    return int(np.abs(_grouped(codes, units, len(codes))).sum(-1).max())


def _table(codes: Integers, units: int) -> Packed:
    inputs, outputs = _inputs_of_a_table(), -(-len(codes) // per_unit()) * per_unit()
    weights = _grouped(codes, units, outputs)
    subsets = (np.arange(2**inputs) >> np.arange(inputs)[:, None]) & 1  # [inputs, entries]
    least = np.minimum(weights, 0).sum(-1)
    entries = (weights @ subsets.astype(np.float32) - least[..., None]).astype(np.uint8)
    taps, _, tables = entries.shape[:3]
    together = 3 if inputs == 6 else 4  # output channels that are looked up together
    ordered = entries.reshape(taps, units, tables, outputs // together, together, -1).transpose(3, 0, 1, 2, 4, 5)
    correction = np.ascontiguousarray(least.sum((1, 2)), dtype=np.int32)  # [tap, O]
    flush = 255 // max(1, tables * int(entries.max(initial=0)))
    return Packed(Method.TABLE, _in_line(ordered), correction, flush=flush)


_NOTHING = np.zeros(0, np.int32)
_PACKERS: dict[Method, Callable[[Integers, int], Packed]] = {
    Method.POPCOUNT: _popcount,
    Method.EVENTS: _events,
    Method.TABLE: _table,
}
