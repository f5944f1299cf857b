"""What the native integer engine is handed: the structs of engine.h, in their order, and the library that runs them."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p
from enum import IntEnum

from bitspike.kernels.cpp.loader import SWITCH, load, status

ABI = 2


class Kind(IntEnum):
    """What an operation does."""

    LAYER = 0
    POOL = 1
    READOUT = 2
    CONVERT = 3


class Method(IntEnum):
    """How the sums of a layer are computed; all give the same integers.

    ``DOT`` multiplies bytes, ``POPCOUNT`` counts common bits of bit planes, ``EVENTS`` adds a row of weights for every
    spike, ``TABLE`` looks up the sum of four or six weights by as many spikes. ``NONE`` is a neuron without a layer.
    """

    NONE = 0
    DOT = 1
    POPCOUNT = 2
    EVENTS = 3
    TABLE = 4


class Layout(IntEnum):
    """How a wire lies in memory; engine.h has the shapes."""

    BYTES = 0
    BITS = 1
    PLANES = 2
    RAW_CHANNELS = 3
    RAW_SAMPLES = 4


class WireStruct(Structure):
    """One wire in one layout."""

    _fields_ = (
        ("data", c_void_p),
        *[
            (name, c_int32)
            for name in ("layout", "timed", "channels", "h", "w", "border_h", "border_w", "units", "low")
        ],
        ("lanes", c_int64),
    )


class TermStruct(Structure):
    """Something that is added to a current: gain times wire."""

    _fields_ = (("wire", POINTER(WireStruct)), ("gain", c_void_p))


class UnitStruct(Structure):
    """The parameters of a neuron."""

    _fields_ = (
        *[(name, c_void_p) for name in ("gain", "bias", "fire_at", "threshold", "initial", "v_reset", "retract")],
        *[
            (name, c_int32)
            for name in (
                "right_shift",
                "leak_numerator",
                "leak_shift",
                "leak_after",
                "leaks",
                "hard",
                "has_signs",
                "still",
                "lower",
                "upper",
            )
        ],
    )


class OpStruct(Structure):
    """One fused step: a layer with its neuron, a pool, or a read-out."""

    _fields_ = (
        *[(name, c_int32) for name in ("kind", "method", "steps", "samples")],
        ("source", POINTER(WireStruct)),
        *[(name, c_int32) for name in ("kh", "kw", "sh", "sw", "ph", "pw", "dh", "dw")],
        *[(name, c_int32) for name in ("out_channels", "oh", "ow", "padded")],
        ("weights", c_void_p),
        ("correction", c_void_p),
        *[(name, c_int32) for name in ("planes", "factor", "offset", "flush")],
        ("unit", POINTER(UnitStruct)),
        ("terms", POINTER(TermStruct)),
        ("n_terms", c_int32),
        ("n_outs", c_int32),
        ("outs", POINTER(WireStruct)),
        ("spikes", c_void_p),
        ("potentials", c_void_p),
        ("result", c_void_p),
        ("readout_bias", c_void_p),
        ("largest", c_int32),  # 0 the sum of a pool, 1 the largest, 2 the growth of the largest count
    )


def library() -> ctypes.CDLL | None:
    """Return the native engine, or None where there is none."""
    native = load("engine", ABI, _SIGNATURES)
    if native is not None:
        native.bitspike_engine_limit(_LIMITS.get(os.environ.get(SWITCH, ""), 5))
    return native


_SIGNATURES = {
    "bitspike_engine_run": (None, (POINTER(OpStruct), c_int32, c_int32)),
    "bitspike_engine_bounds": (None, (c_void_p, c_int64, c_int64, c_int64, c_int32, c_void_p)),
    "bitspike_engine_pack": (
        None,
        (POINTER(OpStruct), c_void_p, c_int64, c_int64, c_int64, c_int64, c_int32, c_void_p, c_void_p, c_int32),
    ),
    "bitspike_engine_enter": (None, (POINTER(WireStruct), c_void_p, c_int64, c_int32)),
    "bitspike_engine_level": (c_int32, ()),
    "bitspike_engine_limit": (None, (c_int32,)),
}
_LIMITS = {"avx512": 4, "avx2": 3, "portable": 1}
"""What ``BITSPIKE_KERNELS`` may ask for, so that one machine can test the loops of them all."""


def level() -> int:
    """Return what the machine has: 5 and 4 AVX-512 (VNNI, VPOPCNTDQ; 5 with VBMI), 3 AVX2, 1 neither, 0 no library."""
    native = library()
    return 0 if native is None else int(native.bitspike_engine_level())


def describe() -> str:
    """Say in a few words what runs integer networks, and with which instructions.

    Example:
        >>> describe().split(":")[0] in ("native", "plain torch")
        True
    """
    reason = status("engine")
    instructions = {5: "AVX-512 with VNNI, VPOPCNTDQ and VBMI", 4: "AVX-512 with VNNI and VPOPCNTDQ", 3: "AVX2"}
    return reason if not level() else f"native: {instructions.get(level(), 'portable')} loops in C++ with OpenMP"


def per_unit() -> int:
    """Return how many channels a byte of the layout PLANES holds: 6 where a table of 64 bytes is one instruction."""
    return 6 if level() >= 5 else 8
