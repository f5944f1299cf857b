"""Which part of a photo becomes an image of a fixed size: a random box of it, or its middle."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import ConstraintError

_TRIES = 100


class Window(NamedTuple):
    """A box of a photo, in pixels; it is resized, and the image is cut out of the result.

    Args:
        top, left, height, width: the box.
        scaled: rows and columns that the box is resized to.
        corner: row and column of the result at which the image begins.
    """

    top: int
    left: int
    height: int
    width: int
    scaled: tuple[int, int]
    corner: tuple[int, int] = (0, 0)


@checked
@dataclass(frozen=True)
class RandomCrop:
    """Cut a random box out of a photo and resize it, while the photo is read: for sets that are read from disk.

    The area of the box is uniform within ``area`` times that of the photo, and the logarithm of its width over height
    within ``aspect``. Boxes that do not fit are drawn again, at most 100 times; then the largest box in the middle
    whose shape is allowed is taken. Every place of a box that fits is equally likely.

    Args:
        area: smallest and largest share, above 0 and at most 1.
        aspect: smallest and largest width over height, above 0.

    Raises:
        ConstraintError: a value outside these ranges.

    Example:
        >>> RandomCrop().box(375, 500, np.random.default_rng(0))
        (0, 2, 374, 338)

    Source: Szegedy et al., CVPR 2015, arXiv 1409.4842, section 6, with the aspects of Hu et al. 2023 (Fast-SNN).
    """

    area: tuple[float, float] = (0.1, 1.0)
    aspect: tuple[float, float] = (0.8, 1.25)

    def __post_init__(self) -> None:
        low, high = self.area
        if not 0 < low <= high <= 1:
            raise ConstraintError(
                f"RandomCrop(area={self.area}): shares above 0 and at most 1, the smaller first", fix="area=(0.1, 1.0)"
            )
        narrow, wide = self.aspect
        if not 0 < narrow <= wide < math.inf:
            raise ConstraintError(
                f"RandomCrop(aspect={self.aspect}): widths over heights above 0, the smaller first",
                fix="aspect=(0.8, 1.25)",
            )

    def box(self, height: int, width: int, generator: np.random.Generator) -> tuple[int, int, int, int]:
        """Return top, left, height and width of a random box.

        Args:
            height, width: of the photo, in pixels.
            generator: four of its numbers are used for every try.
        """
        low, high = self.area
        narrow, wide = math.log(self.aspect[0]), math.log(self.aspect[1])
        for _ in range(_TRIES):
            share, shape, down, along = generator.random(4)
            area = height * width * (low + (high - low) * share)
            ratio = math.exp(narrow + (wide - narrow) * shape)
            rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < rows <= height and 0 < columns <= width:
                return int(down * (height - rows + 1)), int(along * (width - columns + 1)), rows, columns
        ratio = min(max(width / height, self.aspect[0]), self.aspect[1])
        rows, columns = min(height, max(1, round(width / ratio))), min(width, max(1, round(height * ratio)))
        return (height - rows) // 2, (width - columns) // 2, rows, columns


@dataclass(frozen=True)
class Draws:
    """The random boxes of one epoch: each depends on the seed, the epoch and the place in the epoch alone.

    Args:
        crop: what is drawn.
        seed, epoch: at least 0.
    """

    crop: RandomCrop
    seed: int
    epoch: int

    @cached_property
    def _key(self) -> np.ndarray:
        return np.random.SeedSequence([self.seed, self.epoch, 2]).generate_state(2, np.uint64)

    def window(self, place: int, height: int, width: int, size: int) -> Window:
        """Return the box of a photo of these sides, whose place in the epoch is ``place``, resized to a square."""
        # Philox counts: every place has numbers of its own, and none has to be drawn before it.
        generator = np.random.Generator(np.random.Philox(key=self._key, counter=[0, 0, 0, place]))
        return Window(*self.crop.box(height, width, generator), (size, size))


def middle(height: int, width: int, *, shorter: int, size: int) -> Window:
    """Return the square in the middle of a photo whose shorter side is resized first.

    Args:
        height, width: of the photo, in pixels.
        shorter: what its shorter side becomes; the longer one keeps the proportions and is rounded down.
        size: side of the square, at most ``shorter``.

    Example:
        >>> middle(375, 500, shorter=256, size=224)
        Window(top=0, left=0, height=375, width=500, scaled=(256, 341), corner=(16, 58))

    Source: the evaluation of torchvision's references, Resize and CenterCrop.
    """
    least = min(height, width)
    rows, columns = height * shorter // least, width * shorter // least
    return Window(0, 0, height, width, (rows, columns), (round((rows - size) / 2), round((columns - size) / 2)))
