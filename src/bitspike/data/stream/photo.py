"""One photo that is asked for, and what a reader has to make of it."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from bitspike.data.images.crop import Draws, Window, middle
from bitspike.data.images.image_file import (
    DEEP,
    SHALLOW,
    STILL,
    is_turned,
    pixels,
    unusable,
    upright,
    upright_size,
)
from bitspike.data.images.listing import Listing
from bitspike.errors import DataError


@dataclass(frozen=True)
class Form:
    """What every photo becomes.

    Args:
        size: rows and columns of the image.
        shorter: what the shorter side of a photo becomes where its middle is taken, at least ``size``.
        channels: 1 for gray, 3 for color.
    """

    size: int
    shorter: int
    channels: int


@dataclass(frozen=True, eq=False, slots=True)
class Photo:
    """A file, and which part of it is wanted.

    Args:
        listing, index: the file.
        place: its place in the epoch.
        draws: draw the part; None takes the middle.
    """

    listing: Listing
    index: int
    place: int
    draws: Draws | None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.listing.path(self.index)

    def window(self, height: int, width: int, form: Form) -> Window:
        """Return the part of the photo, whose sides are known by now."""
        if self.draws is None:
            return middle(height, width, shorter=form.shorter, size=form.size)
        return self.draws.window(self.place, height, width, form.size)


class Reader(Protocol):
    """Reads photos from disk, ahead of their use."""

    @property
    def name(self) -> str:
        """The word for it."""

    def read(
        self, batches: Iterable[Sequence[Photo]], form: Form, *, workers: int, device: torch.device
    ) -> Generator[Tensor, None, None]:
        """Yield each batch: uint8 [n, size, size, channels], on the CPU or already on the device.

        Raises:
            DataError: a file is missing, damaged, an animation or of more than 8 bits a channel; it is named.
        """


def plain(image: Image.Image, form: Form) -> bool:
    """Tell whether any JPEG decoder gives what Pillow gives: 8 bits, gray or color, upright; and color is wanted."""
    return form.channels == 3 and image.format == "JPEG" and image.mode in ("L", "RGB") and not is_turned(image)


def content_of(path: Path) -> bytes:
    """Return the bytes of a file.

    Raises:
        DataError: it cannot be read, for instance because it was deleted after the set was listed.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path.absolute()} was listed and cannot be read: {error.strerror}",
            fix="leave the set as it is while a network trains, or start again",
        ) from None


def size_of(path: Path, image: Image.Image) -> tuple[int, int]:
    """Return height and width of an opened photo when it stands upright.

    Raises:
        DataError: a part of it would be lost as one frame of 8 bits a channel.
    """
    if (lost := unusable(image)) is not None:
        raise DataError(
            f"{path.absolute()} is {lost}, and an image is one frame of 8 bits a channel",
            fix=SHALLOW if lost.startswith(DEEP) else STILL,
        )
    width, height = upright_size(image)
    return height, width


def decoded(image: Image.Image, form: Form) -> Tensor:
    """Return an opened photo upright, as Pillow decodes it: uint8 [H, W, C]."""
    return torch.from_numpy(np.array(pixels(upright(image, form.channels), form.channels)))


def look(photo: Tensor, window: Window, form: Form) -> Tensor:
    """Resize a box of a photo by triangular interpolation, and cut the image out of it.

    The filter widens with the reduction, so that every pixel of the box counts and none around it does.

    Args:
        photo: uint8 [H, W, C].

    Returns:
        uint8 [size, size, C], a view.
    """
    top, left, height, width, scaled, (row, column) = window
    part = photo[top : top + height, left : left + width].permute(2, 0, 1)[None]
    if scaled != (height, width):
        part = F.interpolate(part, size=scaled, mode="bilinear", antialias=True)
    image = part[0, :, row : row + form.size, column : column + form.size]
    return image.permute(1, 2, 0)
