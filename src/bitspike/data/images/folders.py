"""Image sets that are folders: ROOT/{train,test}/<class>/<image>."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from bitspike.data.images.places import damaged, reason
from bitspike.errors import ConstraintError, DataError

LAYOUT = "{train,test}/<class>/<image>"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
_GRAY, _COLOR = (
    frozenset({"1", "L", "LA", "La"}),
    frozenset({"RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr"}),
)
_ORIENTATION = 0x0112  # the EXIF tag
_CHUNK = 256  # files per task of the pool: small images decode faster than a task is handed over


@dataclass(frozen=True)
class Form:
    """What every image of a set is brought to, or must already have.

    Args:
        height, width: in pixels.
        channels: 1 for gray, 3 for color.
        resize: crop the middle to the right proportions and resize; otherwise the size must be right.
        convert: turn gray to color or color to gray; otherwise it must be right.
    """

    height: int
    width: int
    channels: int
    resize: bool = False
    convert: bool = False


def read_folders(
    root: Path, split: str, *, size: int | tuple[int, int] | None = None, channels: int | None = None
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Decode one split into memory, on several threads.

    The folders of the training split are the classes, in alphabetical order. All images of both splits must have the
    size and the number of channels of the first training image, unless ``size`` and ``channels`` say what to make of
    them. Every image becomes 8 bits a channel as Pillow converts it: palettes and CMYK become color, 1 bit becomes 0
    and 255, transparency is dropped, and a photo is turned as its EXIF orientation says. Images of more than 8 bits a
    channel and animations are refused, since a part of them would be lost.

    Args:
        root: the folder that holds ``train`` and ``test``.
        split, size, channels: as of :func:`bitspike.data.load`.

    Returns:
        images uint8 [N, H, W, C] ordered by class and file name, labels int64 [N], the names of the classes.

    Raises:
        ConstraintError: ``size`` or ``channels`` is not allowed.
        DataError: a folder is missing or empty, an image is damaged, the images are not alike, or one of them has more
            than 8 bits a channel or several frames.
    """
    if channels not in (None, 1, 3):
        raise ConstraintError(f"channels={channels}: 1 for gray, 3 for color, or None", fix="channels=3")
    train = _list(root, "train")
    files = train if split == "train" else _list(root, split)
    strange = sorted(set(files) - set(train))
    if strange:
        raise DataError(
            f"{(root / split).absolute()} has classes that {(root / 'train').absolute()} has not: {', '.join(strange)}",
            fix="give both splits the same class folders",
        )
    classes = tuple(train)
    form = _form(next(iter(train.values()))[0], size, channels)
    paths = [path for name in classes for path in files.get(name, ())]
    labels = [label for label, name in enumerate(classes) for _ in files.get(name, ())]
    images = np.empty((len(paths), form.height, form.width, form.channels), dtype=np.uint8)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        tasks = range(0, len(paths), _CHUNK)
        parts = pool.map(lambda start: _decode_into(images, paths, start, form), tasks)
        problems = [problem for part in parts for problem in part]
    if problems:
        raise _mixed(root / split, problems, len(paths), form)
    return torch.from_numpy(images), torch.tensor(labels, dtype=torch.int64), classes


def _list(root: Path, split: str) -> dict[str, list[Path]]:
    """Return the image files of every class, all sorted; what begins with a dot is not looked at."""
    folder = root / split
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
        classes = {
            entry.name: sorted(path for path in entry.iterdir() if not path.name.startswith("."))
            for entry in entries
            if entry.is_dir()
        }
    except OSError as error:
        raise DataError(
            f"{error.filename or folder.absolute()}: {reason(error)}; expected is {root.absolute()}/{LAYOUT}",
            fix="name the folder that holds 'train' and 'test'",
        ) from None
    if not classes:
        raise DataError(f"{folder.absolute()} holds no class folders", fix=f"lay the images out as {LAYOUT}")
    for name, paths in classes.items():
        if not paths:
            raise DataError(f"{(folder / name).absolute()} holds no images", fix="fill the class or delete its folder")
        other = next((path for path in paths if path.suffix.lower() not in SUFFIXES), None)
        if other is not None:
            raise DataError(
                f"{other.absolute()} is not an image; allowed are {' '.join(sorted(SUFFIXES))}", fix="move it elsewhere"
            )
    return classes


def _form(first: Path, size: int | tuple[int, int] | None, channels: int | None) -> Form:
    with _opened(first) as image:
        width, height = _upright_size(image)
        own = 1 if image.mode in _GRAY else 3
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1:
            raise ConstraintError(
                f"size={size}: height and width of at least 1 are needed", fix="size=32, or (height, width)"
            )
    return Form(height, width, channels or own, resize=size is not None, convert=channels is not None)


