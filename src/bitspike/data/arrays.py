"""Image sets that are four arrays in one .npz file."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.data.places import damaged, reason
from bitspike.errors import DataError

LAYOUT = "train_images uint8 [N, H, W, C], train_labels [N], test_images, test_labels"


def read_arrays(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read one split of NAME.npz.

    Args:
        path: an .npz file with the arrays ``train_images`` uint8 [N, H, W, C] (or [N, H, W]), ``train_labels`` (whole
            numbers [N]), ``test_images`` and ``test_labels``.
        split: ``train`` or ``test``.

    Returns:
        images uint8 [N, H, W, C], labels int64 [N].

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            if isinstance(held, np.ndarray):
                raise DataError(f"{path.absolute()} is one array, needed are {LAYOUT}", fix="write it with numpy.savez")
            absent = [key for key in (f"{split}_images", f"{split}_labels") if key not in held]
            if absent:
                raise DataError(
                    f"{path.absolute()} has no {' and no '.join(absent)}; it holds {', '.join(held) or 'nothing'}",
                    fix=f"write it with numpy.savez and the names {LAYOUT}",
                )
            images, labels = held[f"{split}_images"], held[f"{split}_labels"]
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise damaged(path, reason(error), fix="write it again, or delete it and use another copy") from None
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        found = f"{images.dtype} {list(images.shape)}"
        raise DataError(f"{path.absolute()}: {split}_images is {found}, needed is uint8 [N, H, W, 1 or 3]")
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        found = f"{labels.dtype} {list(labels.shape)}"
        raise DataError(f"{path.absolute()}: {split}_labels is {found}, needed are {len(images)} whole numbers")
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))
