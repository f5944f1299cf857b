"""One image file: opened with care, and brought to upright bytes of gray or color."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from bitspike.errors import DataError
from bitspike.places import damaged, reason

DEEP, MOVING = "more than 8 bits a channel", "an animation"
SHALLOW = (
    "bring 16-bit images to 8 bits in a copy of the set, with what range of values is right for them: "
    "Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).save(path)"
)
STILL = "save the frame that counts: image.seek(0); image.save(path)"
_GRAY, _COLOR = (
    frozenset({"1", "L", "LA", "La"}),
    frozenset({"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr"}),
)
_ORIENTATION = 0x0112  # the EXIF tag
_SIDEWAYS = (5, 6, 7, 8)
_SIXTEEN = re.compile(r";16[BLN]")
"""In Pillow's names of raw modes, such as RGB;16B; BGR;16 of a BMP has 5 or 6 bits a channel."""
_MOST_PIXELS = 1 << 26
_REPLACE = "replace the file, or delete it"


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """Open an image whose header claims what a file of its size can hold; the block decodes its pixels.

    Args:
        path: of the file.
        content: its bytes, where they were read already.

    Raises:
        DataError: it claims more pixels than are read, or a chunk that is longer than the file; or it is damaged, which
            shows here or in the block.
    """
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            size = path.stat().st_size if content is None else len(content)
            if (claim := _claim(file, size)) is not None:
                raise damaged(path, claim, fix=_REPLACE)
            file.seek(0)
            with Image.open(file) as image:
                if image.width * image.height > _MOST_PIXELS:
                    raise DataError(
                        f"{path.absolute()} claims {image.width} x {image.height} pixels, "
                        f"at most {_MOST_PIXELS:,} are read",
                        fix="replace the file by a smaller one, or delete it",
                    )
                yield image
    except DataError:
        raise
    except UnidentifiedImageError:
        raise damaged(path, "not an image that Pillow knows", fix=_REPLACE) from None
    except Exception as error:  # noqa: BLE001  Pillow's codecs raise errors of nearly every kind for broken files
        raise damaged(path, reason(error), fix=_REPLACE) from None


def _claim(file: IO[bytes], size: int) -> str | None:
    """Return what a PNG file claims and cannot hold: a chunk that reaches beyond its end, before Pillow believes it."""
    if file.read(8) != b"\x89PNG\r\n\x1a\n":
        return None
    while len(head := file.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        if file.tell() + length + 4 > size:
            return f"its chunk {name!r} claims {length:,} bytes, the file has {size:,}"
        if name == b"IEND":
            return None
        file.seek(length + 4, os.SEEK_CUR)
    return None


def unusable(image: Image.Image) -> str | None:
    """Say what would be lost of an image as one frame of 8 bits a channel, or nothing."""
    if image.mode not in _GRAY | _COLOR or _has_deep_samples(image):
        return f"{DEEP} (mode {image.mode})"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # a photo's MPO has previews after it
        return f"{MOVING} of {image.n_frames} frames"  # type: ignore[attr-defined]
    return None


def _has_deep_samples(image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel that Pillow is about to cut to 8."""
    return any(_SIXTEEN.search(str(tile[3])) for tile in getattr(image, "tile", None) or ())


def is_gray(image: Image.Image) -> bool:
    """Tell whether an image has one channel, apart from transparency."""
    return image.mode in _GRAY


def is_turned(image: Image.Image) -> bool:
    """Tell whether the EXIF orientation asks for the image to be turned or mirrored."""
    return bool(image.getexif().get(_ORIENTATION, 1) != 1)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image when it is turned as its EXIF orientation says."""
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (width, height)


def upright(image: Image.Image, channels: int) -> Image.Image:
    """Return an image as its EXIF orientation says, gray (1 channel) or color (3), without transparency."""
    if is_turned(image):
        image = ImageOps.exif_transpose(image)
    if image.mode in ("P", "PA"):  # a palette may hold transparency, which has to be unpacked to be dropped
        image = image.convert("RGBA")
    return image.convert("L" if channels == 1 else "RGB")


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """Return an image as uint8 [H, W, C]."""
    return np.asarray(image).reshape(image.height, image.width, channels)
