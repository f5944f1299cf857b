"""A fused kernel as one differentiable call: with the batch norm before it, the residual added, and its way back.

Only the input, and a residual where there is one, are kept for the backward pass. A learned number and all statistics
stay on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from bitspike.kernels.norm import Norm
from bitspike.kernels.triton.norm import Statistics, affine, norm_backward, statistics, update
from bitspike.kernels.triton.support import attempt


class Kernels(NamedTuple):
    """What runs a kind of call: a named tuple with ``affine``, ``residual`` and the field that ``learned`` names."""

    learned: str
    """The field that holds a number in a tensor, which has a gradient; or anything else, which has none."""
    forward: Callable[[Tensor, Any], Tensor]
    backward: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor | None]]
    plain: Callable[[Tensor, Tensor, Any], tuple[Tensor, Tensor | None]]
    """The backward pass in plain torch."""


def call(x: Tensor, numbers: Any, norm: Norm | None, kernels: Kernels) -> Tensor:
    """Run ``kernels`` on ``x`` [T, N, C, ...]; in training the running statistics of the norm are updated."""
    seen = None
    if norm is not None:
        with torch.no_grad():
            seen = statistics(x.flatten(0, 1), norm)
    gain, shift = (None, None) if norm is None else norm[:2]
    learned = getattr(numbers, kernels.learned)
    out = cast(Tensor, _Fused.apply(x, learned, numbers.residual, gain, shift, numbers, norm, seen, kernels))
    if norm is not None and seen is not None:
        update(x.flatten(0, 1), norm, seen)  # not before the kernel has run: the plain path would do it again
    return out


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        learned: Any,
        residual: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        numbers: Any,
        norm: Norm | None,
        seen: Statistics | None,
        kernels: Kernels,
    ) -> Tensor:
        if norm is not None and seen is not None:
            numbers = numbers._replace(affine=affine(norm, seen))
        number = learned if isinstance(learned, Tensor) else None
        ctx.save_for_backward(x, number, residual, gain, *(numbers.affine or (None,) * 3), *(seen or (None,) * 3))
        # Tensors are held where autograd sees them change and lets them go.
        ctx.numbers = numbers._replace(affine=None, residual=None)
        if number is not None:
            ctx.numbers = ctx.numbers._replace(**{kernels.learned: None})
        ctx.norm = None if norm is None else norm._replace(gain=None, shift=None)
        ctx.kernels = kernels
        return kernels.forward(x, numbers)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, number, residual, gain, mean, scale, shift, *seen = ctx.saved_tensors
        kernels: Kernels = ctx.kernels
        numbers = ctx.numbers._replace(affine=None if mean is None else (mean, scale, shift), residual=residual)
        if number is not None:
            numbers = numbers._replace(**{kernels.learned: number})
        # The gradient is owed, whatever has become of Triton since the forward pass.
        dx, dnumber = attempt(lambda: kernels.backward(x, grads[0], numbers)) or kernels.plain(x, grads[0], numbers)
        dresidual = None if residual is None else dx.to(residual.dtype)
        dgain = dshift = None
        if ctx.norm is not None:
            flat, dgain, dshift = norm_backward(dx.flatten(0, 1), x.flatten(0, 1), gain, Statistics(*seen), ctx.norm)
            dx = flat.view(x.shape)
        all_ = (dx, None if dnumber is None else dnumber.to(number.dtype), dresidual, dgain, dshift)
        return *(g if n else None for g, n in zip(all_, ctx.needs_input_grad, strict=False)), *(None,) * 4
