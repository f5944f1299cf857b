"""The mid-rise quantizer of the hybrid RRAM/SRAM networks: an even number of levels, none of them zero."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from torch import Tensor

from bitspike.arguments import checked
from bitspike.weights.schemes.base import Scheme, check_bits


@checked
@dataclass(frozen=True)
class Midrise(Scheme):
    """Quantize to the ``2**bits`` levels ``+-k / 2**(bits-1)``, k = 1 ... 2**(bits-1); zero is not among them.

        p = round((w + 1) / 2 * (2**bits - 1)) / (2**bits - 1);  q = 2 * (p - 1/2)
        code = round(q * 2**(bits-1));  w_q = code / 2**(bits-1)

    Both roundings take ties to even, so a weight of exactly 0 becomes -1 at 1 bit and a positive level from 2 bits on.
    The scale is a constant power of two; a norm after the layer has to absorb it. Gradient: identity, exactly 1.

    Args:
        bits: width of one stored code, 1 to 8. The codes reach +-2**(bits-1) and are stored as indices.
        clamp: limit weights to [-1, 1] first. False is the original: larger weights make levels outside the grid, and
            ``codes`` reports the width that they need.

    Raises:
        ConstraintError: ``bits`` outside 1 to 8.

    Source: hybrid RRAM/SRAM networks, code of R. Kuang 2022 (option "XNOR").

    Example:
        >>> import torch
        >>> codes, scale = Midrise(bits=2).encode(torch.tensor([-1.0, -0.2, 0.0, 0.2, 0.9, 5.0]))
        >>> codes.tolist(), scale.tolist()
        ([-2, -1, 1, 1, 2, 2], [0.5])
    """

    bits: int
    _: KW_ONLY
    clamp: bool = True

    def __post_init__(self) -> None:
        check_bits("Midrise", self.bits, 8)

    @property
    def high(self) -> int:
        return int(2 ** (self.bits - 1))

    @property
    def levels(self) -> tuple[int, ...] | None:
        if not self.clamp:
            return None
        return tuple(k for k in range(self.low, self.high + 1) if k)

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        intervals = 2**self.bits - 1
        if self.clamp:
            w = w.clamp(-1, 1)
        index = ((w + 1) / 2 * intervals).round_()
        # The second rounding, of (2 index - intervals) / intervals * high, never meets a tie: `intervals` is odd.
        codes = (index.mul_(2).sub_(intervals)).mul_(self.high).div_(w.new_full((1,), intervals)).round_()
        return codes, w.new_full((1,), 1 / self.high)
