"""The quantized ReLU as one differentiable call, alone or after a batch norm: one pass over memory each way.

Values and their gradient equal those of :func:`bitspike.ops.activation.quant_relu` bit for bit in float32; the clip's
gradient is summed in double precision. The input is kept, and the backward pass computes the codes again.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_double, c_float, c_void_p

import torch
from torch import Tensor

from bitspike.kernels import norm as norms
from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import AFFINE, LAYER, usable
from bitspike.kernels.fused import Loop, run
from bitspike.kernels.norm import Norm
from bitspike.kernels.triton import activation as triton_activation
from bitspike.kernels.triton import support as triton_support

ABI = 3
CHANNEL_AXIS = 1


class _QuantStruct(Structure):
    _fields_ = (("clip", c_float), ("levels", c_float))


class ClipFloorStruct(Structure):
    """The numbers of :mod:`bitspike.kernels.clip_floor`; ``struct ClipFloor`` of activation.cpp, field by field."""

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
    native_library = library()
    if (
        native_library is None
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
    run_forward, run_backward = native_library.bitspike_activation_forward, native_library.bitspike_activation_backward
    axis = None if norm is None else CHANNEL_AXIS + 1
    loop = Loop(run_forward, run_backward, _QuantStruct(clip.item(), levels), norm, axis)
    # One step, so that the kernels see [T, ...] as those of neurons do.
    return run(loop, x.unsqueeze(0), None if residual is None else residual.unsqueeze(0), clip).squeeze(0)
