"""Integer grids, numbers of the form m / 2**k, and the words for a neuron's choices.

Plain Python: a saved network can be read and run where there is no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from bitspike.arguments import checked
from bitspike.errors import ConstraintError

if TYPE_CHECKING:
    from torch import Tensor

Fire = Literal["ge", "gt"]
"""How potential and threshold are compared: ``ge`` is >=, ``gt`` is >."""
Reset = Literal["soft", "hard"]
"""What a spike does to the potential: ``soft`` subtracts the threshold, ``hard`` sets a value."""
Leak = Literal["before", "after"]
"""Whether the potential leaks before or after the input is added."""
Rounding = Literal["floor", "zero"]
"""Where the product of a leak is rounded to: ``floor`` down, as a right shift does, ``zero`` toward zero, as a division
in C does."""


@checked
@dataclass(frozen=True)
class Grid:
    """The integer grid of a tensor: real value = scale * code, with codes from ``low`` to ``high``.

    Args:
        scale: real value of one code, finite and above 0.
        low: smallest code.
        high: largest code, above ``low``.

    Raises:
        ConstraintError: the scale is not finite and positive, or the range is empty.

    Example:
        >>> import torch
        >>> grid = Grid(scale=1 / 16, low=0, high=16)
        >>> grid.encode(torch.tensor([0.0, 0.5, 2.0])).tolist(), grid.bits
        ([0, 8, 16], 5)
    """

    scale: float
    low: int
    high: int

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ConstraintError(
                f"Grid(scale={self.scale}): must be finite and above 0", fix="the value of one code, such as 2**-8"
            )
        if not self.low < self.high:
            raise ConstraintError(
                f"Grid(low={self.low}, high={self.high}): low must be below high",
                fix="low and high are codes, not values: Grid(scale=2**-8, low=0, high=255) holds 8 bits",
            )

    @property
    def bits(self) -> int:
        """Width of one code in bits; one more for the sign where ``low`` is negative."""
        return max(self.high.bit_length(), (-self.low - 1).bit_length() if self.low < 0 else 0) + (self.low < 0)

    def encode(self, x: Tensor) -> Tensor:
        """Return the nearest codes, int64, of the shape of ``x``; values outside the range are clipped to it."""
        return (x.double() / self.scale).round_().clamp_(self.low, self.high).long()

    def decode(self, codes: Tensor) -> Tensor:
        """Return ``scale * codes`` in the default floating dtype."""
        return codes * self.scale

    def holds(self, x: Tensor) -> bool:
        """Tell whether every value lies on the grid exactly, as the float of its code."""
        return bool((self.decode(self.encode(x)).to(x.dtype) == x).all())


def bits_of(low: int, high: int) -> int:
    """Return the bits of two's complement that hold every integer from ``low`` to ``high``.

    Example:
        >>> bits_of(-8, 7), bits_of(0, 8), bits_of(0, 0)
        (4, 5, 1)
    """
    # b bits hold -2**(b-1) to 2**(b-1) - 1; -n - 1 has as many digits as a negative n needs without its sign.
    return 1 + max(
        high.bit_length() if high >= 0 else (-high - 1).bit_length(), (-low - 1).bit_length() if low < 0 else 0
    )


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
        return math.ldexp(self.numerator, -self.shift)


def is_power_of_two(value: float) -> bool:
    """Tell whether a number is 2**k, k of either sign; products and quotients with it are exact.

    Example:
        >>> [is_power_of_two(value) for value in (4, 2**-8, 0.3, 0.0, -2.0, float("nan"), float("inf"))]
        [True, True, False, False, False, False, False]
    """
    # frexp: value = fraction * 2**exponent with fraction in [1/2, 1).
    return math.frexp(value)[0] == 0.5


def dyadic(value: float, *, bits: int = 8) -> Dyadic:
    """Return the nearest ``m / 2**k`` whose numerator has at most ``bits`` bits, in lowest terms.

    Args:
        value: a finite number from 0 to ``2**bits - 1``.
        bits: width of the numerator, 1 to 24.

    Raises:
        ConstraintError: ``value`` is negative, not finite or too large, or ``bits`` lies outside 1 to 24.

    Example:
        >>> dyadic(0.5), dyadic(0.3, bits=4)
        (Dyadic(numerator=1, shift=1), Dyadic(numerator=5, shift=4))
    """
    if not (math.isfinite(value) and value >= 0):
        raise ConstraintError(f"dyadic({value}): a finite number >= 0 is needed", fix="a decay from 0 to 1")
    if not 1 <= bits <= 24:
        raise ConstraintError(f"dyadic(bits={bits}): 1 to 24 bits are possible", fix="bits=8")
    if value == 0:
        return Dyadic(0, 0)
    # frexp: value = fraction * 2**exponent with fraction in [1/2, 1), so fraction * 2**bits has `bits` bits.
    fraction, exponent = math.frexp(value)
    numerator, shift = round(fraction * 2**bits), bits - exponent
    while numerator % 2 == 0 and shift > 0:
        numerator, shift = numerator // 2, shift - 1
    if shift < 0 or numerator >= 2**bits:
        raise ConstraintError(
            f"dyadic({value}, bits={bits}): the largest number of {bits} bits is {2**bits - 1}",
            fix="more bits, or a smaller number",
        )
    return Dyadic(numerator, shift)
