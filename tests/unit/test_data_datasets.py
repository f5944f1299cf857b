"""The one door to all sets: names, places, layouts, and what is said when something is wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitspike.data import DATASETS, describe, load
from bitspike.data.images import sets
from bitspike.data.known import known_sets
from bitspike.errors import ConstraintError, DataError
from bitspike.places import download_place, places


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch, tmp_path):
    """Look into empty folders only, whatever the machine of the test holds."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.delenv("BITSPIKE_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_cifar10(folder: Path, *, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    images, labels = np.zeros((count, 32, 32, 3), dtype=np.uint8), np.arange(count, dtype=np.uint8)
    np.savez(folder / "cifar10.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def test_what_is_known_of_each_set_is_consistent():
    assert set(DATASETS) == {"digits", "mnist", "cifar10", "cifar100", "tiny_imagenet", "folder", "imagenet"}
    for name, info in DATASETS.items():
        assert info.name == name
        assert info.grid.low <= 0 < info.grid.high
        if info.shape is not None and info.classes is not None:
            info.pixel_grid.check_channels(info.shape[2])
            assert len(set(info.classes)) == len(info.classes)
            assert list(info.classes) == sorted(info.classes)  # so that class folders number them alike
    assert len(DATASETS["cifar100"].classes or ()) == 100


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(DataError, match=r"there is no data set 'cifar11'; known are (.|\n)*'cifar10'\?"):
        load("cifar11")
    with pytest.raises(DataError, match="'folder' reads your own images"):
        describe("xyz")


def test_a_wrong_split_is_refused():
    with pytest.raises(ConstraintError, match=r"split='validation'(.|\n)*split\(0.1"):
        load("digits", "validation")


def test_a_missing_set_names_the_places_the_layouts_and_three_ways_out(tmp_path, monkeypatch):
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path / "shelf"))
    (tmp_path / "work" / "data").mkdir()
    with pytest.raises(DataError) as caught:
        load("cifar10")
    message = str(caught.value)
    for part in (
        f"{tmp_path / 'shelf'}  (no such folder)\n",
        f"{tmp_path / 'work' / 'data'}\n",
        f"{tmp_path / 'cache' / 'bitspike' / 'data'}  (no such folder)\n",
        "cifar-10-batches-py/",
        "cifar10.npz",
        "cifar10/{train,test}/<class>/<image>",
        "root=FOLDER",
        "BITSPIKE_DATA=FOLDER",
        "download=True",
        "your own copy",
    ):
        assert part in message


def test_a_given_root_is_the_only_place(tmp_path):
    write_cifar10(tmp_path / "work" / "data")
    assert len(load("cifar10")) == 3
    with pytest.raises(DataError, match="no such folder"):
        load("cifar10", root=tmp_path / "elsewhere")


def test_places_are_searched_in_order(tmp_path, monkeypatch):
    for count, folder in enumerate(
        (tmp_path / "shelf", tmp_path / "work" / "data", tmp_path / "cache/bitspike/data"), 1
    ):
        write_cifar10(folder, count=count)
    assert len(load("cifar10")) == 2
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path / "shelf"))
    assert len(load("cifar10")) == 1
    assert places(tmp_path) == (tmp_path,)


def test_downloads_go_where_they_are_found_again(tmp_path, monkeypatch):
    assert download_place() == places()[-1]
    assert download_place(tmp_path) == tmp_path
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path / "shelf"))
    assert download_place() == tmp_path / "shelf" == places()[0]


