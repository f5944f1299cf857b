"""The integers of a weight: codes, scale and the grid on which they lie."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from bitspike.ops.grids import bits_of

_LARGEST = 2**12
"""How many units of a common grid one code may be."""


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

    @cached_property
    def weight(self) -> Tensor:
        """The weight in float32, computed once."""
        return self.decode()

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


class CodeGrid(Protocol):
    """What codes lie on: a scheme, or a stage of the quantize slot."""

    @property
    def bits(self) -> int: ...
    @property
    def low(self) -> int: ...
    @property
    def high(self) -> int: ...
    @property
    def levels(self) -> tuple[int, ...] | None: ...


def on_grid(grid: CodeGrid, codes: Tensor, scale: Tensor, axis: int) -> WeightCodes:
    """Return codes that a grid gave, int64, with their scale, the range they can have, and their width.

    Example:
        >>> from bitspike.weights import Midrise
        >>> grid = Midrise(2, clamp=False)
        >>> codes = on_grid(grid, *grid.encode(torch.tensor([1.75])), axis=0)
        >>> codes.codes.tolist(), codes.high, codes.bits
        ([3], 3, 3)
    """
    least, most = (int(x) for x in codes.aminmax()) if codes.numel() else (0, 0)
    # Only an unclamped grid can be left; its codes then need the width of what is really there.
    inside = grid.low <= least and most <= grid.high
    bits = grid.bits if inside else bits_of(least, most)
    low, high = min(least, grid.low), max(most, grid.high)
    return WeightCodes(codes, scale.double(), bits, grid.levels, low, high, repr(grid), axis)


def masked(codes: WeightCodes, mask: Tensor) -> WeightCodes:
    """Return codes of which some are 0; where the grid had no zero it has one more level."""
    kept = torch.where(mask.bool(), codes.codes, 0)
    low, high, levels = min(codes.low, 0), max(codes.high, 0), codes.levels
    if levels is not None:
        levels = tuple(sorted({*levels, 0}))
    needed = bits_of(low, high) if levels is None else (len(levels) - 1).bit_length()
    return WeightCodes(
        kept, codes.scale, max(codes.bits, needed), levels, low, high, f"{codes.scheme}, pruned", codes.axis
    )


def summed(first: WeightCodes, second: WeightCodes, shift: int, halve: bool) -> WeightCodes | None:
    """Return the codes of ``(first + 2**shift * second) / 2``, or of twice that; None without a grid in common.

    Example:
        >>> a = WeightCodes(torch.tensor([3]), torch.tensor([0.25]).double(), 3, None, -4, 3, "a")
        >>> b = WeightCodes(torch.tensor([1]), torch.tensor([1.0]).double(), 2, None, -2, 1, "b")
        >>> total = summed(a, b, -1, True)
        >>> total.codes.tolist(), total.scale.tolist(), total.bits  # (3/4 + 1/2) / 2
        ([5], [0.125], 4)
    """
    theirs = second.scale * 2.0**shift
    channels = max(len(first.scale), len(theirs))
    both = zip(first.scale.expand(channels).tolist(), theirs.expand(channels).tolist(), strict=True)
    pairs = [common_unit(a, b) for a, b in both]
    if any(pair is None for pair in pairs):
        return None
    units = [pair for pair in pairs if pair is not None]
    dims, device = first.codes.dim(), first.codes.device
    of_first, of_second = (torch.tensor([pair[n] for pair in units], dtype=torch.int64, device=device) for n in (0, 1))
    unit = torch.tensor([pair[2] for pair in units], dtype=torch.float64, device=device) / (2 if halve else 1)
    codes = first.codes * along(of_first, first.axis, dims) + second.codes * along(of_second, first.axis, dims)
    a, b = int(of_first.max()), int(of_second.max())
    low, high = a * first.low + b * second.low, a * first.high + b * second.high
    scheme = f"{first.scheme} + 2**{shift} * {second.scheme}"
    return WeightCodes(codes, unit, bits_of(low, high), None, low, high, scheme, first.axis)


def common_unit(a: float, b: float) -> tuple[int, int, float] | None:
    """Return whole numbers m and n, and a unit with ``a == m * unit`` and ``b == n * unit``; None if m or n is large.

    Example:
        >>> common_unit(0.75, 0.5), common_unit(0.1, 0.25)
        ((3, 2, 0.25), None)
    """
    (p, q), (r, s) = a.as_integer_ratio(), b.as_integer_ratio()
    # Floats are fractions with powers of two below the line, so both are whole over the larger of these.
    over = max(q, s)
    whole = math.gcd(p * (over // q), r * (over // s))
    m, n = p * (over // q) // whole, r * (over // s) // whole
    return None if max(m, n) > _LARGEST else (m, n, whole / over)
