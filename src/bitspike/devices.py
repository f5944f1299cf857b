"""The device that computes, and its precision: what ``auto`` means on this machine."""

from __future__ import annotations

from typing import Literal, cast

import torch

from bitspike.errors import ConstraintError

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]


def choose_device(device: Device | torch.device = "auto") -> str:
    """Return ``cuda`` where there is one and it is not refused, else ``cpu``; a device of torch is taken for its kind.

    Raises:
        ConstraintError: an unknown word, or ``cuda`` is asked for and absent.
    """
    if isinstance(device, torch.device) and not device.index:  # the first of its kind
        device = cast(Device, device.type)
    if device not in ("auto", "cpu", "cuda"):
        raise ConstraintError(f"device={device!r}: allowed are 'auto', 'cpu' and 'cuda'", fix="device='auto'")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ConstraintError("device='cuda': this machine offers no CUDA device to torch", fix="device='auto'")
    return "cuda" if there and device != "cpu" else "cpu"


def choose_precision(precision: Precision, device: str) -> Literal["fp32", "bf16"]:
    """Return what ``auto`` means on a device: bf16 where the hardware multiplies it, else fp32.

    On a CPU that is AMX or AVX512-BF16; without either, bf16 is emulated and far slower than fp32.

    Raises:
        ConstraintError: an unknown word.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise ConstraintError(f"precision={precision!r}: allowed are 'auto', 'fp32' and 'bf16'", fix="precision='auto'")
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16" if torch.cuda.get_device_capability()[0] >= 8 else "fp32"
    offers = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return "bf16" if any(getattr(torch.cpu, name, bool)() for name in offers) else "fp32"
