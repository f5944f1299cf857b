"""Binary and ternary weights: a sign, perhaps a zero, and one magnitude."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field

from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.rounding import pass_where, straight_through
from bitspike.weights.scales import Dyadic, Max, MeanAbs, ScaleRule
from bitspike.weights.schemes.base import Scheme, sign_codes


class _Signs(Scheme):
    """What both grids share: one magnitude, positive or negative."""

    def __post_init__(self) -> None:
        scheme, rule = type(self).__name__, vars(self)["scale"]
        inner = rule.rule if isinstance(rule, Dyadic) else rule
        if not isinstance(inner, MeanAbs | Max):
            raise ConstraintError(
                f"{scheme}(scale={rule!r}): its one magnitude is a mean or a maximum",
                fix=f"{scheme}(scale=MeanAbs()), which also has the least squared error",
            )

    @property
    def high(self) -> int:
        return 1


@checked
@dataclass(frozen=True)
class Binary(_Signs):
    """Quantize to the sign and the mean magnitude: ``w_q = sign(w) * mean|w|``, sign(0) = +1.

    Gradient: identity. All-zero weights decode to 2**-24: a 1-bit cell cannot hold a zero.

    Args:
        per_channel: one magnitude per output channel instead of one per layer.
        scale: the rule of the magnitude: ``MeanAbs``, ``Max`` or ``Dyadic`` of them.

    Source: Rastegari et al., ECCV 2016, arXiv 1603.05279, section 3.1.

    Example:
        >>> import torch
        >>> codes, scale = Binary().encode(torch.tensor([-1.0, 0.0, 2.0]))
        >>> codes.tolist(), scale.tolist()
        ([-1, 1, 1], [1.0])
    """

    _: KW_ONLY
    per_channel: bool = False
    scale: ScaleRule = field(default_factory=MeanAbs)
    bits: int = field(default=1, init=False, repr=False)

    @property
    def levels(self) -> tuple[int, ...] | None:
        return (-1, 1)

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        return sign_codes(w), self.scale.step(w, self.shared_dims(w, axis), 1, sign_codes)


@checked
@dataclass(frozen=True)
class Ternary(_Signs):
    """Quantize to -a, 0 and +a: weights below a threshold become zero, ``a`` is the mean magnitude of those kept.

        t = 0.7 * mean|w|;  code = sign(w) * (|w| >= t);  a = mean of |w| where |w| >= t;  w_q = a * code

    ``Ternary(threshold=Max(0.05), window=1.0)`` is the rule of the hybrid RRAM/SRAM networks, made symmetric. The
    threshold alone decides the codes: ``scale=Dyadic(MeanAbs())`` rounds ``a`` to a power of two and moves no code.
    Gradient: identity, or, with a ``window``, 1 where |w| < window and 0 elsewhere.

    Args:
        threshold: the rule of ``t``.
        per_channel: one threshold and one magnitude per output channel instead of one per layer.
        scale: the rule of ``a``, applied to the kept weights: ``MeanAbs``, ``Max`` or ``Dyadic`` of them.
        window: width of the gradient window in units of the weight, above 0; None lets all pass.

    Source: Li, Zhang and Liu 2016, arXiv 1605.04711, eq. 4-6.

    Example:
        >>> import torch
        >>> codes, scale = Ternary().encode(torch.tensor([-1.0, -0.1, 0.0, 0.2, 3.0]))
        >>> codes.tolist(), scale.tolist()
        ([-1, 0, 0, 0, 1], [2.0])
    """

    _: KW_ONLY
    threshold: ScaleRule = field(default_factory=lambda: MeanAbs(0.7))
    per_channel: bool = False
    scale: ScaleRule = field(default_factory=MeanAbs)
    window: float | None = None
    bits: int = field(default=2, init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.window is not None and not self.window > 0:
            raise ConstraintError(
                f"Ternary(window={self.window}): must be above 0, or None for no window", fix="Ternary(window=1.0)"
            )

    def project(self, w: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        dims = self.shared_dims(w, axis)
        kept = w.abs() >= self.threshold.reach(w, dims)
        return w.sign() * kept, self.scale.step(w, dims, 1, sign_codes, kept)

    def pass_gradient(self, value: Tensor, w: Tensor, step: Tensor) -> Tensor:
        if self.window is None:
            return straight_through(value, w)
        return pass_where(value, w, w.detach().abs() < self.window)
