"""Rounding with a gradient.

Rounding has a derivative of zero almost everywhere, so training uses the straight-through estimator
(Bengio, Leonard and Courville 2013, arXiv 1308.3432): the forward pass takes the rounded value *exactly*, the
backward pass acts as if nothing had been rounded. ``latent + (value - latent).detach()`` has the same gradient but
not the same value: its last bit differs, and with it, now and then, a spike.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, latent: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


class _PassWhere(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, latent: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        (mask,) = ctx.saved_tensors
        return None, grads[0] * mask, None


def straight_through(value: Tensor, latent: Tensor) -> Tensor:
    """Return ``value`` exactly, and send its whole gradient to ``latent``, which is trained and of the same shape.

    Example:
        >>> w = torch.tensor([0.2, 0.7], requires_grad=True)
        >>> q = straight_through(torch.round(w.detach()), w)
        >>> q.sum().backward()
        >>> q.tolist(), w.grad.tolist()
        ([0.0, 1.0], [1.0, 1.0])
    """
    return cast(Tensor, _StraightThrough.apply(value.detach(), latent))


def pass_where(value: Tensor, latent: Tensor, mask: Tensor) -> Tensor:
    """Return ``value`` exactly; the gradient reaches ``latent`` only where ``mask`` is true, or times its factors.

    All three are of one shape.

    Example:
        >>> w = torch.tensor([0.2, 1.7], requires_grad=True)
        >>> pass_where(w.detach().clamp(max=1), w, w < 1).sum().backward()
        >>> w.grad.tolist()
        [1.0, 0.0]
    """
    return cast(Tensor, _PassWhere.apply(value.detach(), latent, mask.to(value.dtype)))


def round_through(x: Tensor, step: float) -> Tensor:
    """Round to the nearest multiple of ``step`` (ties to even) with a straight-through gradient.

    Example:
        >>> round_through(torch.tensor([0.30, 0.40]), 0.25).tolist()
        [0.25, 0.5]
    """
    return straight_through(torch.round(x.detach() / step) * step, x)


def floor_through(x: Tensor, step: float) -> Tensor:
    """Round down to a multiple of ``step``, as an arithmetic right shift does, with a straight-through gradient.

    Args:
        x: 0, or of at least the smallest normal magnitude (2**-126 in single precision): a smaller quotient is lost.
        step: above 0.

    Example:
        >>> floor_through(torch.tensor([0.30, -0.30]), 0.25).tolist()
        [0.25, -0.5]
    """
    return straight_through(torch.floor(x.detach() / step) * step, x)


def trunc_through(x: Tensor, step: float) -> Tensor:
    """Round toward zero to a multiple of ``step``, as a division in C does, with a straight-through gradient.

    Arguments as :func:`floor_through`.

    Example:
        >>> trunc_through(torch.tensor([0.30, -0.30]), 0.25).tolist()
        [0.25, -0.25]
    """
    return straight_through(torch.trunc(x.detach() / step) * step, x)
