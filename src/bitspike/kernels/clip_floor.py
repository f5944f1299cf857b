"""The clip-floor-shift activation as one differentiable call on the CPU: one pass over memory each way.

Values and their gradient equal those of the plain form in :mod:`bitspike.nn.clip_floor_shift` bit for bit; the gradient
of the clip is summed in double precision. The input is kept, and the backward pass computes the levels again.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from bitspike.kernels.activation import CHANNEL_AXIS, ClipFloorStruct, library
from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import dense, laid_as, layer, like, per_channel, pointer, usable

MOST_STEPS = 2**24
"""Beyond it single precision skips whole numbers."""


def fused_clip_floor_shift(x: Tensor, clip: Tensor, steps: int, shift: float) -> Tensor | None:
    """Clip to [0, clip] and round to ``steps`` levels above zero, or return None where plain torch has to do it.

    Args:
        x: [N, C, ...] where there is a clip per channel, else any shape; float32 or bfloat16, on the CPU, in any dense
            layout.
        clip: above 0, a scalar, [1] or [C], float32.
        steps: number of levels, 1 to 2**24.
        shift: what is added before the floor, 0 to below 1.

    Returns:
        values in {0, clip/steps, ..., clip}, in the shape, dtype and layout of ``x``.
    """
    if (
        library() is None
        or not usable(x)
        or (clip.device.type, clip.dtype) != ("cpu", torch.float32)
        or (clip.numel() != 1 and (x.dim() <= CHANNEL_AXIS or not per_channel(clip, x.shape[CHANNEL_AXIS])))
        or not 1 <= steps <= MOST_STEPS
    ):
        return None
    # A step in front, so that the kernels see [T, ...] as those of neurons do.
    return cast(Tensor, _Fused.apply(dense(x.unsqueeze(0)), clip, steps, shift)).squeeze(0)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, steps: int, shift: float) -> Tensor:
        each = clip.numel() > 1
        numbers = ClipFloorStruct(
            clip.data_ptr() if each else None,
            0.0 if each else clip.item(),
            steps,
            shift,
            -shift / steps,
            1 - shift / steps,
        )
        shape, out = layer(x, channel_axis=CHANNEL_AXIS + 1 if each else None), like(x)
        native.loaded("activation").bitspike_clip_floor_forward(numbers, shape, x.data_ptr(), out.data_ptr())
        ctx.save_for_backward(x, clip)
        ctx.numbers, ctx.shape = numbers, shape
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, clip = ctx.saved_tensors
        grad, dx = laid_as(grads[0], x), like(x)
        sums = torch.zeros(clip.shape, dtype=torch.float64) if clip.numel() > 1 else None
        total = native.loaded("activation").bitspike_clip_floor_backward(
            ctx.numbers, ctx.shape, x.data_ptr(), grad.data_ptr(), dx.data_ptr(), pointer(sums)
        )
        dclip = None
        if ctx.needs_input_grad[1]:
            dclip = torch.full_like(clip, total / ctx.numbers.clip) if sums is None else (sums / clip).to(clip.dtype)
        return dx if ctx.needs_input_grad[0] else None, dclip, None, None
