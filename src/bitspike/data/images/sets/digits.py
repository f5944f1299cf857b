"""The handwritten digits that are part of the package; ``assets/DIGITS.md`` says whose they are."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from importlib import resources

import numpy as np
import torch

from bitspike.data.images.image_set import ImageSet
from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.pixels import PixelGrid
from bitspike.errors import DataError
from bitspike.places import reason

SALT = b"bitspike digits 1"


def read_digits(split: str) -> ImageSet:
    """Read one split of the 1,797 handwritten digits of 8x8 pixels, with values from 0 to 16.

    Within each class the fifth of the images with the smallest SHA-256(salt + pixels) is the test split: 359 images,
    1,438 are left to train on. The split depends on the images alone, so it is the same everywhere and for ever.

    Raises:
        DataError: the package's file is missing or damaged.

    Example:
        >>> len(read_digits("train")), len(read_digits("test"))
        (1438, 359)
    """
    asset = resources.files("bitspike.data") / "assets" / "digits.npz"
    try:
        with np.load(io.BytesIO(asset.read_bytes()), allow_pickle=False) as file:
            images, labels = file["images"], file["labels"].astype(np.int64)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{asset}, a part of this package, cannot be read: {reason(error)}", fix="install bitspike again"
        ) from None
    chosen = in_test(images, labels) == (split == "test")
    return ImageSet(
        torch.from_numpy(images[chosen][..., None]),
        torch.from_numpy(labels[chosen]),
        classes=tuple("0123456789"),
        name="digits",
    )


def in_test(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell for every image whether it belongs to the test split: bool [N].

    Args:
        images: uint8 [N, 8, 8].
        labels: [N].
    """
    keys = [hashlib.sha256(SALT + image.tobytes()).digest() for image in images]
    test = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = sorted(np.flatnonzero(labels == label), key=lambda index: keys[index])
        test[members[: round(len(members) / 5)]] = True
    return test


SETS = (
    DatasetInfo(
        name="digits",
        title="UCI handwritten digits",
        shape=(8, 8, 1),
        classes=tuple("0123456789"),
        pixel_grid=PixelGrid(scale=1 / 16),
        source="E. Alpaydin and C. Kaynak, UCI Machine Learning Repository 1998, doi 10.24432/C50P49, CC BY 4.0",
        read=lambda info, request: read_digits(request.split),
        high_pixel=16,
    ),
)
