"""The quantized ReLU as one differentiable call, alone or after a batch norm: one pass over memory each way.

Values and their gradient equal those of :func:`bitspike.ops.activation.quant_relu` bit for bit in float32; the clip's
gradient is summed in double precision. The input is kept, and the codes are computed again on the way back.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_void_p
from typing import Any, cast

import torch
from torch import Tensor

from bitspike.kernels import norm as norms
from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import (
    AFFINE,
    LAYER,
    dense,
    laid_as,
    layer,
    like,
    pointer,
    usable,
)
from bitspike.kernels.norm import Norm
from bitspike.kernels.triton import activation as triton_activation
from bitspike.kernels.triton import support as triton_support

ABI = 3
CHANNEL_AXIS = 1


class _QuantStruct(Structure):
    _fields_ = (("clip", c_float), ("levels", c_float))


class ClipFloorStruct(Structure):
    """What :mod:`bitspike.kernels.clip_floor` hands over; ``struct ClipFloor`` of activation.cpp, field by field."""

    _fields_ = (("clips", c_void_p), *[(name, c_float) for name in ("clip", "steps", "shift", "low", "high")])


_CLIP_FLOOR = POINTER(ClipFloorStruct)

_SIGNATURES: dict[str, native.Signature] = {
    "bitspike_activation_forward": (None, (POINTER(_QuantStruct), LAYER, AFFINE, *[c_void_p] * 3)),
    "bitspike_activation_backward": (c_double, (POINTER(_QuantStruct), LAYER, AFFINE, *[c_void_p] * 5)),
    "bitspike_clip_floor_forward": (None, (_CLIP_FLOOR, LAYER, *[c_void_p] * 2)),
    "bitspike_clip_floor_backward": (c_double, (_CLIP_FLOOR, LAYER, *[c_void_p] * 4)),
}


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return native.load("activation", ABI, _SIGNATURES)


def fused_quant_relu(
    x: Tensor, clip: Tensor, levels: int, *, norm: Norm | None = None, residual: Tensor | None = None
) -> Tensor | None:
    """Clip to [0, clip] and round to ``levels`` equal steps, or return None where plain torch has to do it.

    Args:
        x: [N, C, ...], any shape without a norm; float32 or bfloat16, on the CPU, in any dense layout.
            Tensors on other devices are for Triton.
        clip: a scalar tensor above 0, float32.
        levels: number of steps, 1 to 255.
        norm: normalize ``x`` first. In training its running statistics are moved.
        residual: of the shape of ``x``, added to what the norm gives; only with a norm.

    Returns:
        values in {0, clip/levels, ..., clip}, in the dtype and layout of ``x``.
    """
    if x.device.type != "cpu" or triton_support.interpreting():
        return triton_activation.fused_quant_relu(x, clip, levels, norm=norm, residual=residual)
    if (
        library() is None
        or not usable(x)
        or clip.numel() != 1
        or clip.dtype != torch.float32
        or clip.device.type != "cpu"
        or (norm is None and residual is not None)
        or (norm is not None and not norms.fits(x, norm, CHANNEL_AXIS))
        or (residual is not None and residual.shape != x.shape)
        or not clip.item() > 0
        or not 1 <= levels <= 255  # more codes are not exact
    ):
        return None
    gain, shift = (None, None) if norm is None else (norm.gain, norm.shift)
    # A step in front, so that the kernels see [T, ...] as those of neurons do.
    added = None if residual is None else residual.unsqueeze(0)
    return cast(Tensor, _Fused.apply(dense(x.unsqueeze(0)), added, gain, shift, clip, levels, norm)).squeeze(0)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        clip: Tensor,
        levels: int,
        norm: Norm | None,
    ) -> Tensor:
        added = None if residual is None else laid_as(residual, x)
        axis = None if norm is None else CHANNEL_AXIS + 1
        shape = layer(x, channel_axis=axis, residual=added)
        rows = None if norm is None else norms.begin(norm, x, shape)
        numbers, out = _QuantStruct(clip.item(), levels), like(x)
        native_library = library()
        assert native_library is not None
        native_library.bitspike_activation_forward(
            numbers,
            shape,
            None if rows is None else norms.affine(rows),
            x.data_ptr(),
            pointer(added),
            out.data_ptr(),
        )
        ctx.save_for_backward(x, added, rows)
        ctx.norm, ctx.shape, ctx.numbers, ctx.clip = norm, shape, numbers, clip
        ctx.residual_dtype = None if residual is None else residual.dtype
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, residual, rows = ctx.saved_tensors
        norm: Norm | None = ctx.norm
        grad, at_sum = laid_as(grads[0], x), like(x)
        sums = None if rows is None else torch.zeros(2, ctx.shape.channels, dtype=torch.float64)
        native_library = library()
        assert native_library is not None
        dclip = native_library.bitspike_activation_backward(
            ctx.numbers,
            ctx.shape,
            None if rows is None else norms.affine(rows),
            x.data_ptr(),
            pointer(residual),
            grad.data_ptr(),
            at_sum.data_ptr(),
            pointer(sums),
        )
        dx, dresidual, dgain, dshift = at_sum, None, None, None
        if norm is not None:
            assert sums is not None
            if ctx.needs_input_grad[1]:
                dresidual, dx = at_sum.to(ctx.residual_dtype), like(x)
            dgain, dshift = norms.end(norm, x, at_sum, rows, sums, ctx.shape, dx)
        return (
            dx,
            dresidual,
            dgain if ctx.needs_input_grad[2] else None,
            dshift if ctx.needs_input_grad[3] else None,
            torch.full_like(ctx.clip, dclip) if ctx.needs_input_grad[4] else None,
            None,
            None,
        )