_MOST_PIXELS = 1 << 26
_REPLACE = "replace the file, or delete it"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image whose header claims what a file of its size can hold; the block decodes its pixels.

    Raises:
        DataError: it claims more pixels than are read, or a chunk that is longer than the file; or it is damaged, which
            shows here or in the block.
    """
    try:
        if (claim := _claim(path)) is not None:
            raise damaged(path, claim, fix=_REPLACE)
        with Image.open(path) as image:
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


def _claim(path: Path) -> str | None:
    """Return what a PNG file claims and cannot hold: a chunk that reaches beyond its end, before Pillow believes it."""
    size = path.stat().st_size
    with path.open("rb") as file:
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


def _decode_into(images: np.ndarray, paths: Sequence[Path], start: int, form: Form) -> list[tuple[Path, str]]:
    """Decode some files into their rows; return those that have another form, with what they have."""
    problems = []
    for index in range(start, min(start + _CHUNK, len(paths))):
        path = paths[index]
        with _opened(path) as image:
            problem = _misfit(image, form)
            if problem is None:
                images[index] = _bring(image, form)
            else:
                problems.append((path, problem))
    return problems


def _misfit(image: Image.Image, form: Form) -> str | None:
    """Say what an image is where it differs from the form, or nothing."""
    if image.mode not in _GRAY | _COLOR or _has_deep_samples(image):
        return f"{_DEEP} (mode {image.mode})"
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # a photo's MPO has previews after it
        return f"{_MOVING} of {image.n_frames} frames"  # type: ignore[attr-defined]
    gray = image.mode in _GRAY
    if not form.convert and gray != (form.channels == 1):
        return "gray" if gray else "color"
    width, height = _upright_size(image)
    if not form.resize and (width, height) != (form.width, form.height):
        return f"{height}x{width}"
    return None


_DEEP, _MOVING = "more than 8 bits a channel", "an animation"
_SIDEWAYS = (5, 6, 7, 8)
_SIXTEEN = re.compile(r";16[BLN]")
"""In Pillow's names of raw modes, such as RGB;16B; BGR;16 of a BMP has 5 or 6 bits a channel."""


def _has_deep_samples(image: Image.Image) -> bool:
    """Tell whether the file holds 16 bits a channel that Pillow is about to cut to 8."""
    return any(_SIXTEEN.search(str(tile[3])) for tile in getattr(image, "tile", None) or ())


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an image when it is turned as its EXIF orientation says."""
    width, height = image.size
    return (height, width) if image.getexif().get(_ORIENTATION) in _SIDEWAYS else (width, height)


def _bring(image: Image.Image, form: Form) -> np.ndarray:
    """Return an image as uint8 [H, W, C]."""
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if image.mode in ("P", "PA"):  # a palette may hold transparency, which has to be unpacked to be dropped
        image = image.convert("RGBA")
    image = image.convert("L" if form.channels == 1 else "RGB")
    if form.resize:
        factor = min(image.width / form.width, image.height / form.height)
        width, height = max(1, round(form.width * factor)), max(1, round(form.height * factor))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Pillow's own box= would let the filter read beyond the crop.
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((form.width, form.height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(form.height, form.width, form.channels)


def _mixed(folder: Path, problems: list[tuple[Path, str]], total: int, form: Form) -> DataError:
    wanted = f"{form.height}x{form.width} {'gray' if form.channels == 1 else 'color'}"
    shown = [f"    {path.parent.name}/{path.name}: {what}" for path, what in problems[:5]]
    more = [f"    and {len(problems) - 5} more"] if len(problems) > 5 else []
    where = f"{len(problems)} of {total} images in {folder.absolute()}"
    if all(what.startswith(_DEEP) for _, what in problems):
        head, fix = f"{where} have {_DEEP}, and images are read as 8 bits", _SHALLOW
    elif all(what.startswith(_MOVING) for _, what in problems):
        head, fix = f"{where} are animations, and an image is one frame", _STILL
    else:
        head = f"{where} are not {wanted} as the first one of 'train'"
        fix = "size=32 crops and resizes all images, channels=1 or channels=3 turns all to gray or to color"
        deep = any(what.startswith(_DEEP) for _, what in problems)
        moving = any(what.startswith(_MOVING) for _, what in problems)
        fix = "; ".join([fix, *([_SHALLOW] if deep else []), *([_STILL] if moving else [])])
    return DataError("\n".join([head, *shown, *more]), fix=fix)


_SHALLOW = (
    "bring 16-bit images to 8 bits in a copy of the set, with what range of values is right for them: "
    "Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).save(path)"
)
_STILL = "save the frame that counts: image.seek(0); image.save(path)"
