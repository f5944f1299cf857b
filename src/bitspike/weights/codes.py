"""The integers of a weight: codes, scale and the grid on which they lie."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WeightCodes:
    """The codes of one weight tensor; the weight is ``codes * scale``.

    The scale is the float32 number that training multiplied by, widened to float64. ``codes * scale`` in float64,
    rounded once to float32, therefore *is* the weight of the forward pass, bit for bit.

    Attributes:
        codes: int64, of the shape of the weight.
        scale: float64 [1], or [channels] with one step per channel; above 0.
        bits: width of one stored code, 1 to 24.
        levels: all codes that can occur, ascending, or None where every integer from ``low`` to ``high`` can.
        low: smallest code of the grid.
        high: largest code of the grid.
        scheme: the scheme that gave them, as text.
        axis: channel axis of the weight along which ``scale`` runs: 0, but 1 for a transposed convolution.
    """

    codes: Tensor
    scale: Tensor
    bits: int
    levels: tuple[int, ...] | None
    low: int
    high: int
    scheme: str
    axis: int = 0

    def decode(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the weight, ``codes * scale``, rounded once to ``dtype``."""
        return (self.codes.to(self.scale.dtype) * along(self.scale, self.axis, self.codes.dim())).to(dtype)


def along(scale: Tensor, axis: int, dims: int) -> Tensor:
    """Shape a scale [1] or [channels] so that it broadcasts along ``axis`` of a tensor with ``dims`` axes.

    Example:
        >>> along(torch.ones(8), 1, 4).shape
        torch.Size([1, 8, 1, 1])
    """
    return scale.reshape([-1 if d == axis else 1 for d in range(dims)]) if dims else scale.reshape(())
