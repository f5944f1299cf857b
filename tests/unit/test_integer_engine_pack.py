"""Codes in the order in which each method reads them, against the same written down with NumPy's axes."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

from bitspike.integer.engine.pack import Codes, bit_planes, methods, pack, padded
from bitspike.kernels.cpp.loader import SWITCH
from bitspike.kernels.engine.structs import Method, library, per_unit

Array = np.ndarray[Any, np.dtype[Any]]
needs_library = pytest.mark.skipif(
    library() is None, reason="the native library is not built: pip install -e . where a C++ compiler is"
)


def filled(codes: Codes, outputs: int, inputs: int) -> Array:
    """Return codes [outputs, taps, inputs], with zeros where there is none."""
    out, channels, *kernel = codes.shape
    whole = np.zeros((outputs, prod(kernel), inputs), np.int64)
    whole[:out, :, :channels] = codes.reshape(out, channels, -1).transpose(0, 2, 1)
    return whole


def dot(codes: Codes, units: int) -> Array:
    outputs, taps = padded(len(codes)), prod(codes.shape[2:])
    return filled(codes, outputs, 4 * units).reshape(-1, 16, taps, units, 4).transpose(0, 2, 3, 1, 4)


def popcount(codes: Codes, units: int) -> Array:
    offset, factor, planes = bit_planes(codes)
    taps, there = prod(codes.shape[2:]), filled(np.ones_like(codes), padded(len(codes)), 32 * units)
    whole = (filled(codes, padded(len(codes)), 32 * units) - offset) // factor * there
    bits = whole[..., None] >> np.arange(planes) & 1
    words = (bits.reshape(-1, 16, taps, units, 32, planes) << np.arange(32)[:, None]).sum(4)
    return words.transpose(0, 4, 2, 3, 1)


def events(codes: Codes, units: int) -> Array:
    whole = filled(codes, padded(len(codes)), 32 * units).transpose(1, 2, 0).ravel()
    return np.concatenate([whole, np.zeros(32, np.int64)])


def table(codes: Codes, units: int) -> Array:
    inputs, tables, group = (6, 1, 3) if per_unit() == 6 else (4, 2, 4)
    outputs = -(-len(codes) // per_unit()) * per_unit()
    whole = filled(codes, outputs, units * tables * inputs)
    chosen = np.arange(2**inputs)[:, None] >> np.arange(inputs) & 1
    parts = whole.reshape(-1, group, whole.shape[1], units, tables, inputs).transpose(0, 2, 3, 4, 1, 5)
    return parts @ chosen.T - np.minimum(parts, 0).sum(-1, keepdims=True)


PLAIN: dict[Method, Callable[[Codes, int], Array]] = {
    Method.DOT: dot, Method.POPCOUNT: popcount, Method.EVENTS: events, Method.TABLE: table,
}  # fmt: skip


@needs_library
@pytest.mark.parametrize("loops", ["", "avx512", "avx2", "portable"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (17, 70, 1, 1), (40, 33, 3, 3), (16, 6, 1, 2)])
@pytest.mark.parametrize("values", [(-7, 7), (-1, 1), (-128, 127), (3, 3)])
def test_each_method_reads_codes_in_its_own_order(
    loops: str, shape: tuple[int, ...], values: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SWITCH, loops)
    codes = np.random.default_rng(0).integers(*values, shape, np.int8, endpoint=True)
    each = {Method.DOT: 4, Method.POPCOUNT: 32, Method.EVENTS: 32, Method.TABLE: per_unit()}
    for method in methods(codes, binary=True):
        units = -(-shape[1] // each[method])
        packed = pack(codes, method, units=units, low=-1, high=1)
        wanted = PLAIN[method](codes, units)
        assert np.array_equal(packed.weights, wanted.ravel().astype(packed.weights.dtype)), method
        if method == Method.TABLE:
            least = np.minimum(filled(codes, packed.correction.shape[1], shape[1]), 0).sum(2).T
            assert np.array_equal(packed.correction, least)


@needs_library
def test_planes_are_those_of_every_code_wherever_it_stands() -> None:
    codes = np.zeros((3, 50_000, 1, 1), np.int8)
    assert bit_planes(codes) == (0, 1, 1)
    codes[2, -1] = -128
    codes[1, 7] = 96
    assert bit_planes(codes) == (-128, 32, 3)
