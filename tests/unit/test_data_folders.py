"""Sets of image files in class folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitspike.data.folders import read_folders
from bitspike.errors import ConstraintError, DataError


def write(path: Path, pixels: np.ndarray | list, mode: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(path)
    return path


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Lay out two classes of 2x3 gray images, with something hidden beside them."""
    write(tmp_path / "train" / "dog" / "b.png", [[4, 4, 4], [4, 4, 4]])
    write(tmp_path / "train" / "dog" / "a.png", [[3, 3, 3], [3, 3, 3]])
    write(tmp_path / "train" / "cat" / "z.png", [[1, 1, 1], [1, 1, 2]])
    write(tmp_path / "test" / "dog" / "q.png", [[9, 9, 9], [9, 9, 9]])
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "dog" / ".hidden").write_bytes(b"x")
    return tmp_path


def test_classes_are_folders_in_alphabetical_order_and_files_too(pets):
    images, labels, classes = read_folders(pets, "train")
    assert classes == ("cat", "dog")
    assert labels.tolist() == [0, 1, 1]
    assert images.shape == (3, 2, 3, 1)
    assert images[:, 0, 0, 0].tolist() == [1, 3, 4]
    assert images[0, :, :, 0].tolist() == [[1, 1, 1], [1, 1, 2]]


def test_the_test_split_has_the_classes_of_the_training_split(pets):
    images, labels, classes = read_folders(pets, "test")
    assert (len(images), labels.tolist(), classes) == (1, [1], ("cat", "dog"))


def test_color_images_have_three_channels_whatever_their_mode(tmp_path):
    color = np.arange(48).reshape(4, 4, 3) * 5
    for mode in ("RGB", "RGBA", "P"):
        write(tmp_path / "train" / "a" / f"{mode}.png", color, mode)
    images, *_ = read_folders(tmp_path, "train")
    assert images.shape == (3, 4, 4, 3)
    assert images[1].numpy().tolist() == color.tolist()  # RGB, after P
    assert images[2].numpy().tolist() == color.tolist()


def test_many_files_land_in_their_places(tmp_path):
    for i in range(600):  # more than two tasks of the pool
        write(tmp_path / "train" / "a" / f"{i:03d}.pgm", [[i % 256]])
    images, *_ = read_folders(tmp_path, "train")
    assert images.flatten().tolist() == [i % 256 for i in range(600)]


def test_a_size_crops_the_middle_and_resizes(tmp_path):
    wide = np.zeros((4, 8), dtype=np.uint8)
    wide[:, 2:6] = 200
    write(tmp_path / "train" / "a" / "wide.png", wide)
    write(tmp_path / "train" / "a" / "tall.png", wide.T)
    images, *_ = read_folders(tmp_path, "train", size=2)
    assert images.shape == (2, 2, 2, 1)
    assert (images == 200).all()
    assert read_folders(tmp_path, "train", size=(4, 8))[0].shape == (2, 4, 8, 1)


def test_channels_turn_gray_to_color_and_back(pets):
    assert read_folders(pets, "train", channels=3)[0][1].unique().tolist() == [3]
    write(pets / "train" / "cat" / "a.png", np.full((2, 3, 3), 50))
    assert read_folders(pets, "train", channels=1)[0][0].unique().tolist() == [50]


def test_images_that_differ_are_reported_together(pets):
    write(pets / "train" / "dog" / "c.png", np.zeros((5, 3)))
    write(pets / "train" / "dog" / "d.png", np.zeros((2, 3, 3)))
    Image.fromarray(np.zeros((2, 3), dtype=np.uint16)).save(pets / "train" / "dog" / "e.png")
    with pytest.raises(DataError) as caught:
        read_folders(pets, "train")
    message = str(caught.value)
    assert message.startswith("3 of 6 images in")
    for part in ("not 2x3 gray", "dog/c.png: 5x3", "dog/d.png: color", "dog/e.png: of more than 8 bits", "size=32"):
        assert part in message


def test_the_test_images_are_compared_with_the_training_images(pets):
    write(pets / "test" / "dog" / "q.png", np.zeros((8, 8)))
    with pytest.raises(DataError, match=r"1 of 1 images (.|\n)*dog/q.png: 8x8"):
        read_folders(pets, "test")


@pytest.mark.parametrize("name", ["a.png", "z.png"], ids=["the first", "another"])
def test_a_damaged_image_is_named(pets, name):
    whole = (pets / "train" / "dog" / "b.png").read_bytes()
    for broken in (b"", b"no image", whole[:40], whole[:-26]):
        (pets / "train" / "cat" / name).write_bytes(broken)
        with pytest.raises(DataError, match=rf"cat.{name} is damaged"):
            read_folders(pets, "train")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "train").rename(root / "training"), "name the folder that holds 'train' and 'test'"),
        (lambda root: (root / "test" / "dog").rename(root / "test" / "cow"), "has classes that .* has not: cow"),
        (lambda root: (root / "train" / "emu").mkdir(), "emu holds no images"),
        (lambda root: (root / "train" / "dog" / "notes.txt").write_text("x"), "notes.txt is not an image"),
    ],
    ids=["no train", "strange class", "empty class", "other file"],
)
def test_a_wrong_layout_is_named(pets, break_it, message):
    break_it(pets)
    with pytest.raises(DataError, match=message):
        read_folders(pets, "test")


def test_a_split_without_classes_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        read_folders(tmp_path, "train")


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": (4, -1)}, {"channels": 2}])
def test_wrong_arguments_fail(pets, wrong):
    with pytest.raises(ConstraintError):
        read_folders(pets, "train", **wrong)
