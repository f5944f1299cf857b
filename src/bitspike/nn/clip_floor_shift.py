"""The clip-floor-shift activation: what a neuron that starts at half its threshold sends in T steps, without time.

    y = clip * floor(clamp(x T / clip + shift, 0, T)) / T
    dy/dx    = 1 where 0 < x T / clip + shift < T, else 0              (the floor passes its gradient on)
    dy/dclip = (y - x) / clip there, 1 above, 0 below

For a constant current x the count of ``IF(threshold=clip, initial=shift * clip)`` after T steps is ``y T / clip``, ties
included: a floor of x T / clip + 1/2 rounds them up, as a neuron does that fires at ``>=``. On a CPU a fused kernel
does the same in one pass each way where it can; what stands here is the meaning.

Source: Bu et al., ICLR 2022 (QCFS), arXiv 2303.04347, eq. 12 and 13.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.kernels.clip_floor import fused_clip_floor_shift
from bitspike.nn.activation import clip_in_use
from bitspike.nn.layers import plain
from bitspike.ops.activation import at_least
from bitspike.ops.precision import single

SMALLEST = 2.0**-20
"""The smallest clip that is used; see :class:`ClipFloorShift`."""


class _ClipFloorShift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, clip: Tensor, steps: int, shift: float) -> Tensor:
        wide, top = single(x), _along(clip, x)
        y = _levels(wide, top, steps, shift)
        # The layer after this one keeps y anyway, but a rounded y would spoil the small difference y - x.
        ctx.save_for_backward(x, clip, y if wide is x else None)
        ctx.steps, ctx.shift = steps, shift
        return y.to(x.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, clip, y = ctx.saved_tensors
        steps, shift = ctx.steps, ctx.shift
        g, wide, top = single(grads[0]), single(x), _along(clip, x)
        dx = _inside(g, wide, top, -shift / steps, 1 - shift / steps)
        dclip = None
        if ctx.needs_input_grad[1]:
            y = _levels(wide, top, steps, shift) if y is None else y
            # g y - dx x is g (y - x) inside, g clip above and 0 below.
            parts = (g * y).addcmul_(dx, wide, value=-1)
            others = [d for d in range(x.dim()) if d != 1]
            whole = parts.sum(others) if clip.dim() == 1 and clip.numel() > 1 else parts.sum().reshape(clip.shape)
            dclip = (whole / clip).to(clip.dtype)
        return dx.to(x.dtype) if ctx.needs_input_grad[0] else None, dclip, None, None


def _along(clip: Tensor, x: Tensor) -> Tensor:
    """Shape a clip, a scalar or [C], so that it broadcasts along axis 1 of ``x``; a single one becomes a scalar."""
    return clip.reshape(-1, *[1] * (x.dim() - 2)) if clip.numel() > 1 else clip.reshape(())


def _levels(x: Tensor, clip: Tensor, steps: int, shift: float) -> Tensor:
    # x T first: with that product exact, the quotient at a tie is exact too. clamp keeps NaN, so divergence shows.
    # Divided by a number of Python's, CUDA would multiply with 1 / steps, and its last bit would not be the CPU's.
    step = clip / torch.full_like(clip, steps)
    return (x * steps).div_(clip).add_(shift).clamp_(0, steps).floor_().mul_(step)


def _inside(g: Tensor, x: Tensor, clip: Tensor, low: float, high: float) -> Tensor:
    """Return ``g`` where ``low clip < x < high clip``, else 0."""
    bottom, top = clip * low, clip * high
    if clip.dim() == 0 and clip.device.type == "cpu":
        # This very formula, in one pass.
        return cast(Tensor, torch.ops.aten.hardtanh_backward(g, x, bottom.item(), top.item()))
    return torch.where((x > bottom) & (x < top), g, 0.0)


def clip_floor_shift(x: Tensor, clip: Tensor, steps: int, shift: float = 0.5) -> Tensor:
    """Return what :class:`ClipFloorShift` does to ``x``, of its shape and dtype; a clip is a scalar, [1] or [C].

    Example:
        >>> clip_floor_shift(torch.tensor([-1.0, 0.5, 1.2, 9.0]), torch.tensor(3.0), 3).tolist()
        [0.0, 1.0, 1.0, 3.0]
    """
    # Tracers and compilers cannot follow a call into a native library.
    fused = fused_clip_floor_shift(x, clip, steps, shift) if plain(x) else None
    return cast(Tensor, _ClipFloorShift.apply(x, clip, steps, shift)) if fused is None else fused


class ClipFloorShift(nn.Module):
    """ReLU clipped at a learned value and rounded to ``steps`` levels above zero, ties up, as a neuron counts.

        y = clip * floor(clamp(x steps / clip + shift, 0, steps)) / steps

    Fine-tuning puts it where the neuron will be: its clip becomes the threshold, ``steps`` the number of time steps.
    An optimizer can push the clip to zero and below, where the formula has no meaning: a clip below 2**-20 acts as
    2**-20, and only gradients that raise it reach it there. See the module's docstring for gradients and source.

    Args:
        steps: T, at least 1.
        clip: where it starts, above 0: a number, or a tensor [C] with one per channel.
        shift: potential before the first step as a share of the threshold, 0 to below 1; 0 rounds down, 1/2 to the
            nearest.

    Shape: any, to the same; [N, C, ...] with a clip per channel.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> ClipFloorShift(steps=4, clip=2.0)(torch.tensor([-1.0, 0.25, 0.6, 5.0])).tolist()
        [0.0, 0.5, 0.5, 2.0]
    """

    def __init__(self, steps: int, clip: float | Tensor = 1.0, *, shift: float = 0.5) -> None:
        super().__init__()
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise ConstraintError(
                f"ClipFloorShift(steps={steps!r}): a whole number of at least 1 is needed", fix="steps=4"
            )
        if not (0 <= shift < 1 and math.isfinite(shift)):
            raise ConstraintError(
                f"ClipFloorShift(shift={shift}): a share of the threshold, 0 to below 1, is needed", fix="shift=0.5"
            )
        start = torch.as_tensor(clip, dtype=torch.get_default_dtype()).detach().clone()
        if start.dim() > 1 or start.numel() == 0 or not bool(((start >= SMALLEST) & start.isfinite()).all()):
            raise ConstraintError(
                f"ClipFloorShift(clip={clip}): needed are finite numbers of at least 2**-20, one or [C]",
                fix="clip=1.0, or the largest value that the activation should keep",
            )
        self.steps = steps
        self.shift = shift
        self.clip = nn.Parameter(start)

    def threshold(self) -> Tensor:
        """Return the clip that is used: a scalar or [C], at least 2**-20; its gradient reaches the parameter."""
        return at_least(self.clip, SMALLEST)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise ConstraintError(f"ClipFloorShift got {x.dtype}: floating values are needed", fix="x.float()")
        channels = self.clip.numel()
        if channels > 1 and x.shape[1:2] != (channels,):
            raise ConstraintError(
                f"ClipFloorShift has {channels} clips and got {list(x.shape)}: needed is [N, C, ...]",
                fix="one clip for all channels, or one for each channel of the layer before it",
            )
        return clip_floor_shift(x, clip_in_use(self.clip, SMALLEST), self.steps, self.shift)

    def extra_repr(self) -> str:
        clip = self.clip.detach()
        shown = f"{float(clip):g}" if clip.numel() == 1 else f"[{clip.numel()}]"
        return f"steps={self.steps}, clip={shown}, shift={self.shift:g}"
