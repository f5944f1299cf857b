"""From images to spikes or integer codes, and the integer grid on which an input lies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.errors import ConstraintError


@dataclass(frozen=True)
class Grid:
    """The integer grid of a tensor: real value = scale * code, with codes from ``low`` to ``high``.

    Args:
        scale: real value of one code, above 0.
        low: smallest code.
        high: largest code, above ``low``.

    Raises:
        ConstraintError: the scale is not positive, or the range is empty.

    Example:
        >>> grid = Grid(scale=1 / 16, low=0, high=16)
        >>> grid.encode(torch.tensor([0.0, 0.5, 2.0])).tolist(), grid.bits
        ([0, 8, 16], 5)
    """

    scale: float
    low: int
    high: int

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ConstraintError(f"Grid(scale={self.scale}): must be above 0")
        if not self.low < self.high:
            raise ConstraintError(f"Grid(low={self.low}, high={self.high}): low must be below high")

    @property
    def bits(self) -> int:
        """Width of one code in bits; one more for the sign where ``low`` is negative."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low < 0 else 0) + (self.low < 0)

    def encode(self, x: Tensor) -> Tensor:
        """Return the nearest codes, int64, of the shape of ``x``; values outside the range are clipped to it."""
        return torch.round(x.double() / self.scale).clamp_(self.low, self.high).to(torch.int64)

    def decode(self, codes: Tensor) -> Tensor:
        """Return ``scale * codes`` in the default floating dtype."""
        return codes.to(torch.get_default_dtype()) * self.scale

    def holds(self, x: Tensor) -> bool:
        """Tell whether every value lies on the grid exactly, as the float of its code."""
        return bool(torch.equal(self.decode(self.encode(x)).to(x.dtype), x))


def bernoulli(x: Tensor, steps: int, *, divisor: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
    """Draw signed Bernoulli spikes whose rate is the magnitude: P(spike) = min(|x| / divisor, 1), amplitude sign(x).

    A spike falls where ``u * divisor < |x|`` with u uniform in [0, 1), so zero never spikes and
    ``|x| >= divisor`` always does. Source: the input coder of BNTT, Kim and Panda 2021, with divisor 2.

    Args:
        x: [N, ...] real.
        steps: T, at least 1.
        divisor: the magnitude that spikes with certainty, above 0.
        generator: source of the random numbers; None draws from torch's own.

    Returns:
        [T, N, ...] with values in {-1, 0, 1}.

    Example:
        >>> bernoulli(torch.tensor([2.0, -2.0, 0.0]), steps=2, divisor=2.0).tolist()
        [[1.0, -1.0, 0.0], [1.0, -1.0, 0.0]]
    """
    u = torch.rand((steps, *x.shape), generator=generator, device=x.device, dtype=x.dtype)
    return (u * divisor < x.abs()).to(x.dtype) * x.sign()


def even_rate(x: Tensor, steps: int) -> Tensor:
    """Spread round(x * T) spikes evenly over T steps, without randomness; x is clipped to [0, 1].

    Step t (from 1) fires where floor(n * t / T) rises, n being the number of spikes.

    Args:
        x: [N, ...] real.
        steps: T, at least 1.

    Returns:
        [T, N, ...] with values in {0, 1}; the sum over T is round(clip(x, 0, 1) * T), ties to even.

    Example:
        >>> even_rate(torch.tensor([0.5, 1.0]), steps=4)[:, 0].tolist()
        [0.0, 1.0, 0.0, 1.0]
    """
    n = torch.round(x.clamp(0, 1) * steps)
    t = torch.arange(steps + 1, device=x.device, dtype=x.dtype).view(-1, *[1] * x.dim())
    return torch.diff(torch.floor(n * t / steps), dim=0)
