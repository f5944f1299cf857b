"""The k-bit weights of DoReFa-Net: squashed by tanh, then rounded to odd codes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.ops.rounding import pass_where, straight_through
from bitspike.weights.scales import NEGLIGIBLE, Max
from bitspike.weights.schemes.base import Scheme, binary, check_bits


@checked
@dataclass(frozen=True)
class DoReFa(Scheme):
    """Quantize ``tanh(w) / max|tanh(w)|`` to ``2**bits`` levels from -1 to 1; zero is not among them.

        n = 2**bits - 1;  u = tanh(w) / (2 * max|tanh(w)|) + 1/2;  code = 2 * round(n * u) - n;  w_q = code / n

    The codes are odd and reach +-n: +-255 at 8 bits, more than int8 holds. The scheme is not idempotent, because
    the tanh bends what it has flattened once more. 1 bit: ``sign(w) * mean|w|``, gradient identity. From 2 bits on the
    gradient is that of the tanh, ``(1 - tanh(w)**2) / max|tanh(w)|``, with the maximum taken as a constant.

    Args:
        bits: width of one stored code, 1 to 8; from 2 bits on stored as an index.

    Raises:
        ConstraintError: ``bits`` outside 1 to 8.

    Source: Zhou et al. 2016, arXiv 1606.06160, eq. 7 and 9.

    Example:
        >>> DoReFa(bits=2).encode(torch.tensor([-2.0, -0.3, 0.3, 2.0]))[0].tolist()
        [-3, -1, 1, 3]
    """

    bits: int

    def __post_init__(self) -> None:
        check_bits("DoReFa", self.bits, 8)

    @property
    def high(self) -> int:
        return int(2**self.bits - 1)

    @property
    def levels(self) -> tuple[int, ...] | None:
        return tuple(range(self.low, self.high + 1, 2))

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        dims = self.shared_dims(w, axis)
        if self.bits == 1:
            return binary(w, dims, Max())
        squashed = torch.tanh(w)
        unit = squashed / (2 * _largest(squashed)) + 0.5
        codes = (unit * self.high).round_().clamp_(0, self.high).mul_(2).sub_(self.high)
        return codes, w.new_full((1,), 1 / self.high)

    def pass_gradient(self, value: Tensor, w: Tensor, step: Tensor) -> Tensor:
        if self.bits == 1:
            return straight_through(value, w)
        squashed = torch.tanh(w.detach())
        return pass_where(value, w, (1 - squashed.square()) / _largest(squashed))


def _largest(squashed: Tensor) -> Tensor:
    """Return max|x|, or 1 where everything is zero, so that neither value nor gradient divides by zero."""
    largest = squashed.abs().amax()
    return torch.where(largest > NEGLIGIBLE, largest, torch.ones_like(largest))
