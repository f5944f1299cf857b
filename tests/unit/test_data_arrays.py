"""Sets in one .npz file: what is read and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitspike.data.images.arrays import read_arrays
from bitspike.errors import DataError


def write(path, **changes):
    arrays = {
        "train_images": np.arange(96, dtype=np.uint8).reshape(2, 4, 4, 3),
        "train_labels": np.array([1, 0], dtype=np.uint8),
        "test_images": np.zeros((1, 4, 4, 3), dtype=np.uint8),
        "test_labels": np.array([1]),
    } | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def test_both_splits_are_read(tmp_path):
    path = write(tmp_path / "set.npz")
    images, labels = read_arrays(path, "train")
    assert images.dtype == torch.uint8
    assert images.flatten().tolist() == list(range(96))
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 0]
    assert read_arrays(path, "test")[1].tolist() == [1]


def test_gray_images_may_lack_the_channel_axis(tmp_path):
    path = write(tmp_path / "set.npz", train_images=np.zeros((2, 4, 5), dtype=np.uint8))
    assert read_arrays(path, "train")[0].shape == (2, 4, 5, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_labels": None}, "has no train_labels; it holds train_images, test_images, test_labels"),
        ({"train_images": np.zeros((2, 4, 4, 3))}, r"train_images is float64 \[2, 4, 4, 3\]"),
        ({"train_images": np.zeros((2, 4, 4, 2), dtype=np.uint8)}, r"needed is uint8 \[N, H, W, 1 or 3\]"),
        ({"train_labels": np.zeros(2)}, "needed are 2 whole numbers"),
        ({"train_labels": np.zeros(3, dtype=int)}, r"train_labels is int64 \[3\]"),
        ({"train_labels": np.array([0, {}], dtype=object)}, "is damaged: Object arrays cannot be loaded"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, changes, message):
    path = write(tmp_path / "set.npz", **changes)
    with pytest.raises(DataError, match=message) as caught:
        read_arrays(path, "train")
    assert str(path) in str(caught.value)


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path / "set.npz")
    whole = path.read_bytes()
    for broken in (b"", b"no archive", whole[: len(whole) // 2], whole.replace(bytes(range(40, 50)), bytes(10), 1)):
        path.write_bytes(broken)
        with pytest.raises(DataError, match=r"set\.npz is damaged"):
            read_arrays(path, "train")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "set.npy", np.zeros(3))
    with pytest.raises(DataError, match="is one array"):
        read_arrays(tmp_path / "set.npy", "train")
