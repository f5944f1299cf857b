"""Tiny-ImageNet: 100,000 training and 10,000 validation photos of 64x64 pixels in 200 classes, in their own folders.

ROOT/tiny-imagenet-200/wnids.txt                    a class a line
                       words.txt                    class, tab, its names
                       train/CLASS/images/FILE
                       val/images/FILE
                       val/val_annotations.txt      file, tab, class, and a box
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from bitspike.data.images.folders import Form, decoded
from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.info import DatasetInfo, Request
from bitspike.data.images.pixels import PixelGrid
from bitspike.errors import DataError, some
from bitspike.places import as_lines, damaged, places, reason, unpacked

FOLDER = "tiny-imagenet-200"
_ARCHIVE = f"unpack {FOLDER}.zip of Stanford's course CS231n"
_FORM = Form(height=64, width=64, channels=3, convert=True)


def _read(info: DatasetInfo, request: Request) -> ImageSet:
    """Read one split; the validation photos are that for tests: the labels of the test photos are not public."""
    if request.download:
        raise DataError(f"{info.name!r} is not downloaded by bitspike", fix=f"{_ARCHIVE}, and leave download out")
    root = _find(info, request)
    classes = _classes(root)
    files, labels = _training(root, classes) if request.split == "train" else _validation(root, classes)
    images, problems = decoded(files, _FORM)
    if problems:
        shown = some([f"{path.name}: {what}" for path, what in problems])
        raise DataError(f"{root.absolute()}: images are not 64x64 of 8 bits a channel: {shown}", fix=_ARCHIVE)
    return ImageSet(images, torch.tensor(labels), _names(root, classes), info.name)


def _find(info: DatasetInfo, request: Request) -> Path:
    """Return the folder that holds the set: one of the usual places, or the folder in it that the archive makes."""
    looked = places(request.root)
    root = unpacked(looked, FOLDER, "wnids.txt")
    if root is None:
        lines = as_lines([folder / part for folder in looked for part in (FOLDER, "")])
        raise DataError(
            "\n".join([f"the data set {info.name!r} was not found; no wnids.txt in", *lines]),
            fix=f"{_ARCHIVE}, and name the folder that holds it: root=FOLDER",
        )
    return root


def _lines(path: Path) -> list[list[str]]:
    """Return the fields of the lines of a table."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise damaged(path, reason(error), fix=_ARCHIVE) from None
    return [line.split("\t") for line in text.splitlines() if line.strip()]


def _classes(root: Path) -> list[str]:
    """Return the classes in alphabetical order, as their folders are."""
    listed = [line[0].strip() for line in _lines(root / "wnids.txt")]
    twice = [name for name, times in Counter(listed).items() if times > 1]
    if twice or not listed:
        said = f"has classes twice: {some(twice)}" if twice else "names no class"
        raise damaged(root / "wnids.txt", said, fix=_ARCHIVE)
    return sorted(listed)


def _names(root: Path, classes: Sequence[str]) -> tuple[str, ...]:
    """Return the first English name of each class; two classes of one name, and those without, keep their number."""
    path = root / "words.txt"
    words = {line[0]: line[1].split(",")[0].strip() for line in _lines(path) if len(line) > 1} if path.exists() else {}
    first = [words.get(name) or name for name in classes]
    times = Counter(first)
    return tuple(name if times[said] > 1 else said for name, said in zip(classes, first, strict=True))


def _training(root: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    files, labels = [], []
    for label, name in enumerate(classes):
        there = _photos(root / "train" / name / "images")
        files += there
        labels += [label] * len(there)
    return files, labels


def _validation(root: Path, classes: Sequence[str]) -> tuple[list[Path], list[int]]:
    table, there = root / "val" / "val_annotations.txt", _photos(root / "val" / "images")
    lines, number = _lines(table), {name: label for label, name in enumerate(classes)}
    short = next((line for line in lines if len(line) < 2), None)
    if short is not None:
        raise damaged(table, f"the line {short[0]!r} names no class", fix=_ARCHIVE)
    strange = sorted({line[1] for line in lines} - set(number))
    if strange:
        raise damaged(table, f"names classes that wnids.txt has not: {some(strange)}", fix=_ARCHIVE)
    labels, names = {line[0]: number[line[1]] for line in lines}, {path.name for path in there}
    without, absent = sorted(names - set(labels)), sorted(set(labels) - names)
    if without or absent or len(labels) < len(lines):
        problems = [f"no line for {some(without)}"] * bool(without) + [f"no file for {some(absent)}"] * bool(absent)
        raise damaged(table, "; ".join(problems) or "names a file twice", fix=_ARCHIVE)
    return there, [labels[path.name] for path in there]


def _photos(folder: Path) -> list[Path]:
    """Return the files of a folder by name; those that begin with a dot are not looked at."""
    try:
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder.absolute()}: {reason(error)}", fix=_ARCHIVE) from None
    if not files:
        raise DataError(f"{folder.absolute()} holds no images", fix=_ARCHIVE)
    return files


SETS = (
    DatasetInfo(
        name="tiny_imagenet",
        title="Tiny-ImageNet",
        shape=(64, 64, 3),
        classes=None,
        # Deviations of the color channels are close to 64 pixels; the offsets are the rounded means.
        pixel_grid=PixelGrid(scale=2**-6, offset=(122, 114, 101)),
        source="Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, Stanford CS231n, 2015; for research",
        read=_read,
        class_count=200,
    ),
)
