"""MNIST, CIFAR-10 and CIFAR-100 as their authors publish them, through torchvision."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.places import damaged, reason


@dataclass(frozen=True)
class Archive:
    """An official archive.

    Args:
        kind: its class in ``torchvision.datasets``.
        folder: what it unpacks to.
        weight: what it weighs, in words.
        check: refuses a file of the folder that is not what its authors published, given the class and the folder.
    """

    kind: str
    folder: str
    weight: str
    check: Callable[[Any, Path], None]


def read_official(archive: Archive, root: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read one split of an unpacked official archive.

    Every file is checked before torchvision opens it, so that a message can name the one at fault.

    Returns:
        images uint8 [N, H, W, C], labels int64 [N].

    Raises:
        DataError: a file is missing or damaged.
    """
    kind = _dataset_class(archive)
    folder = root / archive.folder
    archive.check(kind, folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the archives are older than today's NumPy, which nobody here can mend
            dataset = kind(str(root), train=split == "train", download=False)
    except (OSError, RuntimeError, ValueError, AssertionError, EOFError, KeyError) as error:
        raise damaged(folder, reason(error), fix=_again(folder)) from None
    images = torch.from_numpy(np.ascontiguousarray(dataset.data, dtype=np.uint8))
    labels = torch.as_tensor(dataset.targets, dtype=torch.int64)
    return images if images.dim() == 4 else images[..., None], labels


def download_official(name: str, archive: Archive, root: Path) -> None:
    """Download and unpack an official archive into a folder; one that is there already is only unpacked.

    Raises:
        DataError: the network, the disk or the server said no.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with redirect_stdout(sys.stderr):  # stdout is for results
            _dataset_class(archive)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{name} could not be downloaded to {root.absolute()}: {reason(error)}",
            fix="the same again where there is a network, or after the archive was copied there by hand",
        ) from None


def _dataset_class(archive: Archive) -> Any:
    import torchvision  # takes a second, and most sets do without

    return getattr(torchvision.datasets, archive.kind)


def _again(path: Path) -> str:
    return f"delete {path.name} and pass download=True to fetch it again"


def check_idx_files(kind: Any, folder: Path) -> None:
    """Compare every file of MNIST with its own header: two zeros, 8 for bytes, the number of axes, their lengths."""
    for url, _ in kind.resources:
        path = folder / Path(url).stem
        axes = 3 if "images" in path.name else 1
        try:
            with path.open("rb") as file:
                head = file.read(4 + 4 * axes)
                size = path.stat().st_size
        except OSError as error:
            raise damaged(path, reason(error), fix="pass download=True to fetch or unpack it") from None
        if head[:4] != bytes([0, 0, 8, axes]) or len(head) < 4 + 4 * axes:
            raise damaged(path, f"it does not begin like an IDX file with {axes} axes", fix=_again(path))
        lengths = [int.from_bytes(head[4 * i : 4 * i + 4], "big") for i in range(1, axes + 1)]
        expected = len(head) + math.prod(lengths)
        if size != expected:
            raise damaged(path, f"{size} bytes long, its header says {expected}", fix=_again(path))


def check_sums(kind: Any, folder: Path) -> None:
    """Compare every file of CIFAR with its published MD5. It matters: the format is one that could run code."""
    from torchvision.datasets.utils import check_integrity

    for name, md5 in [*kind.train_list, *kind.test_list, [kind.meta["filename"], kind.meta["md5"]]]:
        path = folder / name
        try:
            sound = check_integrity(str(path), md5)
        except OSError as error:
            raise damaged(path, reason(error), fix="make it readable") from None
        if not sound:
            why = "its MD5 sum differs from the published one" if path.is_file() else "No such file"
            raise damaged(path, why, fix=f"delete the folder {folder.name} and pass download=True to fetch it again")
