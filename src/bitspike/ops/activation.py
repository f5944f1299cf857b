"""The quantized ReLU as a pure function: the static counterpart of a neuron's spike count.

    y = relu(x);  q = round(min(y / clip, 1) * levels) / levels;  a = clip * q         ties to even
    da/dx = 1 where 0 < x <= clip, else 0
    da/dclip = 1 where x > clip, else q - y / clip

With levels = 2**b - 1 the codes q * levels are the spike counts of an integrate-and-fire neuron whose threshold is the
clip, which starts at half of it and sees the same current for T = levels steps.

Source: Hu et al. 2023 (Fast-SNN, arXiv 2305.19868); the learned clip is that of Li et al. 2020 (APoT, ICLR).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from bitspike.ops.precision import single


class _QuantReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, levels: int) -> Tensor:
        ctx.save_for_backward(x, clip)
        ctx.levels = levels
        return _share(single(x), clip, levels).mul_(clip).to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (x, clip), g = ctx.saved_tensors, single(grads[0])
        wide = single(x)
        dx = dclip = None
        if ctx.needs_input_grad[0]:
            dx = (g * ((wide > 0) & (wide <= clip))).to(x.dtype)
        if ctx.needs_input_grad[1]:
            # Above the clip the code is 1 and y / clip counts as 0; below zero both are 0.
            share = _share(wide, clip, ctx.levels)
            share -= torch.where(wide > clip, 0.0, wide.relu() / clip)
            dclip = (g * share).sum().to(clip.dtype)
        return dx, dclip, None


def _share(x: Tensor, clip: Tensor, levels: int) -> Tensor:
    """Return the code of every value divided by the largest code, q."""
    # clamp keeps NaN, so a training that has diverged shows.
    codes = (x / clip).clamp_(0, 1).mul_(levels).round_()
    return codes.div_(codes.new_full((), levels))  # by a number of Python's, CUDA would multiply with 1 / levels


def quant_relu(x: Tensor, clip: Tensor, levels: int) -> Tensor:
    """Clip to [0, clip] and round to ``levels`` equal steps; computed in at least single precision.

    Args:
        x: any shape, floating.
        clip: a scalar above 0; its gradient is the sum over all of ``x``.
        levels: number of steps, at least 1; 2**bits - 1 makes codes of ``bits`` bits.

    Returns:
        values in {0, clip/levels, ..., clip}, of the shape and dtype of ``x``.

    Example:
        >>> quant_relu(torch.tensor([-1.0, 0.5, 1.2, 9.0]), torch.tensor(3.0), 3).tolist()
        [0.0, 0.0, 1.0, 3.0]
    """
    return cast(Tensor, _QuantReLU.apply(x, clip, levels))


class _AtLeast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, floor: float) -> Tensor:
        ctx.save_for_backward(value)
        ctx.floor = floor
        return value.clamp(min=floor)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (value,) = ctx.saved_tensors
        # What lies below may come back up, and is not pushed further down.
        return torch.where((value < ctx.floor) & (grads[0] > 0), 0.0, grads[0]), None


def at_least(value: Tensor, floor: float) -> Tensor:
    """Return ``max(value, floor)``; below the floor only a gradient that raises the value passes.

    A plain clamp has no gradient below its bound, so what once fell below it would stay there for ever.

    Example:
        >>> clip = torch.tensor(-2.0, requires_grad=True)
        >>> (-at_least(clip, 0.5)).backward()
        >>> clip.grad.item()
        -1.0
    """
    return cast(Tensor, _AtLeast.apply(value, floor))
