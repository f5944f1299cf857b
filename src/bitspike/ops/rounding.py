"""Rounding with a gradient, and numbers of the form m / 2**k.

Rounding has a derivative of zero almost everywhere, so training uses the straight-through estimator
(Bengio, Leonard and Courville 2013, arXiv 1308.3432): the forward pass takes the rounded value *exactly*, the
backward pass acts as if nothing had been rounded. ``latent + (value - latent).detach()`` has the same gradient but
not the same value: its last bit differs, and with it, now and then, a spike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from bitspike.errors import ConstraintError


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
    """Return ``value`` exactly, and send its whole gradient to ``latent``.

    Args:
        value: what the forward pass uses, any shape.
        latent: what is trained, of the same shape.

    Example:
        >>> w = torch.tensor([0.2, 0.7], requires_grad=True)
        >>> q = straight_through(torch.round(w.detach()), w)
        >>> q.sum().backward()
        >>> q.tolist(), w.grad.tolist()
        ([0.0, 1.0], [1.0, 1.0])
    """
    return cast(Tensor, _StraightThrough.apply(value.detach(), latent))


def pass_where(value: Tensor, latent: Tensor, mask: Tensor) -> Tensor:
    """Return ``value`` exactly; the gradient reaches ``latent`` only where ``mask`` is true (or by its factor).

    Args:
        value: what the forward pass uses, any shape.
        latent: what is trained, of the same shape.
        mask: bool, or a factor, of the same shape.

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

    Example:
        >>> floor_through(torch.tensor([0.30, -0.30]), 0.25).tolist()
        [0.25, -0.5]
    """
    return straight_through(torch.floor(x.detach() / step) * step, x)


@dataclass(frozen=True)
class Dyadic:
    """The number ``numerator / 2**shift``, as integer hardware multiplies by it: a product, then a right shift.

    Example:
        >>> float(Dyadic(3, 2))
        0.75
    """

    numerator: int
    shift: int

    def __float__(self) -> float:
        return self.numerator / float(2**self.shift)


def dyadic(value: float, *, bits: int = 8) -> Dyadic:
    """Return the nearest ``m / 2**k`` whose numerator has at most ``bits`` bits, in lowest terms.

    Args:
        value: a finite number >= 0.
        bits: width of the numerator, 1 to 24.

    Raises:
        ConstraintError: ``value`` is negative or not finite, or ``bits`` lies outside 1 to 24.

    Example:
        >>> dyadic(0.5), dyadic(0.3, bits=4)
        (Dyadic(numerator=1, shift=1), Dyadic(numerator=5, shift=4))
    """
    if not (math.isfinite(value) and value >= 0):
        raise ConstraintError(f"dyadic({value}): a finite number >= 0 is needed")
    if not 1 <= bits <= 24:
        raise ConstraintError(f"dyadic(bits={bits}): 1 to 24 bits are possible")
    if value == 0:
        return Dyadic(0, 0)
    # frexp: value = fraction * 2**exponent with fraction in [1/2, 1), so fraction * 2**bits has `bits` bits.
    fraction, exponent = math.frexp(value)
    numerator, shift = round(fraction * 2**bits), bits - exponent
    while numerator % 2 == 0 and shift > 0:
        numerator, shift = numerator // 2, shift - 1
    if shift < 0:
        numerator, shift = numerator << -shift, 0
    return Dyadic(numerator, shift)


def is_dyadic(value: float, *, bits: int = 8) -> bool:
    """Tell whether ``value`` is exactly ``m / 2**k`` with a numerator of at most ``bits`` bits.

    Example:
        >>> is_dyadic(0.75), is_dyadic(0.3)
        (True, False)
    """
    return math.isfinite(value) and value >= 0 and float(dyadic(value, bits=bits)) == value
