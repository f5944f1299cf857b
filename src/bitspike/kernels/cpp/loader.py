"""Find and load the native libraries, one for each part, or say why plain torch is used instead."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger("bitspike.kernels")

SWITCH = "BITSPIKE_KERNELS"
"""Environment variable: ``plain`` leaves every native library unused; ``avx2`` and ``portable`` choose older loops."""

PARTS = {
    "neuron": "time loops",
    "activation": "quantized activations",
    "norm": "batch norms",
    "pool": "pools",
    "bits": "spikes kept as bits",
    "engine": "integer engine",
}
"""Every part, and what it runs. Each is one library in ``kernels/``."""

Signature = tuple[Any, tuple[Any, ...]]
"""What a function of a library returns and takes, as ctypes."""


def load(part: str, abi: int, signatures: Mapping[str, Signature]) -> ctypes.CDLL | None:
    """Return the library of a part, or None where plain torch is used; the file is looked for once.

    A file that is there and cannot be used, broken or of another version, is logged as one warning. One that was never
    built is not: an install without a compiler is a good install.

    Args:
        part: a name of :data:`PARTS`.
        abi: what ``bitspike_abi`` of the library must answer; a stale build answers something else.
        signatures: function -> what it returns and takes.
    """
    if part not in _found:
        _found[part] = _find(part, abi, signatures)
        if _found[part][2]:
            log.warning("%s: %s", PARTS[part], _found[part][1])
    return _found[part][0]


def loaded(part: str) -> ctypes.CDLL:
    """Return the library of a part that :func:`load` has returned before."""
    library, _, _ = _found[part]
    assert library is not None
    return library


_found: dict[str, tuple[ctypes.CDLL | None, str, bool]] = {}


def path_of(part: str) -> Path:
    """Return where the library of a part lies if it was built."""
    return Path(__file__).parents[1] / f"{part}.native"


def status(part: str = "neuron") -> str:
    """Say in a few words what runs a part, and why.

    Example:
        >>> status().split(":")[0] in ("native", "plain torch")
        True
    """
    if part not in _found:  # nothing has asked for it yet; its own module knows its version and its functions
        importlib.import_module(f"bitspike.kernels.{part}").library()
    return _found[part][1]


def _find(part: str, abi: int, signatures: Mapping[str, Signature]) -> tuple[ctypes.CDLL | None, str, bool]:
    """Return the library, what to say about it, and whether that is worth a warning."""
    if os.environ.get(SWITCH, "") == "plain":
        return None, f"plain torch: {SWITCH}=plain is set", False
    path = path_of(part)
    if not path.is_file():
        reason = "the native library was not built (no C++ compiler, or it failed; pip install -v shows why)"
        return None, f"plain torch: {reason}", False
    try:
        library = ctypes.CDLL(str(path))
        library.bitspike_abi.restype = ctypes.c_int32
        answer = library.bitspike_abi()
        if answer == abi:
            for name, (result, arguments) in signatures.items():
                function = getattr(library, name)
                function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return None, f"plain torch: the native library cannot be loaded ({error}); install again", True
    if answer != abi:
        reason = f"the native library is of another version ({answer}, needed is {abi})"
        return None, f"plain torch: {reason}; install again", True
    return library, "native: fused in C++ with OpenMP", False
