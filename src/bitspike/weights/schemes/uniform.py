"""The uniform symmetric grid with a zero in the middle."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.ops.rounding import pass_where, straight_through
from bitspike.weights.scales import Max, Normal, ScaleRule
from bitspike.weights.schemes.base import Scheme, binary, check_bits, check_rule, exact_step, inside


@checked
@dataclass(frozen=True)
class Uniform(Scheme):
    """Quantize to ``2**bits - 1`` equally spaced levels, symmetric around zero.

        Qmax = 2**(bits-1) - 1;  step = reach / Qmax;  code = clip(round(w / step), -Qmax, Qmax);  w_q = code * step

    Without a ``scale`` the grid reaches to the largest magnitude from 4 bits on. With 2 and 3 bits most weights would
    then be 0: it reaches to 1.53 and 2.45 times the mean magnitude, where the squared error of normally distributed
    weights is least, and never beyond the largest (:class:`~bitspike.weights.scales.Normal`).

    Ties round to even. The step is recomputed from the master weights in every forward call; up to 11 bits its
    mantissa is shortened by the width of a code, which makes ``code * step`` exact and, with the largest magnitude as
    reach, the scheme idempotent to the last bit. 1 bit has no such grid: ``sign(w) * mean|w|`` with sign(0) = +1 takes
    its place. Gradient: identity. A step that follows from the mean magnitude is another one for weights that are
    quantized already: keep their codes, as ``bs.convert`` does, or say ``scale=Max()``.

    Args:
        bits: width of one code, 1 to 16.
        per_channel: one step per output channel instead of one per layer.
        scale: the rule that reads the step; None takes the one above. At 1 bit only whether it is ``Dyadic`` counts.
        clip_gradient: let no gradient reach weights beyond the outermost level.

    Raises:
        ConstraintError: ``bits`` outside 1 to 16.

    Example:
        >>> codes, scale = Uniform(bits=3, scale=Max()).encode(torch.tensor([-0.75, -0.2, 0.0, 0.4, 0.75]))
        >>> codes.tolist(), scale.tolist()
        ([-3, -1, 0, 2, 3], [0.25])
    """

    bits: int
    _: KW_ONLY
    per_channel: bool = False
    scale: ScaleRule = None  # type: ignore[assignment]  # the bits say which
    clip_gradient: bool = False

    def __post_init__(self) -> None:
        check_bits("Uniform", self.bits, 16)
        if getattr(self, "scale") is None:  # noqa: B009 (its type has no None)
            object.__setattr__(self, "scale", Normal() if self.bits in (2, 3) else Max())
        check_rule("Uniform", self.scale)

    @property
    def high(self) -> int:
        return max(1, int(2 ** (self.bits - 1)) - 1)

    @property
    def levels(self) -> tuple[int, ...] | None:
        return (-1, 1) if self.bits == 1 else None

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        dims = self.shared_dims(w, axis)
        if self.bits == 1:
            return binary(w, dims, self.scale)
        step = exact_step(self.scale.step(w, dims, self.high, torch.round), self.high)
        return (w / step).round_().clamp_(self.low, self.high), step

    def pass_gradient(self, value: Tensor, w: Tensor, step: Tensor) -> Tensor:
        if not self.clip_gradient:
            return straight_through(value, w)
        return pass_where(value, w, inside(w, step, self.high))
