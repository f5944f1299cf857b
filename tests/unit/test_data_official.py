"""Official archives, imitated at a small size: MNIST's IDX files and CIFAR's batches."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torchvision

from bitspike.data import load
from bitspike.errors import DataError


def idx(array: np.ndarray) -> bytes:
    """Write an array of bytes the way MNIST is written."""
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.astype(np.uint8).tobytes()


def mnist_files() -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    return {
        f"{part}-{what}-ubyte": idx(array)
        for part, count in (("train", 12), ("t10k", 5))
        for what, array in (
            ("images-idx3", rng.integers(0, 256, (count, 28, 28))),
            ("labels-idx1", np.arange(count) % 10),
        )
    }


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in mnist_files().items():
        (raw / name).write_bytes(content)
    return tmp_path


def test_mnist_is_read(mnist):
    train, test = load("mnist", root=mnist), load("mnist", "test", root=str(mnist))
    assert (len(train), len(test), train.shape) == (12, 5, (28, 28, 1))
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    assert test.images.numpy().tobytes() == mnist_files()["t10k-images-idx3-ubyte"][16:]


@pytest.mark.parametrize("name", sorted(mnist_files()))
@pytest.mark.parametrize("keep", [0, 7, -1])
def test_a_damaged_file_of_mnist_is_named(mnist, name, keep):
    path = mnist / "MNIST" / "raw" / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{name} is damaged(.|\n)*delete {name} and pass download=True"):
        load("mnist", root=mnist)


def test_a_missing_file_of_mnist_is_named(mnist):
    (mnist / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte is damaged: No such file(.|\n)*download=True"):
        load("mnist", root=mnist)


def test_images_without_labels_are_refused(mnist):
    (mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(3)))
    with pytest.raises(DataError, match="3 labels for 12 images"):
        load("mnist", root=mnist)


def test_labels_beyond_the_classes_are_refused(mnist):
    (mnist / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(12)))
    with pytest.raises(DataError, match="labels go from 0 to 11, but 10 classes"):
        load("mnist", root=mnist)


def test_archives_that_are_there_are_unpacked_without_a_network(monkeypatch, tmp_path, capsys):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    resources = []
    for name, content in mnist_files().items():
        packed = gzip.compress(content)
        (raw / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed, usedforsecurity=False).hexdigest()))
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://never.invalid/"])
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)
    with pytest.raises(DataError, match="pass download=True to fetch or unpack it"):
        load("mnist", root=tmp_path)
    assert len(load("mnist", root=tmp_path, download=True)) == 12
    assert len(load("mnist", "test", root=tmp_path)) == 5
    assert capsys.readouterr().out == ""


def test_a_download_that_fails_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [f"{(tmp_path / 'nowhere').as_uri()}/"])
    with pytest.raises(DataError, match="mnist could not be downloaded to"):
        load("mnist", root=tmp_path / "data", download=True)


def pickled(value: object) -> bytes:
    """Write text, numbers, lists and dicts the way CIFAR is written; no reader of such files is needed for that."""
    if isinstance(value, str):
        return b"V" + value.encode() + b"\n"
    if isinstance(value, int):
        return b"I%d\n" % value
    if isinstance(value, list):
        return b"(" + b"".join(map(pickled, value)) + b"l"
    assert isinstance(value, dict)
    return b"(" + b"".join(pickled(k) + pickled(v) for k, v in value.items()) + b"d"


def write_cifar(folder: Path, files: dict[str, dict]) -> dict[str, str]:
    """Write batches and return their sums."""
    folder.mkdir(parents=True)
    sums = {}
    for name, content in files.items():
        data = pickled(content) + b"."
        (folder / name).write_bytes(data)
        sums[name] = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return sums


def batch(label: int, key: str = "labels") -> dict:
    # Channel by channel: red 1, green 2, blue the label.
    return {"data": [[1] * 1024 + [2] * 1024 + [label] * 1024], key: [label]}


@pytest.fixture
def cifar10(monkeypatch, tmp_path: Path) -> Path:
    kind = torchvision.datasets.CIFAR10
    files = {f"data_batch_{i}": batch(i) for i in range(1, 6)} | {"test_batch": batch(9)}
    sums = write_cifar(tmp_path / "cifar-10-batches-py", files | {"batches.meta": {"label_names": list("abcdefghij")}})
    monkeypatch.setattr(kind, "train_list", [[f"data_batch_{i}", sums[f"data_batch_{i}"]] for i in range(1, 6)])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums["batches.meta"]})
    return tmp_path


def test_cifar10_is_read_with_channels_last(cifar10):
    train, test = load("cifar10", root=cifar10), load("cifar10", "test", root=cifar10)
    assert train.labels.tolist() == [1, 2, 3, 4, 5]
    assert train.shape == (32, 32, 3)
    assert train.images[4, 31, 31].tolist() == [1, 2, 5]
    assert test.labels.tolist() == [9]


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_file_of_cifar10_is_named(cifar10, name):
    path = cifar10 / "cifar-10-batches-py" / name
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(DataError, match=rf"{name} is damaged: its MD5 sum differs"):
        load("cifar10", root=cifar10)
    path.unlink()
    with pytest.raises(DataError, match=rf"{name} is damaged: No such file"):
        load("cifar10", root=cifar10)


def test_cifar100_has_fine_labels(monkeypatch, tmp_path):
    kind = torchvision.datasets.CIFAR100
    files = {"train": batch(99, "fine_labels"), "test": batch(0, "fine_labels"), "meta": {"fine_label_names": ["a"]}}
    sums = write_cifar(tmp_path / "cifar-100-python", files)
    monkeypatch.setattr(kind, "train_list", [["train", sums["train"]]])
    monkeypatch.setattr(kind, "test_list", [["test", sums["test"]]])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums["meta"]})
    train = load("cifar100", root=tmp_path)
    assert train.classes[int(train.labels[0])] == "worm"
