"""Surrogate gradients: what stands in for the derivative of a spike.

A spike is a step of ``distance = potential - threshold``; its true derivative is zero everywhere and infinite at the
threshold. Each surrogate is a non-negative function of the distance that peaks *at the threshold*. Distances are in the
units of the potential; a width of 1.0 therefore means one unit of potential, not one threshold.

Overview with sources: Neftci, Mostafa and Zenke, IEEE Signal Processing Magazine 36(6), 2019, arXiv 1901.09948.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast, get_args

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, short
from bitspike.ops.grids import Fire


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The base of all surrogates: a derivative as a function of the distance to the threshold.

    Args:
        center: where the peak lies relative to the threshold, in units of potential. 0 is right; ``-threshold``
            centers the window at a potential of zero, an error found in published code, kept for reproduction.
    """

    center: float = 0.0

    def derivative(self, distance: Tensor) -> Tensor:
        """Return d(spike)/d(potential) at ``potential - threshold = distance``, elementwise, any shape."""
        return self._shape(distance - self.center if self.center else distance)

    def _shape(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class _Known(Surrogate):
    """The base of the surrogates of this file: all of their numbers but the center are above 0."""

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not math.isfinite(self.center):
            raise ConstraintError(f"{name}(center={self.center}): must be finite", fix="center=0.0")
        for field, value in vars(self).items():
            if field != "center" and value is not None and not (value > 0 and math.isfinite(value)):
                raise ConstraintError(f"{name}({field}={value}): must be finite and above 0", fix=f"{field}=1.0")


@checked
@dataclass(frozen=True)
class Rectangle(_Known):
    """A window of constant height: ``1/width`` where ``|x| < width/2``, else 0.

    Source: Wu et al., Frontiers in Neuroscience 12:331, 2018 (STBP), eq. 24 with a = width.

    Example:
        >>> Rectangle(width=1.0).derivative(torch.tensor([0.0, 0.49, 0.5])).tolist()
        [1.0, 1.0, 0.0]
    """

    width: float = 1.0

    def _shape(self, x: Tensor) -> Tensor:
        return x.abs().lt_(self.width / 2) / self.width


@checked
@dataclass(frozen=True)
class Triangle(_Known):
    """A tent: ``height * max(0, 1 - |x| / width)``; the height is ``1/width`` unless given.

    Source: Bellec et al., NeurIPS 2018, arXiv 1803.09574; BNTT uses ``Triangle(width=1.0, height=0.3)``.

    Example:
        >>> Triangle(width=1.0, height=0.3).derivative(torch.tensor([0.0, 0.5, -1.0])).tolist()
        [0.30000001192092896, 0.15000000596046448, 0.0]
    """

    width: float = 1.0
    height: float | None = None

    def _shape(self, x: Tensor) -> Tensor:
        height = 1 / self.width if self.height is None else self.height
        return (1 - x.abs() / self.width).clamp_(min=0) * height


@checked
@dataclass(frozen=True)
class ArcTan(_Known):
    """The derivative of an arc tangent: ``(alpha/2) / (1 + (pi * alpha * x / 2)**2)``.

    Source: Fang et al., ICCV 2021, arXiv 2007.05785, eq. 11.

    Example:
        >>> ArcTan(alpha=2.0).derivative(torch.tensor([0.0])).tolist()
        [1.0]
    """

    alpha: float = 2.0

    def _shape(self, x: Tensor) -> Tensor:
        return (self.alpha / 2) / (1 + (math.pi / 2 * self.alpha * x).square())


@checked
@dataclass(frozen=True)
class Sigmoid(_Known):
    """The derivative of a sigmoid: ``alpha * s * (1 - s)`` with ``s = sigmoid(alpha * x)``.

    TSSL-BP's silent neurons use ``alpha = 5`` (Zhang and Li, NeurIPS 2020, arXiv 2002.10085).

    Example:
        >>> Sigmoid(alpha=4.0).derivative(torch.tensor([0.0])).tolist()
        [1.0]
    """

    alpha: float = 4.0

    def _shape(self, x: Tensor) -> Tensor:
        s = torch.sigmoid(self.alpha * x)
        return self.alpha * s * (1 - s)


@checked
@dataclass(frozen=True)
class PiecewiseExponential(_Known):
    """A double-sided exponential: ``(alpha/2) * exp(-alpha * |x|)``.

    Source: Shrestha and Orchard, NeurIPS 2018 (SLAYER), arXiv 1810.08646.

    Example:
        >>> PiecewiseExponential(alpha=2.0).derivative(torch.tensor([0.0])).tolist()
        [1.0]
    """

    alpha: float = 2.0

    def _shape(self, x: Tensor) -> Tensor:
        return (self.alpha / 2) * torch.exp(-self.alpha * x.abs())


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor, surrogate: Surrogate, fire: Fire) -> Tensor:
        ctx.save_for_backward(distance)
        ctx.surrogate = surrogate
        # Written straight as numbers: a tensor of bools, converted afterwards, takes nine times as long on a CPU.
        compare = torch.ge if fire == "ge" else torch.gt
        return compare(distance, 0, out=torch.empty_like(distance))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (distance,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(distance), None, None


def spike(distance: Tensor, surrogate: Surrogate, fire: Fire = "ge") -> Tensor:
    """Fire where the distance to the threshold is reached; backward uses the surrogate.

    Args:
        distance: potential - threshold, any shape and floating dtype.
        surrogate: stands in for the derivative.
        fire: ``ge`` fires at distance >= 0, ``gt`` at distance > 0.

    Returns:
        0 or 1 in the dtype of ``distance``.

    Example:
        >>> spike(torch.tensor([-0.1, 0.0, 0.1]), ArcTan(), "gt").tolist()
        [0.0, 0.0, 1.0]
    """
    return cast(Tensor, _Spike.apply(distance, surrogate, fire))


_ALSO = {
    "ArcTan(alpha=2.0)": ("arctan", "atan"),
    "Sigmoid(alpha=4.0)": ("sigmoid",),
    "Triangle(width=1.0)": ("triangle", "triangular", "piecewisequadratic", "piecewise_quadratic"),
    "Rectangle(width=1.0)": ("rectangle", "rect", "straight_through_estimator"),
    "PiecewiseExponential(alpha=2.0)": ("piecewiseexponential", "piecewiseexp", "fast_sigmoid", "superspike"),
}
"""Surrogates with the names that they, or others of nearly their shape, have here and in other tools."""


def check_surrogate(surrogate: object) -> None:
    """Refuse what is no surrogate."""
    if isinstance(surrogate, Surrogate):
        return
    word = surrogate if isinstance(surrogate, str) else getattr(surrogate, "__qualname__", type(surrogate).__name__)
    ours = next(
        (ours for ours, words in _ALSO.items() if word.partition(".")[0].lower() in words), "Triangle(width=1.0)"
    )
    raise ConstraintError(
        f"surrogate={short(surrogate)} is not a surrogate; there are ArcTan, Sigmoid, Triangle, Rectangle and "
        "PiecewiseExponential",
        fix=f"surrogate=bs.{ours}",
    )


def check_fire(fire: str) -> None:
    """Refuse a comparison that is neither ``ge`` nor ``gt``."""
    if fire not in get_args(Fire):
        raise ConstraintError(
            f"fire={fire!r}: allowed are 'ge' (potential >= threshold) and 'gt' (potential > threshold)",
            fix="fire='ge'",
        )
