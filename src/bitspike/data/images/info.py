"""What is known of an image set before it is read, and what is asked of its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.pixels import PixelGrid
from bitspike.ops.grids import Grid


@dataclass(frozen=True)
class Request:
    """One split of a set, as :func:`bitspike.data.load` was asked for it; its docstring says what each field means."""

    split: str
    root: str | Path | None = None
    download: bool = False
    size: int | tuple[int, int] | None = None
    channels: int | None = None


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a set before it is read.

    Args:
        name: as in recipes.
        title: for people.
        shape: rows, columns and channels of an image; None where the files decide.
        classes: names of the classes; None where the files decide.
        pixel_grid: what turns pixels into inputs; recipes have the same as their default, which a test compares.
        source: who made it, and under which terms it may be used.
        read: reads the split that a request names.
        high_pixel: the largest pixel.
    """

    name: str
    title: str
    shape: tuple[int, int, int] | None
    classes: tuple[str, ...] | None
    pixel_grid: PixelGrid
    source: str
    read: Callable[[DatasetInfo, Request], ImageSet] = field(repr=False)
    high_pixel: int = 255

    @property
    def grid(self) -> Grid:
        """The integer grid of the inputs that ``pixel_grid`` makes."""
        return self.pixel_grid.grid(self.high_pixel)
