"""A grid that is declared in advance and does not depend on the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.weights.schemes.base import Scheme, check_bits, sign_codes


@dataclass(frozen=True)
class FixedPoint(Scheme):
    """Round to multiples of a constant step: ``code = clip(round(w / step), low, high)``.

    For biases, whose grid is that of the accumulator they are added to, and for weights whose grid the hardware
    declares. Ties round to even. Gradient: identity, also where the code is clipped, so that a weight can return.

    Args:
        step: real value of one code, above 0; a power of two keeps sums exact.
        bits: width of one code, 2 to 24; low = -2**(bits-1), high = 2**(bits-1) - 1.
        balanced: low = -high, as converted networks have it; 1 bit is allowed then, with the codes -1 and 1.

    Raises:
        ConstraintError: ``step`` is not a finite number above 0, or ``bits`` lies outside its range.

    Example:
        >>> import torch
        >>> codes, scale = FixedPoint(step=0.25, bits=4).encode(torch.tensor([-9.0, 0.3, 0.4, 1.75, 2.0]))
        >>> codes.tolist(), scale.tolist()
        ([-8, 1, 2, 7, 7], [0.25])
    """

    step: float
    bits: int = 16
    balanced: bool = False

    def __post_init__(self) -> None:
        lowest = 1 if self.balanced else 2
        check_bits("FixedPoint", self.bits, 24, lowest=lowest, fix="FixedPoint(step, bits=16), or Binary() for 1 bit")
        if not (math.isfinite(self.step) and self.step > 0):
            raise ConstraintError(
                f"FixedPoint(step={self.step}): a finite number above 0 is needed", fix="FixedPoint(step=2**-8)"
            )

    @property
    def low(self) -> int:
        return -self.high if self.balanced else -int(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        return max(1, int(2 ** (self.bits - 1)) - 1)

    @property
    def levels(self) -> tuple[int, ...] | None:
        return (-1, 1) if self.bits == 1 else None

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        step = w.new_full((1,), self.step)
        if self.bits == 1:
            return sign_codes(w), step
        return (w / step).round_().clamp_(self.low, self.high), step
