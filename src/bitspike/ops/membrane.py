"""Potentials of few bits: what a neuron keeps from one step to the next is a code of 2 to 16 bits.

A neuron adds up the charge of a step in an accumulator as wide as it has to be, compares it with the threshold and
resets. Then it writes what is left, r, to memory, rounded to the nearest code of a small grid:

    code = floor(r / step + 1/2),  clipped to -2**(bits - 1) .. 2**(bits - 1) - 1 where it saturates
    v    = code * step                    what the next step reads

The clip is part of the equation: a potential below or above the grid is its first or last code. With integers of worth
``step / 2**k`` the code is ``(r + 2**(k - 1)) >> k`` and ``v = code << k``: nothing is multiplied.

The gradient passes the rounding straight through and stops where a code was clipped, as the clip's own derivative does.
Source: Yin et al., MINT, ASP-DAC 2024, arXiv 2305.09850, who keep the potential after the leak; ``step`` here is theirs
divided by the leak, and the potentials are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.rounding import pass_where, straight_through

FEWEST, MOST = 2, 16
"""Bits of a potential that is kept as a code."""


@checked
@dataclass(frozen=True)
class Membrane:
    """How a neuron keeps its potential between two steps: as a code of few bits.

    Args:
        bits: width of a code in two's complement, 2 to 16.
        step: real value of one code, above 0; a number, or one per channel [C]. None is ``threshold / 2**(bits - 1)``:
            the codes reach from minus the threshold to the last one below the threshold.
        saturate: potentials outside the codes are clipped to them. False leaves them as they are, and ``bs.lower``
            proves that no input can make one, or refuses the network.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> kept(torch.tensor([-3.0, 0.2, 0.3, 0.9]), Membrane(2, step=0.5)).tolist()
        [-1.0, 0.0, 0.5, 0.5]
    """

    bits: int
    step: float | Tensor | None = None
    saturate: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or not isinstance(self.bits, int) or not FEWEST <= self.bits <= MOST:
            raise ConstraintError(
                f"Membrane(bits={self.bits!r}): potentials are kept in {FEWEST} to {MOST} bits",
                fix="bits=2, or membrane=None for potentials that are kept as they are",
            )
        known = isinstance(self.step, int | float | Tensor | None)
        steps = torch.as_tensor(1.0 if self.step is None else self.step if known else math.nan, dtype=torch.float64)
        if steps.dim() > 1 or steps.numel() == 0 or not bool(((steps > 0) & steps.isfinite()).all()):
            raise ConstraintError(
                f"Membrane(step={self.step}): needed is a finite number above 0, or one per channel as a tensor [C]",
                fix="step=0.5, or step=None for threshold / 2**(bits - 1)",
            )

    def __eq__(self, other: object) -> bool:
        """Tell whether two are alike; steps per channel, whose comparison is no one truth, element by element."""
        if not isinstance(other, Membrane):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        step = self.step.tolist() if isinstance(self.step, Tensor) else self.step  # of no axes: a number
        return self.bits, tuple(step) if isinstance(step, list) else step, self.saturate

    @property
    def low(self) -> int:
        """The smallest code."""
        return -(1 << (self.bits - 1))

    @property
    def high(self) -> int:
        """The largest code."""
        return (1 << (self.bits - 1)) - 1

    def step_for(self, threshold: float | Tensor) -> float | Tensor:
        """Return the real value of one code of a neuron with this threshold, a number or [C].

        Example:
            >>> Membrane(2).step_for(1.0), Membrane(4, step=0.25).step_for(1.0)
            (0.5, 0.25)
        """
        if self.step is not None:
            return self.step
        # A power of two: the quotient is exact.
        values = threshold.detach() if isinstance(threshold, Tensor) else threshold
        return math.ldexp(1.0, 1 - self.bits) * values


def kept(v: Tensor, membrane: Membrane) -> Tensor:
    """Return what is left of potentials [N, C, ...] once they were kept; the membrane says its step.

    Example:
        >>> v = torch.tensor([0.3, 2.0], requires_grad=True)
        >>> kept(v, Membrane(3, step=0.25)).sum().backward()
        >>> v.grad.tolist()
        [1.0, 0.0]
    """
    step, latent = membrane.step, v.detach()
    assert step is not None, "step_for gives the step of a neuron"
    if isinstance(step, Tensor):
        step = step.detach().to(v)
        step = step.view(-1, *[1] * (v.dim() - 2)) if step.dim() else step
    codes = torch.floor(latent / step + 0.5)
    if not membrane.saturate:
        return straight_through(codes * step, v)
    inside = codes.clamp(membrane.low, membrane.high)
    return pass_where(inside * step, v, inside == codes)
