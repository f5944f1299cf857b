"""Grids made of powers of two, for hardware that shifts instead of multiplying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import cached_property
from itertools import product

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.rounding import pass_where, straight_through
from bitspike.weights.scales import Max, ScaleRule
from bitspike.weights.schemes.base import Scheme, binary, check_bits, check_rule, exact_step, inside

LARGEST_EXPONENT = 14


def nearest(x: Tensor, magnitudes: Sequence[int]) -> Tensor:
    """Return the nearest entry of an ascending table for each x >= 0; a tie takes the smaller one.

    Example:
        >>> nearest(torch.tensor([0.4, 3.0, 3.1, 9.0]), (0, 1, 2, 4)).tolist()
        [0.0, 2.0, 4.0, 4.0]
    """
    table = torch.tensor(magnitudes, dtype=x.dtype, device=x.device)
    # All midpoints are halves, so the answer is the same in each half-open interval ((j-1)/2, j/2]: one look-up per
    # weight instead of a search.
    halves = torch.arange(2 * magnitudes[-1] + 1, dtype=x.dtype, device=x.device) / 2
    of_half = table[torch.bucketize(halves, (table[1:] + table[:-1]) / 2)]
    # A NaN has no place in a table; its step is NaN as well, so it is not lost.
    return of_half[(2 * x).ceil_().nan_to_num_(0).clamp_(max=len(halves) - 1).to(torch.int32)]


def power_magnitudes(bits: int) -> tuple[int, ...]:
    """Return 0 and the powers of two that ``bits`` bits with a sign can name, up to 2**14.

    Example:
        >>> power_magnitudes(4)
        (0, 1, 2, 4, 8, 16, 32, 64)
    """
    return (0, *(2**e for e in range(min(2 ** (bits - 1) - 2, LARGEST_EXPONENT) + 1)))


def apot_magnitudes(bits: int) -> tuple[int, ...]:
    """Return the magnitudes of additive powers of two in units of the finest: ``2**(bits-1)`` of them.

    The B = bits - 1 magnitude bits name one power from each of several interleaved sets. With m = B // 2, set i holds
    0 and the exponents -(i+1), -(i+1+m) and -(i+1+2m); for odd B one set {0, 2**-(2m+1)} joins and the last exponent of
    the others moves down by one. All exponents differ, so all sums do.

    Source: Li, Dong and Wang, ICLR 2020, arXiv 1909.13144, section 2.2.

    Example:
        >>> apot_magnitudes(4)
        (0, 1, 2, 3, 4, 6, 8, 10)
    """
    pairs, odd = divmod(bits - 1, 2)
    sets = [(0, i + 1, i + 1 + pairs, i + 1 + 2 * pairs + odd) for i in range(pairs)]
    finest = max((s[-1] for s in sets), default=1)
    terms = [(0, *(2 ** (finest - e) for e in s[1:])) for s in sets]
    if odd:
        terms.append((0, 2 ** (finest - 2 * pairs - 1)))
    return tuple(sorted(sum(choice) for choice in product(*terms)))


class _Table(Scheme):
    """What the two grids share: a table of integer magnitudes, mirrored around zero."""

    scale: ScaleRule

    @property
    def magnitudes(self) -> tuple[int, ...]:
        raise NotImplementedError

    @property
    def high(self) -> int:
        return 1 if self.bits == 1 else self.magnitudes[-1]

    @property
    def levels(self) -> tuple[int, ...] | None:
        if self.bits == 1:
            return (-1, 1)
        return (*(-m for m in reversed(self.magnitudes[1:])), *self.magnitudes)

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        dims = self.shared_dims(w, axis)
        if self.bits == 1:
            return binary(w, dims, self.scale)
        step = self._exact(self.scale.step(w, dims, self.high, lambda x: nearest(x, self.magnitudes)))
        return w.sign() * nearest(w.abs() / step, self.magnitudes), step

    def _exact(self, step: Tensor) -> Tensor:
        return exact_step(step, self.high)


@checked
@dataclass(frozen=True)
class PowerOfTwo(_Table):
    """Quantize to zero and signed powers of two times a step: every product with a weight is a shift.

        w_q = step * code;  code in {0, +-1, +-2, +-4, ... +-2**(2**(bits-1) - 2)};  step = max|w| / largest code

    The nearest level wins, a tie takes the smaller one. Largest code: 1, 4, 64 and 2**14 at 2, 3, 4 and 5 bits. More
    than 5 bits add no level: below 2**-14 of the largest weight there is nothing worth a code, and the codes would
    outgrow every accumulator. 1 bit: ``sign(w) * mean|w|``. Gradient: identity.

    Args:
        bits: width of one stored code, 1 to 8.
        per_channel: one step per output channel instead of one per layer.
        scale: the rule that reads the step.

    Raises:
        ConstraintError: ``bits`` outside 1 to 8.

    Example:
        >>> codes, scale = PowerOfTwo(bits=3).encode(torch.tensor([-1.0, 0.05, 0.3, 0.6, 0.9]))
        >>> codes.tolist(), scale.tolist()
        ([-4, 0, 1, 2, 4], [0.25])
    """

    bits: int
    _: KW_ONLY
    per_channel: bool = False
    scale: ScaleRule = field(default_factory=Max)

    def __post_init__(self) -> None:
        check_bits("PowerOfTwo", self.bits, 8)
        check_rule("PowerOfTwo", self.scale)

    @property
    def magnitudes(self) -> tuple[int, ...]:
        return power_magnitudes(self.bits)

    def _exact(self, step: Tensor) -> Tensor:
        return step  # a power of two times any step is exact


@checked
@dataclass(frozen=True)
class APoT(_Table):
    """Quantize to sums of powers of two, dense around zero: 3, 7, 15 and 31 levels at 2, 3, 4 and 5 bits.

        r = w / a;  w_q = a * sign(r) * nearest(min(|r|, 1)),  nearest in ``apot_magnitudes(bits)`` / its maximum

    with the reach ``a`` given by ``scale``. Codes are the integers of the table: up to 1, 4, 10, 48 and 904 at 2, 3, 4,
    5 and 8 bits. With ``normalize`` the weights are first centered and scaled to unit deviation over the whole tensor,
    ``w' = (w - mean) / (std + eps)``, and ``w_q`` approximates w', as in quantized networks that will be converted; a
    norm after the layer absorbs it. Statistics are constants for the gradient. 1 bit: ``sign * mean|.|``. A tie takes
    the smaller magnitude. Gradient with respect to w (or w'): identity, or zero beyond the reach if ``clip_gradient``.

    Args:
        bits: width of one stored code, 1 to 8.
        per_channel: one step per output channel instead of one per layer.
        scale: the rule of the reach; ``Constant(3.0)`` goes with ``normalize``.
        normalize: quantize the normalized weights.
        eps: keeps a constant tensor from dividing by zero, above 0.
        clip_gradient: let no gradient reach weights beyond the outermost level.

    Raises:
        ConstraintError: ``bits`` outside 1 to 8, or ``eps`` not above 0.

    Source: Li, Dong and Wang, ICLR 2020, arXiv 1909.13144, eq. 3-5.

    Example:
        >>> codes, scale = APoT(bits=4).encode(torch.tensor([-1.0, 0.12, 0.45, 0.72, 0.93]))
        >>> codes.tolist(), round(scale.item(), 4)
        ([-10, 1, 4, 8, 10], 0.1)
    """

    bits: int
    _: KW_ONLY
    per_channel: bool = False
    scale: ScaleRule = field(default_factory=Max)
    normalize: bool = False
    eps: float = 1e-8
    clip_gradient: bool = False

    def __post_init__(self) -> None:
        check_bits("APoT", self.bits, 8)
        check_rule("APoT", self.scale)
        if not self.eps > 0:
            raise ConstraintError(f"APoT(eps={self.eps}): must be above 0", fix="APoT(bits, eps=1e-8)")

    @cached_property
    def magnitudes(self) -> tuple[int, ...]:
        return apot_magnitudes(self.bits)

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return super().project(self._normalized(w), axis)

    def pass_gradient(self, value: Tensor, w: Tensor, step: Tensor) -> Tensor:
        latent = self._normalized(w)
        if not self.clip_gradient or self.bits == 1:
            return straight_through(value, latent)
        return pass_where(value, latent, inside(latent, step, self.high))

    def _normalized(self, w: Tensor) -> Tensor:
        if not self.normalize:
            return w
        std, mean = torch.std_mean(w.detach(), correction=min(1, w.numel() - 1))
        return (w - mean) / (std + self.eps)
