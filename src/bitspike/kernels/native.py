"""Find and load the native library, or say why plain torch is used instead."""

from __future__ import annotations

import ctypes
import functools
import os
from pathlib import Path
from typing import Any

ABI = 1
"""What the library must answer; a stale build answers something else."""

SWITCH = "BITSPIKE_KERNELS"
"""Environment variable: ``plain`` leaves the native library unused."""


class NeuronStruct(ctypes.Structure):
    """One neuron layer as the library sees it; the fields of ``struct Neuron`` in neuron.cpp, in its order."""

    _fields_ = (
        *[
            (name, ctypes.c_float)
            for name in (
                "decay",
                "input_gain",
                "threshold",
                "v_reset",
                "initial",
                "resolution",
                "center",
                "a",
                "b",
            )
        ],
        ("flags", ctypes.c_int32),
        ("surrogate", ctypes.c_int32),
    )


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return _find()[0]


def status() -> str:
    """Say in a few words which time loop is used, and why.

    Example:
        >>> status().split(":")[0] in ("native", "plain torch")
        True
    """
    return _find()[1]


@functools.cache
def _find() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get(SWITCH, "") == "plain":
        return None, f"plain torch: {SWITCH}=plain is set"
    path = Path(__file__).with_name("neuron.native")
    if not path.is_file():
        return (
            None,
            "plain torch: the native library was not built (there was no C++ compiler when bitspike was installed)",
        )
    try:
        loaded = ctypes.CDLL(str(path))
        loaded.bitspike_abi.restype = ctypes.c_int32
        answer = loaded.bitspike_abi()
    except (OSError, AttributeError) as error:
        return None, f"plain torch: the native library cannot be loaded ({error})"
    if answer != ABI:
        return None, f"plain torch: the native library is of another version ({answer}, needed is {ABI}); install again"
    shared: list[Any] = [ctypes.POINTER(NeuronStruct), ctypes.c_int32]
    sizes: list[Any] = [ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int32]
    loaded.bitspike_forward.argtypes = [*shared, *[ctypes.c_void_p] * 2, *sizes]
    loaded.bitspike_forward.restype = None
    loaded.bitspike_backward.argtypes = [*shared, *[ctypes.c_void_p] * 3, *sizes]
    loaded.bitspike_backward.restype = ctypes.c_double
    return loaded, "native: fused in C++ with OpenMP"
