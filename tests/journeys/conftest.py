"""What the journeys' tests share: a small finished run, and small image sets in the layouts of the real ones."""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from journey_parts import SMALL, large_digits, sets

from bitspike.cli import main


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a small finished run; it is shared, so copy it before changing it."""
    torch.use_deterministic_algorithms(True)
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(["run", "quickstart", "--out", str(folder), *sets(*SMALL)]) == 0
    return folder


@pytest.fixture
def run_folder(finished_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the small finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture
def bitspike(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Return the command line in this process: words to exit code, stdout, stderr."""

    def call(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def mnist_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the large digits in the layout of the original MNIST files."""
    root = tmp_path_factory.mktemp("data")
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        digits = large_digits(split)
        for kind, array in (("images-idx3", digits.images.squeeze(-1).numpy()), ("labels-idx1", digits.labels.numpy())):
            array = array.astype(np.uint8)
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (raw / f"{prefix}-{kind}-ubyte").write_bytes(head + array.tobytes())
            with gzip.open(raw / f"{prefix}-{kind}-ubyte.gz", "wb") as packed:
                packed.write(head + array.tobytes())
    return root


@pytest.fixture(scope="session")
def cifar10_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds colored digits in the layout of arrays that CIFAR-10 may have."""
    root = tmp_path_factory.mktemp("cifar10")
    arrays = {}
    for split in ("train", "test"):
        digits = large_digits(split)
        images = np.pad(digits.images.numpy(), ((0, 0), (2, 2), (2, 2), (0, 0)))
        arrays |= {f"{split}_images": np.repeat(images, 3, axis=3), f"{split}_labels": digits.labels.numpy()}
    np.savez(root / "cifar10.npz", **arrays)
    return root
