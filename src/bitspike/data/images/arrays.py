"""Image sets that are four arrays in one .npz file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.places import damaged, reason

_MOST_UNPACKED = 1100
"""deflate makes at most 1032 bytes of one."""
LAYOUT = "train_images uint8 [N, H, W, C], train_labels [N], test_images, test_labels"


def read_arrays(path: Path, split: str) -> tuple[Tensor, Tensor]:
    """Read one split of an .npz file of the arrays in ``LAYOUT``; gray images may also be [N, H, W].

    Returns:
        images uint8 [N, H, W, C], labels int64 [N].

    Raises:
        DataError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if isinstance(arrays, np.ndarray):
                raise DataError(f"{path.absolute()} is one array, needed are {LAYOUT}", fix="write it with numpy.savez")
            absent = [key for key in (f"{split}_images", f"{split}_labels") if key not in arrays]
            if absent:
                raise DataError(
                    f"{path.absolute()} has no {' and no '.join(absent)}; it holds {', '.join(arrays) or 'nothing'}",
                    fix=f"write it with numpy.savez and the names {LAYOUT}",
                )
            _refuse_claims(arrays, path)
            images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  zip, zlib, NumPy or the system, depending on what is damaged
        raise damaged(path, reason(error), fix="write it again, or delete it and use another copy") from None
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3):
        form = f"{images.dtype} {list(images.shape)}"
        raise DataError(
            f"{path.absolute()}: {split}_images is {form}, needed is uint8 [N, H, W, 1 or 3]",
            fix="write pixels from 0 to 255 with the channels last: images.astype(np.uint8)",
        )
    if labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]:
        form = f"{labels.dtype} {list(labels.shape)}"
        raise DataError(
            f"{path.absolute()}: {split}_labels is {form}, needed are {len(images)} whole numbers",
            fix="write one class number for each image: labels.astype(np.int64)",
        )
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(labels.astype(np.int64))


def _refuse_claims(arrays: Any, path: Path) -> None:
    """Refuse an array that claims more than its file unpacks to, before NumPy makes room for it."""
    for info in arrays.zip.infolist():
        if info.file_size > _MOST_UNPACKED * max(1, info.compress_size) or info.compress_size > path.stat().st_size:
            raise damaged(path, f"{info.filename} claims {info.file_size:,} bytes", fix="write it again")
        with arrays.zip.open(info) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(member)
            if math.prod(shape) * dtype.itemsize > info.file_size:
                raise damaged(
                    path, f"{info.filename} claims {list(shape)} of {dtype}, it has {info.file_size:,} bytes",
                    fix="write it again",
                )  # fmt: skip
