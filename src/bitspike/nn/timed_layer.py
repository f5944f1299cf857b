"""Single layers carried over time that keep their names: a ``Conv2d`` at ``features.0`` stays ``features.0.weight``.

Converted networks are made of these; in networks built by hand :class:`~bitspike.nn.time.TimeDistributed` carries
several layers at once.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.layers import plain, takes_pixels_first
from bitspike.ops import pixels_first

if TYPE_CHECKING:
    _Layer = nn.Module
else:
    _Layer = object


class OverTime(_Layer):
    """What makes a stateless layer take [T, N, ...]: T is folded into N, the layer runs, T is unfolded.

    A repeated input (stride 0 over time, as ``Repeat`` makes it) is computed once and repeated.
    """

    def forward(self, x: Tensor) -> Tensor:
        steps, samples = x.shape[:2]
        if steps > 1 and x.stride(0) == 0:
            once = cast(Tensor, super().forward(x[0]))
            return once.expand(steps, *once.shape)
        y = cast(Tensor, super().forward(x.flatten(0, 1)))
        return y.view(steps, samples, *y.shape[1:])


class Conv1dOverTime(OverTime, nn.Conv1d):
    """``Conv1d`` over [T, N, C, L]."""


class Conv2dOverTime(OverTime, nn.Conv2d):
    """``Conv2d`` over [T, N, C, H, W]."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if plain(input) and takes_pixels_first(self, input):
            return pixels_first.convolve(input, weight, bias, self.stride, self.groups)
        return cast(Tensor, super()._conv_forward(input, weight, bias))


class Conv3dOverTime(OverTime, nn.Conv3d):
    """``Conv3d`` over [T, N, C, D, H, W]."""


class ConvTranspose1dOverTime(OverTime, nn.ConvTranspose1d):  # type: ignore[misc]  # without output_size
    """``ConvTranspose1d`` over [T, N, C, L]."""


class ConvTranspose2dOverTime(OverTime, nn.ConvTranspose2d):  # type: ignore[misc]  # without output_size
    """``ConvTranspose2d`` over [T, N, C, H, W]."""


class ConvTranspose3dOverTime(OverTime, nn.ConvTranspose3d):  # type: ignore[misc]  # without output_size
    """``ConvTranspose3d`` over [T, N, C, D, H, W]."""


class LinearOverTime(OverTime, nn.Linear):
    """``Linear`` over [T, N, ..., F]."""


KINDS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: Conv1dOverTime,
    nn.Conv2d: Conv2dOverTime,
    nn.Conv3d: Conv3dOverTime,
    nn.ConvTranspose1d: ConvTranspose1dOverTime,
    nn.ConvTranspose2d: ConvTranspose2dOverTime,
    nn.ConvTranspose3d: ConvTranspose3dOverTime,
    nn.Linear: LinearOverTime,
}
"""By layer of torch, the class that carries it over time."""


@checked
def timed_layer(layer: nn.Module, *, bias: bool = True) -> nn.Module:
    """Return a copy of a convolution, transposed convolution or linear layer that takes [T, N, ...].

    Args:
        layer: one of torch's own, without a weight path.
        bias: whether the copy has a bias; a new one starts at 0.

    Raises:
        ConstraintError: it is another kind of module.

    Example:
        >>> layer = timed_layer(nn.Conv2d(1, 8, 3))
        >>> layer(torch.zeros(4, 2, 1, 10, 10)).shape, sorted(layer.state_dict())
        (torch.Size([4, 2, 8, 8, 8]), ['bias', 'weight'])
    """
    kind = KINDS.get(type(layer))
    if kind is None:
        raise ConstraintError(
            f"timed_layer got a {type(layer).__name__}; allowed are {', '.join(k.__name__ for k in KINDS)}",
            fix="bs.TimeDistributed(...) carries any layer over time",
        )
    timed = copy.deepcopy(layer)
    timed.__class__ = kind
    if not bias:
        timed.register_parameter("bias", None)
    elif getattr(timed, "bias", None) is None:
        weight = cast(Tensor, timed.weight)
        channels = timed.out_features if isinstance(timed, nn.Linear) else timed.out_channels
        timed.bias = nn.Parameter(torch.zeros(cast(int, channels), dtype=weight.dtype, device=weight.device))
    return timed
