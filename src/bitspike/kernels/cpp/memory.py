"""Tensors as the native parts see them: steps of dense memory, channels innermost or not."""

from __future__ import annotations

from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p
from typing import cast

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)


class LayerStruct(Structure):
    """The shape of a layer; ``struct Layer`` of layer.h, field by field."""

    _fields_ = (
        *[(name, c_int64) for name in ("steps", "total", "channels", "inner", "x_step", "residual_step", "grad_step")],
        ("bf16", c_int32),
        ("threads", c_int32),
    )


class AffineStruct(Structure):
    """Mean, gain and shift per channel, float32; ``struct Affine`` of layer.h."""

    _fields_ = tuple((name, c_void_p) for name in ("mean", "gain", "shift"))


LAYER, AFFINE = POINTER(LayerStruct), POINTER(AffineStruct)


def usable(x: Tensor) -> bool:
    """Tell whether the native parts can read ``x``: on the CPU, of their types, not empty, nobody's subclass."""
    return (
        type(x) in (Tensor, torch.nn.Parameter)
        and x.device.type == "cpu"
        and x.dtype in DTYPES
        and x.numel() > 0
        and not torch.compiler.is_compiling()
    )


def per_channel(values: Tensor | None, channels: int) -> bool:
    """Tell whether ``values`` is None or float32 [channels] in one piece of memory on the CPU."""
    return values is None or (
        values.shape == (channels,)
        and values.dtype == torch.float32
        and values.device.type == "cpu"
        and values.is_contiguous()
    )


def dense(x: Tensor) -> Tensor:
    """Return ``x`` with each step in one piece of memory, in whatever order of axes; steps may share it."""
    step = x[0]
    if torch.ops.aten.is_non_overlapping_and_dense(step) and (x.shape[0] == 1 or x.stride(0) in (0, step.numel())):
        return x
    return x.contiguous()


def like(x: Tensor) -> Tensor:
    """Return empty memory in the layout of a dense ``x``, with a piece of its own for every step."""
    return torch.empty_strided(x.shape, (x[0].numel(), *x.stride()[1:]), dtype=x.dtype, device=x.device)


def laid_as(other: Tensor, x: Tensor) -> Tensor:
    """Return ``other`` in the type and the layout of a dense ``x``, itself where it is; steps may share memory."""
    same = other.dtype == x.dtype and other.stride()[1:] == x.stride()[1:]
    if same and (x.shape[0] == 1 or other.stride(0) in (0, x[0].numel())):
        return other
    return like(x).copy_(other)


def layer(
    x: Tensor, *, channel_axis: int | None, residual: Tensor | None = None, grad: Tensor | None = None
) -> LayerStruct:
    """Describe a dense ``x`` of steps [T, ...]; without a channel axis all of a step is one channel."""
    steps, total = x.shape[0], x[0].numel()
    channels = 1 if channel_axis is None else x.shape[channel_axis]
    # Dense memory has every axis of a smaller stride inside the channels, and all others around them.
    inner = total if channels == 1 else x.stride(cast(int, channel_axis))
    return LayerStruct(
        steps=steps,
        total=total,
        channels=channels,
        inner=inner,
        x_step=_step(x),
        residual_step=_step(residual),
        grad_step=_step(grad),
        bf16=x.dtype == torch.bfloat16,
        threads=torch.get_num_threads(),
    )


def _step(x: Tensor | None) -> int:
    """Return how many elements lie between two steps; 0 also where there is only one."""
    return 0 if x is None or x.shape[0] == 1 else x.stride(0)


def pointer(values: Tensor | None) -> int | None:
    """Return where ``values`` begin, or None."""
    return None if values is None else values.data_ptr()
