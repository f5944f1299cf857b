"""A native loop over [T, ...] as one differentiable call, alone or after a batch norm and a residual."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import Structure
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from bitspike.kernels import norm as norms
from bitspike.kernels.cpp.memory import dense, laid_as, layer, like, pointer
from bitspike.kernels.norm import Norm


class Loop(NamedTuple):
    """What is run over a layer.

    Args:
        forward, backward: functions of a library; ``backward`` returns the gradient of the number that is learned.
        numbers: the struct that both take first.
        norm: applied to the input before; None for none.
        channel_axis: where something is given per channel; None where nothing is.
        alive: tensors that ``numbers`` points into.
    """

    forward: Callable[..., None]
    backward: Callable[..., float]
    numbers: Structure
    norm: Norm | None
    channel_axis: int | None
    alive: tuple[object, ...] = ()


def run(loop: Loop, x: Tensor, residual: Tensor | None, learned: Tensor | None) -> Tensor:
    """Run a loop over ``x`` [T, ...], and a ``residual`` of its shape that is added to what the norm gives.

    ``learned`` is the number whose gradient ``backward`` returns.
    """
    gain, shift = (None, None) if loop.norm is None else (loop.norm.gain, loop.norm.shift)
    return cast(Tensor, _Fused.apply(dense(x), residual, gain, shift, learned, loop))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        residual: Tensor | None,
        gain: Tensor | None,
        shift: Tensor | None,
        learned: Tensor | None,
        loop: Loop,
    ) -> Tensor:
        added = None if residual is None else laid_as(residual, x)
        shape = layer(x, channel_axis=loop.channel_axis, residual=added)
        rows = None if loop.norm is None else norms.begin(loop.norm, x, shape)
        out = like(x)
        affine = None if rows is None else norms.affine(rows)
        loop.forward(loop.numbers, shape, affine, x.data_ptr(), pointer(added), out.data_ptr())
        ctx.save_for_backward(x, added, rows)
        ctx.loop, ctx.learned = loop, learned
        ctx.residual_dtype = None if residual is None else residual.dtype
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, residual, rows = ctx.saved_tensors
        loop: Loop = ctx.loop
        grad, at_sum = laid_as(grads[0], x), like(x)
        shape = layer(x, channel_axis=loop.channel_axis, residual=residual, grad=grad)
        sums = None if rows is None else torch.zeros(2, shape.channels, dtype=torch.float64)
        affine = None if rows is None else norms.affine(rows)
        memory = x.data_ptr(), pointer(residual), grad.data_ptr(), at_sum.data_ptr(), pointer(sums)
        dlearned = loop.backward(loop.numbers, shape, affine, *memory)
        dx, dresidual, dgain, dshift = at_sum, None, None, None
        if loop.norm is not None:
            assert sums is not None
            # The gradient of the sum is the residual's too; only without one may the norm write into its memory.
            if ctx.needs_input_grad[1]:
                dresidual, dx = at_sum.to(ctx.residual_dtype), like(x)
            dgain, dshift = norms.end(loop.norm, x, at_sum, rows, sums, shape, dx)
        gradients = (
            dx,
            dresidual,
            dgain,
            dshift,
            None if ctx.learned is None else torch.full_like(ctx.learned, dlearned),
        )
        return *(g if needs else None for g, needs in zip(gradients, ctx.needs_input_grad, strict=False)), None
