"""The readers by name, and which one is taken where none is named."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch

from bitspike.data.stream.dali import Dali
from bitspike.data.stream.decoders import Decoder, by_simplejpeg
from bitspike.data.stream.photo import Reader
from bitspike.errors import ConstraintError

READERS: dict[str, Reader] = {
    "dali": Dali(),
    "simplejpeg": Decoder("simplejpeg", by_simplejpeg),
    "pillow": Decoder("pillow"),
}
"""In the order in which they are preferred."""
_NEEDS = {"dali": ("nvidia.dali", "nvidia-dali-cuda130 or nvidia-dali-cuda120"), "simplejpeg": ("simplejpeg",) * 2}
"""By reader the module that it needs, and the package to install."""


def choose_reader(name: str = "auto") -> Reader:
    """Return a reader by its name.

    Args:
        name: ``dali``, ``simplejpeg``, ``pillow``, or ``auto``: DALI where it is installed and there is a CUDA
            device, else simplejpeg where it is installed, else Pillow.

    Raises:
        ConstraintError: an unknown name, or the package that it needs is not installed.

    Example:
        >>> choose_reader("pillow").name
        'pillow'
    """
    if name == "auto":
        able = [n for n in READERS if installed(n) and (n != "dali" or torch.cuda.is_available())]
        return READERS[able[0]]
    if name not in READERS:
        raise ConstraintError(
            f"reader={name!r}: allowed are 'auto', {', '.join(map(repr, READERS))}", fix="reader='auto'"
        )
    if not installed(name):
        raise ConstraintError(
            f"reader={name!r}: its package is not installed",
            fix=f"pip install {_NEEDS[name][1]}; or reader='pillow', which is always there",
        )
    return READERS[name]


def installed(name: str) -> bool:
    """Tell whether the package of a reader is there.

    Example:
        >>> installed("pillow")
        True
    """
    if name not in _NEEDS:
        return True
    try:
        return find_spec(_NEEDS[name][0]) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False


def usual_workers() -> int:
    """Return a number of threads: the processor cores that this process may use, shared with those of ``torchrun``."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
