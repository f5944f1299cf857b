"""What is known of an image set before it is read, and what is asked of its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bitspike.data.images.images import Images
from bitspike.data.images.pixels import Normalization, PixelGrid
from bitspike.ops.grids import Grid


@dataclass(frozen=True)
class Request:
    """One split of a set, as it was asked for.

    :func:`bitspike.data.load` says what the fields mean, and :func:`bitspike.data.open_photos` those of photos.
    """

    split: str
    root: str | Path | None = None
    download: bool = False
    size: int | tuple[int, int] | None = None
    channels: int | None = None
    resize: int | None = None
    reader: str = "auto"
    workers: int | None = None


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
        streamed: whether its images are read from disk when they are needed.
        class_count: how many classes there are, where the files say no more than their names.
    """

    name: str
    title: str
    shape: tuple[int, int, int] | None
    classes: tuple[str, ...] | None
    pixel_grid: PixelGrid | Normalization
    source: str
    read: Callable[[DatasetInfo, Request], Images] = field(repr=False)
    high_pixel: int = 255
    streamed: bool = False
    class_count: int | None = None

    @property
    def grid(self) -> Grid | None:
        """The integer grid of the inputs that ``pixel_grid`` makes, where they lie on one."""
        grid = self.pixel_grid
        return grid.grid(self.high_pixel) if isinstance(grid, PixelGrid) else grid.grid
