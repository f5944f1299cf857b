"""Image sets that are folders: ROOT/{train,test}/<class>/<image>."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from bitspike.data.images.image_file import (
    DEEP,
    MOVING,
    SHALLOW,
    STILL,
    is_gray,
    opened,
    pixels,
    unusable,
    upright,
    upright_size,
)
from bitspike.data.images.listing import layout, list_images
from bitspike.errors import ConstraintError, DataError

LAYOUT = layout()
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
    files = list_images(root, split)
    train = files if split == "train" else list_images(root, "train")
    form = _form(train.path(0), size, channels)
    images, problems = decoded([files.path(n) for n in range(len(files))], form)
    if problems:
        raise _mixed(root / split, problems, len(files), form)
    return images, files.labels, files.classes


def decoded(files: Sequence[Path], form: Form) -> tuple[Tensor, list[tuple[Path, str]]]:
    """Decode image files into memory, on several threads.

    Args:
        files: one for each image.
        form: what they are brought to.

    Returns:
        images uint8 [N, H, W, C], and the files that have another form, each with what it has; their pixels are unset.

    Raises:
        DataError: a file is damaged.
    """
    images = np.empty((len(files), form.height, form.width, form.channels), dtype=np.uint8)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        tasks = range(0, len(files), _CHUNK)
        parts = pool.map(lambda start: _decode_into(images, files, start, form), tasks)
        problems = [problem for part in parts for problem in part]
    return torch.from_numpy(images), problems


def _form(first: Path, size: int | tuple[int, int] | None, channels: int | None) -> Form:
    with opened(first) as image:
        width, height = upright_size(image)
        own = 1 if is_gray(image) else 3
    if size is not None:
        height, width = (size, size) if isinstance(size, int) else size
        if height < 1 or width < 1:
            raise ConstraintError(
                f"size={size}: height and width of at least 1 are needed", fix="size=32, or (height, width)"
            )
    return Form(height, width, channels or own, resize=size is not None, convert=channels is not None)


def _decode_into(images: np.ndarray, files: Sequence[Path], start: int, form: Form) -> list[tuple[Path, str]]:
    """Decode some files into their rows; return those that have another form, with what they have."""
    problems = []
    for index in range(start, min(start + _CHUNK, len(files))):
        path = files[index]
        with opened(path) as image:
            problem = _misfit(image, form)
            if problem is None:
                images[index] = _bring(image, form)
            else:
                problems.append((path, problem))
    return problems


def _misfit(image: Image.Image, form: Form) -> str | None:
    """Say what an image is where it differs from the form, or nothing."""
    if (lost := unusable(image)) is not None:
        return lost
    gray = is_gray(image)
    if not form.convert and gray != (form.channels == 1):
        return "gray" if gray else "color"
    width, height = upright_size(image)
    if not form.resize and (width, height) != (form.width, form.height):
        return f"{height}x{width}"
    return None


def _bring(image: Image.Image, form: Form) -> np.ndarray:
    """Return an image as uint8 [H, W, C]."""
    image = upright(image, form.channels)
    if form.resize:
        factor = min(image.width / form.width, image.height / form.height)
        width, height = max(1, round(form.width * factor)), max(1, round(form.height * factor))
        left, top = (image.width - width) // 2, (image.height - height) // 2
        # Pillow's own box= would let the filter read beyond the crop.
        image = image.crop((left, top, left + width, top + height))
        image = image.resize((form.width, form.height), Image.Resampling.BILINEAR)
    return pixels(image, form.channels)


def _mixed(folder: Path, problems: list[tuple[Path, str]], total: int, form: Form) -> DataError:
    wanted = f"{form.height}x{form.width} {'gray' if form.channels == 1 else 'color'}"
    shown = [f"    {path.parent.name}/{path.name}: {what}" for path, what in problems[:5]]
    more = [f"    and {len(problems) - 5} more"] if len(problems) > 5 else []
    where = f"{len(problems)} of {total} images in {folder.absolute()}"
    if all(what.startswith(DEEP) for _, what in problems):
        head, fix = f"{where} have {DEEP}, and images are read as 8 bits", SHALLOW
    elif all(what.startswith(MOVING) for _, what in problems):
        head, fix = f"{where} are animations, and an image is one frame", STILL
    else:
        head = f"{where} are not {wanted} as the first one of 'train'"
        sizes, colors = "size=32 (of a recipe: data.size=32)", "channels=3 (data.channels=3)"
        fix = f"{sizes} crops and resizes all images, {colors} or channels=1 turns all to color or to gray"
        deep = any(what.startswith(DEEP) for _, what in problems)
        moving = any(what.startswith(MOVING) for _, what in problems)
        fix = "; ".join([fix, *([SHALLOW] if deep else []), *([STILL] if moving else [])])
    return DataError("\n".join([head, *shown, *more]), fix=fix)
