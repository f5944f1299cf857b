"""Pools of windows side by side over channels-last images: forward and backward in one pass over memory each.

Values and gradients equal torch's bit for bit. torch's own backward passes take ten times what they move in
channels-last bfloat16, and its maximum keeps where it was in eight bytes per result; here it is one.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p
from typing import Any, cast

import torch
from torch import Tensor

from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import pointer, usable

ABI = 2
LARGEST_KERNEL, LEAST_CHANNELS = 15, 16
"""One byte tells the places of a window apart; channels fill at least one vector."""


class _PoolStruct(Structure):
    _fields_ = (
        *[(name, c_int64) for name in ("rows", "width", "channels", "kernel")],
        *[(name, c_int32) for name in ("largest", "bf16", "threads")],
    )


_SIGNATURES: dict[str, native.Signature] = {
    "bitspike_pool_forward": (None, (POINTER(_PoolStruct), *[c_void_p] * 3)),
    "bitspike_pool_backward": (None, (POINTER(_PoolStruct), *[c_void_p] * 3)),
}


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return native.load("pool", ABI, _SIGNATURES)


def fused_pool(x: Tensor, kernel: int, *, largest: bool) -> Tensor | None:
    """Pool over windows that lie side by side, or return None where plain torch has to do it.

    Args:
        x: [N, C, H, W] channels last, float32 or bfloat16, on the CPU; 16 channels or more, H and W multiples of
            ``kernel``.
        kernel: height and width of a window, and its stride.
        largest: take the maximum; else the mean.

    Returns:
        [N, C, H / kernel, W / kernel], channels last.
    """
    if (
        library() is None
        or not usable(x)
        or x.dim() != 4
        or not 1 < kernel <= LARGEST_KERNEL
        or x.shape[1] < LEAST_CHANNELS
        or x.shape[2] % kernel
        or x.shape[3] % kernel
        or not x.is_contiguous(memory_format=torch.channels_last)
    ):
        return None
    return cast(Tensor, _Pool.apply(x, kernel, largest))


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: int, largest: bool) -> Tensor:
        n, channels, height, width = x.shape
        out = _channels_last(x, (n, channels, height // kernel, width // kernel))
        where = torch.empty_like(out, dtype=torch.uint8) if largest and ctx.needs_input_grad[0] else None
        numbers = _PoolStruct(
            n * height // kernel,
            width // kernel,
            channels,
            kernel,
            largest,
            x.dtype == torch.bfloat16,
            torch.get_num_threads(),
        )
        native.loaded("pool").bitspike_pool_forward(numbers, x.data_ptr(), out.data_ptr(), pointer(where))
        ctx.save_for_backward(where)
        ctx.numbers, ctx.shape = numbers, x.shape
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (where,) = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        dx = _channels_last(grad, ctx.shape)
        native.loaded("pool").bitspike_pool_backward(ctx.numbers, grad.data_ptr(), pointer(where), dx.data_ptr())
        return dx, None, None


def _channels_last(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, memory_format=torch.channels_last)
