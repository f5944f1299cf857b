"""Augmentations of whole batches of bytes.

An augmentation states how many outcomes each of its random choices has, and changes images by outcomes that were drawn
for them. What happens to an image therefore depends on the seed, the epoch and its place in the epoch, and neither on
the size of the batch, nor on the number of processes, nor on the device. Anything with these two members is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.data.events.augment import SomeFrames
from bitspike.errors import ConstraintError


class Augmentation(Protocol):
    """Change images at random, many at a time."""

    @property
    def choices(self) -> tuple[int, ...]:
        """The number of possible outcomes, equally likely, of each of the K choices made for one image."""

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        """Return changed images.

        Args:
            images: uint8 [N, H, W, C]; not written to.
            chosen: int64 [N, K], column k from 0 to ``choices[k] - 1``, on the same device.
            blank: the pixel that means nothing, one or C values: the one that becomes input 0.
        """


def choose(augmentation: Augmentation, count: int, generator: torch.Generator) -> Tensor:
    """Make the choices of ``count`` images on the CPU: int64 [count, K].

    Example:
        >>> choose(Flip(), 3, torch.Generator().manual_seed(0)).shape
        torch.Size([3, 1])
    """
    columns = [torch.randint(0, n, (count,), generator=generator) for n in augmentation.choices]
    return torch.stack(columns, dim=1) if columns else torch.zeros((count, 0), dtype=torch.int64)


@checked
@dataclass(frozen=True)
class Shift:
    """Move every image by up to ``pixels`` in each direction; for 32x32 images and 4, crop with padding.

    Args:
        pixels: largest move, at least 1. Rows and columns move independently, every distance equally likely.
        fill: what comes in at the border, 0 to 255: a number, one for each channel, or None for the pixel that becomes
            input 0.

    Raises:
        ConstraintError: a value outside these ranges.

    Example:
        >>> image = torch.arange(1, 5, dtype=torch.uint8).view(1, 2, 2, 1)
        >>> Shift(1).apply(image, torch.tensor([[0, 2]]), blank=(9,)).view(2, 2).tolist()  # down, left
        [[9, 9], [2, 9]]
    """

    pixels: int
    fill: int | tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not (isinstance(self.pixels, int) and self.pixels >= 1):
            raise ConstraintError(
                f"Shift(pixels={self.pixels!r}): a whole number of at least 1 is needed", fix="Shift(1)"
            )
        fill = () if self.fill is None else self.fill if isinstance(self.fill, tuple) else (self.fill,)
        if any(not isinstance(f, int) or not 0 <= f <= 255 for f in fill) or self.fill == ():
            raise ConstraintError(f"Shift(fill={self.fill!r}): pixels from 0 to 255, or None", fix="Shift(1, fill=0)")

    @property
    def choices(self) -> tuple[int, ...]:
        return 2 * self.pixels + 1, 2 * self.pixels + 1

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        samples, height, width, channels = images.shape
        p = self.pixels
        fill = blank if self.fill is None else self.fill if isinstance(self.fill, tuple) else (self.fill,)
        if len(fill) not in (1, channels):
            raise ConstraintError(
                f"{self}: {len(fill)} values of fill for {channels} channels",
                fix="one value for all channels, or one for each",
            )
        # Copied row by row: filling channel by channel is ten times slower.
        row = images.new_tensor(fill).expand(width + 2 * p, channels).reshape(-1)
        padded = row.expand(samples, height + 2 * p, len(row)).contiguous()
        padded = padded.view(samples, height + 2 * p, width + 2 * p, channels)
        padded[:, p : p + height, p : p + width] = images
        # All windows as a view [N, 2p+1, 2p+1, H, W, C]; choosing one per image copies whole rows.
        windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
        return windows[torch.arange(samples, device=images.device), chosen[:, 0], chosen[:, 1]]


@checked
@dataclass(frozen=True)
class Flip:
    """Mirror half of the images, left to right. Not for digits and letters, whose mirror images are other signs.

    Example:
        >>> image = torch.arange(1, 5, dtype=torch.uint8).view(1, 2, 2, 1)
        >>> Flip().apply(image, torch.tensor([[1]]), blank=(0,)).view(2, 2).tolist()
        [[2, 1], [4, 3]]
    """

    @property
    def choices(self) -> tuple[int, ...]:
        return (2,)

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        where = torch.nonzero(chosen[:, 0])[:, 0]
        return images.index_copy(0, where, images.index_select(0, where).flip(2))


@checked
@dataclass(frozen=True, init=False)
class Compose:
    """Apply several augmentations, the first one first.

    Example:
        >>> Compose(Shift(4), Flip())
        Compose(steps=(Shift(pixels=4, fill=None), Flip()))
    """

    steps: tuple[Augmentation, ...]

    def __init__(self, *steps: Augmentation) -> None:
        object.__setattr__(self, "steps", steps)

    @property
    def choices(self) -> tuple[int, ...]:
        return tuple(n for step in self.steps for n in step.choices)

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        parts = torch.split(chosen, [len(step.choices) for step in self.steps], dim=1)
        for step, mine in zip(self.steps, parts, strict=True):
            images = _applied(step, images, mine, blank)
        return images


def _applied(step: Augmentation, images: Tensor, chosen: Tensor, blank: tuple[int, ...]) -> Tensor:
    """Apply an augmentation of images to images, or to recordings [N, T, H, W, C]: all frames change alike."""
    if images.dim() == 4 or isinstance(step, SomeFrames):
        return step.apply(images, chosen, blank=blank)
    samples, frames = images.shape[:2]
    changed = step.apply(images.flatten(0, 1), chosen.repeat_interleave(frames, 0), blank=blank)
    return changed.reshape(samples, frames, *changed.shape[1:])
