"""The digits of the package and their split, which must never drift."""

from __future__ import annotations

import hashlib

import pytest
import torch

from bitspike.data import load
from bitspike.data.images.sets.digits import read_digits
from bitspike.errors import DataError

BYTES = {
    "train": "880f56abccdfa6e4ba5b22e301a6c7bf5fc8f03827a61e07d88859ecff60de24",
    "test": "ca44d5a1b56cda546d1dae13907648da1869a3b1ba4b0d92ca1113aba90a17c8",
}


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_split_has_not_drifted(split):
    digits = load("digits", split)
    content = digits.images.numpy().tobytes() + digits.labels.to(torch.uint8).numpy().tobytes()
    assert hashlib.sha256(content).hexdigest() == BYTES[split]


def test_a_fifth_of_each_class_is_for_testing():
    train, test = load("digits").counts(), load("digits", "test").counts()
    assert sum(train) + sum(test) == 1797
    assert test == [round((a + b) / 5) for a, b in zip(train, test, strict=True)]


def test_no_image_is_in_both_parts():
    train, test = ({image.tobytes() for image in load("digits", s).images.numpy()} for s in ("train", "test"))
    assert len(train) == 1438
    assert not train & test


def test_pixels_go_from_0_to_16():
    images = load("digits").images
    assert (int(images.min()), int(images.max())) == (0, 16)
    assert load("digits").shape == (8, 8, 1)


def test_a_damaged_package_is_named(monkeypatch, tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "digits.npz").write_bytes(b"PK not a zip")
    monkeypatch.setattr("bitspike.data.images.sets.digits.resources.files", lambda package: tmp_path)
    with pytest.raises(
        DataError, match=r"digits.npz, a part of this package, cannot be read(.|\n)*install bitspike again"
    ):
        read_digits("train")
