"""A grid that is declared in advance and does not depend on the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, short
from bitspike.weights.schemes.base import Scheme, check_bits, sign_codes


@checked
@dataclass(frozen=True)
class FixedPoint(Scheme):
    """Round to multiples of a constant step: ``code = clip(round(w / step), low, high)``.

    For biases, whose grid is that of the accumulator they are added to, and for weights whose grid the hardware
    declares. Ties round to even. Gradient: identity, also where the code is clipped, so that a weight can return.

    Args:
        step: real value of one code, above 0; a power of two keeps sums exact.
        bits: width of one code, 2 to 24; low = -2**(bits-1), high = 2**(bits-1) - 1.
        balanced: low = -high, as converted networks have it; 1 bit is allowed then, with the codes -1 and 1.
        codes: all codes, ascending, where not every integer is one; no more than ``2**bits``. A weight takes the
            nearest one, and between two that are equally near the smaller one.

    Raises:
        ConstraintError: ``step`` is not a finite number above 0, ``bits`` lies outside its range, or ``codes`` are not
            ascending or too many.

    Example:
        >>> import torch
        >>> codes, scale = FixedPoint(step=0.25, bits=4).encode(torch.tensor([-9.0, 0.3, 0.4, 1.75, 2.0]))
        >>> codes.tolist(), scale.tolist()
        ([-8, 1, 2, 7, 7], [0.25])
    """

    step: float
    bits: int = 16
    balanced: bool = False
    codes: tuple[int, ...] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        lowest = 1 if self.balanced else 2
        check_bits("FixedPoint", self.bits, 24, lowest=lowest, fix="FixedPoint(step, bits=16), or Binary() for 1 bit")
        if not (math.isfinite(self.step) and self.step > 0):
            raise ConstraintError(
                f"FixedPoint(step={self.step}): a finite number above 0 is needed", fix="FixedPoint(step=2**-8)"
            )
        if self.codes is not None and not (
            1 < len(self.codes) <= 2**self.bits and list(self.codes) == sorted(set(self.codes))
        ):
            raise ConstraintError(
                f"FixedPoint(bits={self.bits}, codes={short(self.codes)}): 2 to {2**self.bits} ascending codes are "
                "allowed",
                fix="codes=None for every integer that the bits hold",
            )

    @property
    def low(self) -> int:
        if self.codes is not None:
            return self.codes[0]
        return -self.high if self.balanced else -int(2 ** (self.bits - 1))

    @property
    def high(self) -> int:
        if self.codes is not None:
            return self.codes[-1]
        return max(1, int(2 ** (self.bits - 1)) - 1)

    @property
    def levels(self) -> tuple[int, ...] | None:
        return self.codes or ((-1, 1) if self.bits == 1 else None)

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        step = w.new_full((1,), self.step)
        if self.codes is not None:
            table = torch.tensor(self.codes, dtype=w.dtype, device=w.device)
            return table[torch.bucketize(w / step, (table[1:] + table[:-1]) / 2)], step
        if self.bits == 1:
            return sign_codes(w), step
        return (w / step).round_().clamp_(self.low, self.high), step
