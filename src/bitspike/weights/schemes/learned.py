"""Weights normalized over the whole tensor and quantized within a clip that is trained with them."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.activation import at_least
from bitspike.weights.scales import NEGLIGIBLE
from bitspike.weights.schemes.base import check_bits, exact_step, need_finite, wide
from bitspike.weights.schemes.powers import apot_magnitudes, nearest

FLOOR = 2.0**-10
"""The smallest clip that is used; see :class:`LearnedClip`."""


@checked
@dataclass(frozen=True)
class LearnedClip:
    """Normalize a weight over the whole tensor and quantize it within a clip that each layer learns.

        w' = (w - mean) / std;  r = w' / clip;  q = sign(r) * nearest(min(|r|, 1));  w_q = clip * q
        dw_q/dw' = 1;  dw_q/dclip = sign(r) where |r| > 1, else q - r;  mean and std are constants

    The weights of a layer then ignore any positive factor and any offset of their masters; a norm after the layer takes
    up the scale. At 2, 3, 4 and 5 bits there are 3, 7, 15 and 31 levels; those of ``apot`` are sums of powers of two,
    dense around zero, with codes up to 1, 4, 10 and 48. A tie takes the smaller magnitude.

    The clip is a parameter of the layer, at ``parametrizations.weight.0.quantize.clip`` in the state_dict. ``bs.fit``
    does not apply weight decay to it; a clip below 2**-10 acts as 2**-10, and only gradients that raise it reach it
    there. A tensor whose values are all equal has no deviation and counts as zeros. Bits, grid and ``normalize``
    are saved with the clip, and a state that was saved with others is refused.

    Args:
        bits: width of one stored code with its sign, 2 to 8.
        grid: ``"apot"``, or ``"uniform"`` for equal steps; the same at 2 bits.
        clip: where the clip starts, in deviations of the weight (without ``normalize`` in its own units).
        normalize: subtract the mean and divide by the deviation (over n - 1) first.
        gradient: ``"pass"`` lets gradients reach all weights; ``"clip"`` none beyond the clip, except at 2 bits.
        statistics: ``"constant"``: mean and deviation have no gradient; ``"trained"``: they have.

    Raises:
        ConstraintError: a value outside what is allowed.

    Source: Li, Dong and Wang, ICLR 2020, arXiv 1909.13144, eq. 5-7; as in Hu et al. 2023 (Fast-SNN, arXiv 2305.19868),
        whose networks for CIFAR-10 have ``gradient="pass"`` and constant statistics.

    Example:
        >>> from bitspike.weights import attach, codes
        >>> layer = attach(nn.Linear(5, 1), quantize=LearnedClip(bits=4, clip=1.0, normalize=False))
        >>> layer.weight = torch.tensor([[-2.0, 0.12, 0.45, 0.72, 0.93]])
        >>> codes(layer)[""].codes.tolist()
        [[-10, 1, 4, 8, 10]]
    """

    bits: int
    _: KW_ONLY
    grid: Literal["apot", "uniform"] = "apot"
    clip: float = 3.0
    normalize: bool = True
    gradient: Literal["pass", "clip"] = "pass"
    statistics: Literal["constant", "trained"] = "constant"

    def __post_init__(self) -> None:
        check_bits("LearnedClip", self.bits, 8, lowest=2, fix="Binary() for 1 bit" if self.bits == 1 else None)
        for name, allowed in _ALLOWED.items():
            if (value := getattr(self, name)) not in allowed:
                said = f"LearnedClip({name}={value!r}): {' or '.join(map(repr, allowed))} is allowed"
                raise ConstraintError(said, fix=f"{name}={allowed[0]!r}")
        if not (math.isfinite(self.clip) and self.clip >= FLOOR):
            raise ConstraintError(f"LearnedClip(clip={self.clip}): must be finite and at least 2**-10", fix="clip=3.0")

    @cached_property
    def magnitudes(self) -> tuple[int, ...]:
        """The magnitudes of all codes, ascending from 0."""
        return apot_magnitudes(self.bits) if self.grid == "apot" else tuple(range(2 ** (self.bits - 1)))

    def build(self, name: str, weight: Tensor) -> ClippedWeight:
        """Return the stage of one layer, with a clip of its own."""
        return ClippedWeight(self, name, weight)


_ALLOWED = {
    "grid": ("apot", "uniform"),
    "normalize": (True, False),
    "gradient": ("pass", "clip"),
    "statistics": ("constant", "trained"),
}


class ClippedWeight(nn.Module):
    """The quantize stage of one layer that :class:`LearnedClip` describes; it holds the trained clip.

    Args:
        plan: the description.
        name: of the layer, for messages.
        weight: its master, for device and precision.

    Shape: any, to the same; computed in at least single precision and returned in the dtype of the weight.
    """

    def __init__(self, plan: LearnedClip, name: str, weight: Tensor) -> None:
        super().__init__()
        self.plan, self.name = plan, name
        self.clip = nn.Parameter(torch.tensor(float(plan.clip), dtype=wide(weight).dtype, device=weight.device))

    @property
    def bits(self) -> int:
        """Width of one code."""
        return self.plan.bits

    @property
    def high(self) -> int:
        """The largest code."""
        return self.plan.magnitudes[-1]

    @property
    def low(self) -> int:
        """The smallest code."""
        return -self.high

    @property
    def levels(self) -> tuple[int, ...] | None:
        """All codes, or None where every integer between is one."""
        magnitudes = self.plan.magnitudes
        if len(magnitudes) == self.high + 1:
            return None
        return (*(-m for m in reversed(magnitudes[1:])), *magnitudes)

    def forward(self, w: Tensor) -> Tensor:
        latent = self._normalized(w, trained=self.plan.statistics == "trained")
        clip = at_least(self.clip, FLOOR)
        with torch.no_grad():
            codes, step = self._project(latent, clip)
            # |r| > 1 where the clip that the codes are of is exceeded.
            share = latent / (step * self.high)
            beyond = share.abs() > 1
            part = torch.where(beyond, share.sign(), codes / codes.new_full((), self.high) - share)
            value = codes.mul_(step).to(w.dtype)
        passes = ~beyond if self.plan.gradient == "clip" and self.bits > 2 else None
        return cast(Tensor, _WithClip.apply(value, latent, clip, part, passes))

    def encode(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes, int64 of the shape of ``w``, and their scale [1].

        Raises:
            ConstraintError: a weight or the clip is NaN or infinite.
        """
        with torch.no_grad():
            of = f" of {self.name}" if self.name else ""
            need_finite(w, f"a weight{of}")
            need_finite(self.clip, f"the clip{of}")
            codes, step = self._project(self._normalized(w), at_least(self.clip, FLOOR))
        return codes.to(torch.int64), step.reshape(1)

    def get_extra_state(self) -> Tensor:
        """Return what the clip was trained for, as text in uint8, which every file of weights can hold."""
        return torch.tensor(list(self._grid().encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take up a state that was saved for the same grid.

        Raises:
            ConstraintError: it was saved for another one.
        """
        if (saved := bytes(state.tolist()).decode(errors="replace")) != self._grid():
            raise ConstraintError(
                f"{self.name or 'the weight'}: the state was trained with {saved}, this layer has {self._grid()}",
                fix=f"load it into a network with {saved}; bs.quantize(that network, example, bits=...) then takes its "
                "weights and clips to other bits",
            )

    def _grid(self) -> str:
        plan = self.plan
        return f"LearnedClip(bits={plan.bits}, grid={plan.grid!r}, normalize={plan.normalize})"

    def _normalized(self, w: Tensor, *, trained: bool = False) -> Tensor:
        """Return the normalized weights in at least single precision, connected to ``w``."""
        w = w if w.dtype in (torch.float32, torch.float64) else w.float()
        if not self.plan.normalize:
            return w
        std, mean = torch.std_mean(w if trained else w.detach(), correction=min(1, w.numel() - 1))
        # Equal values have the deviation of their rounding errors or none; both would be blown up to weights.
        varied = std.detach() > torch.maximum(mean.detach().abs() * 2**-20, mean.new_full((), NEGLIGIBLE))
        return (w - mean) / torch.where(varied, std, 1.0)

    def _project(self, latent: Tensor, clip: Tensor) -> tuple[Tensor, Tensor]:
        """Return codes as whole floats, and their step."""
        wide_clip = clip.detach().to(latent.dtype)
        step = exact_step(wide_clip / wide_clip.new_full((), self.high), self.high)
        latent = latent.detach()
        return latent.sign() * nearest(latent.abs() / step, self.plan.magnitudes), step

    def extra_repr(self) -> str:
        return f"{self.plan!r}, clip={float(self.clip.detach()):g}"

    def __repr__(self) -> str:
        return repr(self.plan)


class _WithClip(torch.autograd.Function):
    """Return ``value`` exactly; its gradient reaches the latent weights where it passes, and the clip by its part."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, latent: Tensor, clip: Tensor, part: Tensor, passes: Tensor | None) -> Tensor:
        ctx.save_for_backward(part, passes)
        ctx.of_clip = clip.dtype
        return value.view_as(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        part, passes = ctx.saved_tensors
        g = grads[0].to(part.dtype)
        of_latent = (g if passes is None else g * passes) if ctx.needs_input_grad[1] else None
        of_clip = (g * part).sum().to(ctx.of_clip) if ctx.needs_input_grad[2] else None
        return None, of_latent, of_clip, None, None
