"""The files of an image set in class folders, ROOT/<split>/<class>/<image>: listed by name, and none is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.places import reason

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
SPLITS = ("train", "test")
"""The usual names of the two splits; the first one names the classes."""


def layout(splits: tuple[str, str] = SPLITS) -> str:
    """Return how a set lies in its folder, for messages.

    Example:
        >>> layout()
        '{train,test}/<class>/<image>'
    """
    return f"{{{','.join(splits)}}}/<class>/<image>"


@dataclass(frozen=True, eq=False)
class Listing:
    """The image files of one split, ordered by class and file name.

    Names are kept in one block of bytes, so that a million files need some 30 MB.

    Args:
        folder: of the split.
        classes: names of the classes: the class folders of the training split, in alphabetical order.
        labels: int64 [N], the class of each file.
        names: all file names one after the other, a zero byte after each.
        ends: int64 [N], where these zero bytes are.
    """

    folder: Path
    classes: tuple[str, ...]
    labels: Tensor
    names: bytes
    ends: np.ndarray

    def __len__(self) -> int:
        return len(self.ends)

    def path(self, index: int) -> Path:
        """Return the file at a position from 0 to N - 1."""
        start = int(self.ends[index - 1]) + 1 if index else 0
        name = os.fsdecode(self.names[start : int(self.ends[index])])
        return self.folder / self.classes[int(self.labels[index])] / name


def list_images(root: Path, split: str, *, splits: tuple[str, str] = SPLITS) -> Listing:
    """List the images of one split.

    What begins with a dot is not looked at. A class folder of the training split may be missing in the other one.

    Args:
        root: the folder that holds both splits.
        split: the one to list.
        splits: their names, that of the training split first.

    Raises:
        DataError: a folder is missing or holds nothing, a file is no image by its name, or the other split has a class
            that the training split has not.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     for file in ("train/dog/1.png", "train/cat/1.png", "test/dog/2.png", "test/dog/10.png"):
        ...         (Path(place) / file).parent.mkdir(parents=True, exist_ok=True)
        ...         (Path(place) / file).touch()
        ...     listing = list_images(Path(place), "test")
        >>> listing.classes, listing.labels.tolist(), [listing.path(i).name for i in range(len(listing))]
        (('cat', 'dog'), [1, 1], ['10.png', '2.png'])
    """
    classes = _classes(root, splits[0], splits)
    present = classes if split == splits[0] else _classes(root, split, splits)
    refuse_strange(root / split, present, root / splits[0], classes)
    there = set(present)
    files = [_files(root, root / split / name, splits) if name in there else [] for name in classes]
    names = b"".join(os.fsencode("\0".join(some)) + b"\0" for some in files if some)
    labels = np.repeat(np.arange(len(classes)), [len(some) for some in files])
    ends = np.flatnonzero(np.frombuffer(names, np.uint8) == 0)
    return Listing(root / split, tuple(classes), torch.from_numpy(labels), names, ends)


def class_folders(split: Path) -> list[str]:
    """Return the names of the class folders of a split, in alphabetical order; those that begin with a dot are none.

    Raises:
        OSError: the folder of the split is not there, or cannot be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     for name in ("dog", "cat", ".ipynb_checkpoints"):
        ...         (Path(place) / name).mkdir()
        ...     class_folders(Path(place))
        ['cat', 'dog']
    """
    with os.scandir(split) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def refuse_strange(split: Path, present: Sequence[str], train: Path, classes: Sequence[str]) -> None:
    """Check that a split has no class that the training split has not.

    Args:
        split: its folder.
        present: its classes.
        train: the folder of the training split.
        classes: those of the training split.

    Raises:
        DataError: it has some.
    """
    strange = sorted(set(present) - set(classes))
    if strange:
        raise DataError(
            f"{split.absolute()} has classes that {train.absolute()} has not: {', '.join(strange)}",
            fix="give both splits the same class folders",
        )


def _classes(root: Path, split: str, splits: tuple[str, str]) -> list[str]:
    """Return the class folders of a split, of which there is at least one."""
    folder = root / split
    try:
        classes = class_folders(folder)
    except OSError as error:
        raise _unreadable(error, folder, root, splits) from None
    if not classes:
        raise DataError(f"{folder.absolute()} holds no class folders", fix=f"lay the images out as {layout(splits)}")
    return classes


def _files(root: Path, folder: Path, splits: tuple[str, str]) -> list[str]:
    """Return the names of the images in a class folder, sorted."""
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208  names alone
    except OSError as error:
        raise _unreadable(error, folder, root, splits) from None
    if not names:
        raise DataError(f"{folder.absolute()} holds no images", fix="fill the class or delete its folder")
    other = next((name for name in names if os.path.splitext(name)[1].lower() not in SUFFIXES), None)  # noqa: PTH122
    if other is not None:
        raise DataError(
            f"{(folder / other).absolute()} is not an image; allowed are {' '.join(sorted(SUFFIXES))}",
            fix="move it elsewhere",
        )
    return names


def _unreadable(error: OSError, folder: Path, root: Path, splits: tuple[str, str]) -> DataError:
    return DataError(
        f"{error.filename or folder.absolute()}: {reason(error)}; expected is {root.absolute()}/{layout(splits)}",
        fix=f"name the folder that holds {splits[0]!r} and {splits[1]!r}",
    )
