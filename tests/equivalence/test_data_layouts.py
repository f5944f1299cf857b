"""The same images in different layouts are the same set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitspike.data import DATASETS, ImageSet, load

CLASSES = DATASETS["mnist"].classes or ()


@pytest.fixture
def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Make twenty random images of MNIST's size per split, ordered by class as folders are."""
    rng = np.random.default_rng(0)
    return {s: (rng.integers(0, 256, (20, 28, 28), dtype=np.uint8), np.arange(20) // 2) for s in ("train", "test")}


def write_official(root: Path, digits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, split in (("train", "train"), ("t10k", "test")):
        for what, array in zip(("images-idx3", "labels-idx1"), digits[split], strict=True):
            lengths = np.array(array.shape, dtype=">u4").tobytes()
            head = bytes([0, 0, 8, array.ndim]) + lengths
            (raw / f"{part}-{what}-ubyte").write_bytes(head + array.astype(np.uint8).tobytes())


def write_arrays(root: Path, digits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    arrays = {f"{split}_images": images for split, (images, _) in digits.items()}
    np.savez_compressed(
        root / "mnist.npz", **arrays, **{f"{split}_labels": labels for split, (_, labels) in digits.items()}
    )


def write_folders(root: Path, digits: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    for split, (images, labels) in digits.items():
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = root / "mnist" / split / CLASSES[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number:05d}.png")


def equal(first: ImageSet, second: ImageSet) -> bool:
    return (
        torch.equal(first.images, second.images)
        and torch.equal(first.labels, second.labels)
        and (first.classes, first.name) == (second.classes, second.name)
    )


@pytest.mark.parametrize("write", [write_official, write_arrays, write_folders])
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_layout_gives_the_same_set(tmp_path, digits, write, split):
    write(tmp_path, digits)
    images, labels = digits[split]
    made = ImageSet(torch.from_numpy(images[..., None]), torch.from_numpy(labels).long(), CLASSES, "mnist")
    assert equal(load("mnist", split, root=tmp_path), made)


def test_a_folder_of_ones_own_reads_what_the_known_set_reads(tmp_path, digits):
    write_folders(tmp_path, digits)
    own, known = load("folder", root=tmp_path / "mnist"), load("mnist", root=tmp_path)
    assert equal(own, known)
