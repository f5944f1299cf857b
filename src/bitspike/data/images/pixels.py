"""From pixels to network inputs that lie on an integer grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.grids import Grid


@checked
@dataclass(frozen=True)
class PixelGrid:
    """Map a pixel to ``x = (pixel - offset_c) * scale``, channel by channel.

    A pixel and its offset are whole numbers, so every input is a whole number of ``scale`` and a network lowers to
    integers from its very first layer. Subtracting a mean and dividing by a standard deviation would not: round the
    mean to a pixel and the deviation to a power of two instead.

    Args:
        scale: input for one step of a pixel, above 0; a power of two keeps sums exact in floating point too.
        offset: the pixel that becomes 0, from 0 to 255: one for all channels, or one for each.

    Raises:
        ConstraintError: a value outside these ranges.

    Example:
        >>> pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
        >>> PixelGrid(scale=2**-7, offset=(128,)).to_input(pixels).flatten().tolist()
        [-1.0, 0.0, 0.9921875]
    """

    scale: float = 1 / 255
    offset: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ConstraintError(f"PixelGrid(scale={self.scale}): must be above 0", fix="2**-8")
        if not self.offset or any(not isinstance(o, int) or not 0 <= o <= 255 for o in self.offset):
            raise ConstraintError(f"PixelGrid(offset={self.offset}): whole numbers from 0 to 255", fix="offset=(0,)")

    def grid(self, high_pixel: int = 255) -> Grid:
        """Return the grid of the inputs.

        Args:
            high_pixel: the largest pixel that occurs, 1 to 255.

        Example:
            >>> PixelGrid(scale=2**-6, offset=(125, 123, 114)).grid()
            Grid(scale=0.015625, low=-125, high=141)
        """
        return Grid(self.scale, low=-max(self.offset), high=high_pixel - min(self.offset))

    def check_channels(self, channels: int) -> None:
        """Raise ConstraintError unless there is one offset for all channels or one for each."""
        if len(self.offset) not in (1, channels):
            raise ConstraintError(
                f"{self} has {len(self.offset)} offsets, the images have {channels} channels",
                fix=f"one offset for all channels, or {channels} of them",
            )

    def to_input(self, images: Tensor) -> Tensor:
        """Return the inputs of images.

        Args:
            images: whole numbers [N, H, W, C], or recordings [N, T, H, W, C].

        Returns:
            float32 [N, C, H, W] or [N, T, C, H, W], a channels-last view of memory that was written once.
        """
        *samples, height, width, channels = images.shape
        self.check_channels(channels)
        x = images.to(torch.float32, memory_format=torch.contiguous_format)
        if any(self.offset):
            rows = x.view(math.prod(samples), height * width * channels)
            rows.sub_(_row(self.offset, rows))
        return x.mul_(self.scale).movedim(-1, -3)


@checked
@dataclass(frozen=True)
class Normalization:
    """Map a pixel to ``x = (pixel / high - mean_c) / std_c``, channel by channel, as most trained networks want it.

    These inputs lie on no common integer grid; a conversion finds one for them. Folded into the network they do: it
    gets ``pixel / high`` and computes the rest itself.

    Args:
        mean: one for all channels, or one for each, as a share of the largest pixel.
        std: likewise, above 0.
        high: the largest pixel that occurs, 1 to 255.
        folded: whether the network subtracts and divides.

    Raises:
        ConstraintError: a value outside these ranges.

    Example:
        >>> pixels = torch.tensor([[[[0, 128, 255]]]], dtype=torch.uint8)
        >>> Normalization(mean=(0.5,), std=(0.25,)).to_input(pixels).flatten().tolist()
        [-2.0, 0.007843255996704102, 2.0]
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    high: int = 255
    folded: bool = False

    def __post_init__(self) -> None:
        if not self.std or any(not (s > 0 and math.isfinite(s)) for s in self.std):
            raise ConstraintError(f"Normalization(std={self.std}): deviations above 0 are needed", fix="std=(1.0,)")
        if not self.mean or not all(math.isfinite(m) for m in self.mean):
            raise ConstraintError(f"Normalization(mean={self.mean}): finite numbers are needed", fix="mean=(0.0,)")
        if not 1 <= self.high <= 255:
            raise ConstraintError(f"Normalization(high={self.high}): a pixel from 1 to 255 is needed", fix="high=255")

    @property
    def offset(self) -> tuple[int, ...]:
        """The pixel that is nearest to an input of 0, by channel: what shifts fill the border with."""
        return tuple(min(255, max(0, round(m * self.high))) for m in self.mean)

    def check_channels(self, channels: int) -> None:
        """Raise ConstraintError unless there is one value for all channels or one for each."""
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, channels):
                raise ConstraintError(
                    f"{self} has {len(values)} of {name}, the images have {channels} channels",
                    fix=f"one {name} for all channels, or {channels} of them",
                )

    def to_input(self, images: Tensor) -> Tensor:
        """Return the inputs of images: float32 [N, C, H, W] of uint8 [N, H, W, C]."""
        self.check_channels(images.shape[3])
        x = images.to(torch.float32, memory_format=torch.contiguous_format)
        x.div_(x.new_full((), self.high))  # by a number of Python's, CUDA would multiply with 1 / high
        if self.folded:
            return x.permute(0, 3, 1, 2)
        rows = x.view(len(x), math.prod(x.shape[1:]))
        rows.sub_(_row(self.mean, rows)).div_(_row(self.std, rows))
        return x.permute(0, 3, 1, 2)

    @property
    def grid(self) -> Grid | None:
        """The grid of the inputs, where they lie on one."""
        return Grid(1 / self.high, 0, self.high) if self.folded else None


def _row(values: Sequence[float], rows: Tensor) -> Tensor:
    """Return one value for every number of a row, channel after channel: a loop over three channels is much slower."""
    return torch.tensor(values, dtype=torch.float32, device=rows.device).repeat(rows.shape[1] // len(values))
