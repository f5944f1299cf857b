"""Where the Triton kernels can be used, and why not where they cannot.

Triton is imported at the first call that wants it, never with the package. Whatever goes wrong with it (its files are
broken, it does not compile, it gives another result) is found once, logged once, and means plain torch from then on.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Callable
from typing import TypeVar

import torch
import torch.utils.checkpoint

from bitspike.kernels.cpp.loader import SWITCH

log = logging.getLogger("bitspike.kernels")

Result = TypeVar("Result")

_OLDEST = (7, 0)
"""Compute capability below which Triton generates no code."""

_broken: str | None = None


def interpreting() -> bool:
    """Tell whether Triton's interpreter is switched on (TRITON_INTERPRET=1): kernels then run on the CPU, for tests."""
    return os.environ.get("TRITON_INTERPRET", "") == "1"


def available(device: torch.device) -> bool:
    """Tell whether tensors on ``device`` are run by the Triton kernels.

    Example:
        >>> available(torch.device("meta"))
        False
    """
    if device.type == "cuda":
        return _reason() is None and _old(device) is None
    return device.type == "cpu" and interpreting() and _reason() is None


def status() -> str:
    """Say in a few words what runs on CUDA devices, and why; Triton is not imported for it.

    Example:
        >>> status().split(":")[0] in ("triton", "plain torch")
        True
    """
    reason = _reason()
    if reason is not None:
        return f"plain torch: {reason}"
    if not torch.cuda.is_available():
        return "plain torch: there is no CUDA device"
    for index in range(torch.cuda.device_count()):
        old = _old(torch.device("cuda", index))
        if old is not None:
            return f"plain torch: {old}"
    return "triton: fused, each kind of layer compared with plain torch at its first use"


def attempt(call: Callable[[], Result]) -> Result | None:
    """Return what ``call`` gives; whatever it raises is logged, and means None and plain torch from now on.

    Memory that runs out is no fault of Triton and is raised. So is what torch's checkpointing of activations raises: it
    ends a second forward pass with an exception as soon as it has what it needs, wherever that is.
    """
    try:
        return call()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        if type(error).__module__ == torch.utils.checkpoint.__name__:
            raise
        # A broken installation, a compiler or a driver can raise anything.
        give_up(f"a Triton kernel failed ({type(error).__name__})", exc_info=True)
        return None


def give_up(reason: str, *, exc_info: bool = False) -> None:
    """Use plain torch from now on; the first reason is logged."""
    global _broken  # noqa: PLW0603 - one fact about the process
    if _broken is None:
        _broken = reason
        log.warning("%s: plain torch is used on CUDA from now on", reason, exc_info=exc_info)


def _reason() -> str | None:
    if os.environ.get(SWITCH, "") == "plain":
        return f"{SWITCH}=plain is set"
    return "triton is not installed" if not _installed() else _broken


@functools.cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _old(device: torch.device) -> str | None:
    capability = torch.cuda.get_device_capability(device)
    if capability >= _OLDEST or torch.version.hip:
        return None
    return f"{torch.cuda.get_device_name(device)} has compute capability {capability[0]}.{capability[1]}, below 7.0"