def test_a_home_is_understood(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places("~/sets") == (tmp_path / "sets",)


def test_a_known_set_may_lie_in_class_folders(tmp_path):
    for split in ("train", "test"):
        for label, name in enumerate(DATASETS["cifar10"].classes or ()):
            folder = tmp_path / "cifar10" / split / name
            folder.mkdir(parents=True)
            Image.fromarray(np.full((32, 32, 3), label, dtype=np.uint8)).save(folder / "0.png")
    train = load("cifar10", root=tmp_path)
    assert train.labels.tolist() == train.images[:, 0, 0, 0].tolist() == list(range(10))
    assert train.name == "cifar10"


def test_class_folders_of_something_else_are_refused(tmp_path):
    folder = tmp_path / "cifar10" / "train" / "unicorn"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((32, 32, 3), dtype=np.uint8)).save(folder / "0.png")
    with pytest.raises(DataError, match=r"has the classes unicorn; cifar10 has airplane(.|\n)*load\('folder'"):
        load("cifar10", root=tmp_path)


def test_images_of_another_size_are_refused(tmp_path):
    images = np.zeros((1, 28, 28, 1), dtype=np.uint8)
    np.savez(tmp_path / "cifar10.npz", train_images=images, train_labels=np.zeros(1, dtype=int))
    with pytest.raises(DataError, match=r"holds images of \(28, 28, 1\), cifar10 has \(32, 32, 3\)"):
        load("cifar10", root=tmp_path)


def test_labels_beyond_the_classes_are_refused_with_the_file(tmp_path):
    write_cifar10(tmp_path, count=11)
    with pytest.raises(DataError, match=r"cifar10.npz: cifar10: labels go from 0 to 10, but 10 classes"):
        load("cifar10", root=tmp_path)


def test_a_folder_of_ones_own(tmp_path):
    for split in ("train", "test"):
        for name in ("no", "yes"):
            (tmp_path / "mine" / split / name).mkdir(parents=True)
            Image.fromarray(np.zeros((6, 4), dtype=np.uint8)).save(tmp_path / "mine" / split / name / "0.png")
    mine = load("folder", "test", root=tmp_path / "mine")
    assert (mine.name, mine.classes, mine.shape) == ("mine", ("no", "yes"), (6, 4, 1))
    assert load("folder", root=tmp_path / "mine", size=2, channels=3).shape == (2, 2, 3)
    with pytest.raises(DataError, match="needs root=FOLDER"):
        load("folder")


def test_size_is_for_folders_only():
    with pytest.raises(ConstraintError, match=r"the images of 'digits' are \(8, 8, 1\)"):
        load("digits", size=4)


NEW_SET = """
from bitspike.data import PixelGrid
from bitspike.data.images.info import DatasetInfo
from bitspike.data.images.official import Archive, check_idx_files
from bitspike.data.images.on_disk import OnDisk

SETS = (
    DatasetInfo(
        name="fashion_mnist",
        title="Fashion-MNIST",
        shape=(28, 28, 1),
        classes=("bag", "boot", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "top", "trousers"),
        pixel_grid=PixelGrid(scale=2**-8),
        source="H. Xiao, K. Rasul and R. Vollgraf 2017, MIT",
        read=OnDisk(Archive("FashionMNIST", "FashionMNIST/raw", "31 MB", check_idx_files)),
    ),
)
"""


def test_one_file_is_a_new_set(tmp_path, monkeypatch):
    (tmp_path / "fashion_mnist.py").write_text(NEW_SET)
    monkeypatch.setattr(sets, "__path__", [*sets.__path__, str(tmp_path)])
    monkeypatch.setattr("bitspike.data.images.datasets.DATASETS", known_sets(sets))
    del sys.modules[f"{sets.__name__}.fashion_mnist"]
    images = np.zeros((2, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "fashion_mnist.npz", train_images=images, train_labels=np.array([9, 0]))
    found = load("fashion_mnist", root=tmp_path)
    assert (found.name, found.shape, found.classes[9], found.counts()) == (
        *("fashion_mnist", (28, 28, 1), "trousers"),
        [1, 0, 0, 0, 0, 0, 0, 0, 0, 1],
    )
    with pytest.raises(DataError, match=r"FashionMNIST/raw/  \(the official archive"):
        load("fashion_mnist", root=tmp_path / "elsewhere")
