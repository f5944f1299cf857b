"""Words of the command line, runs and images that the journeys' tests share."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from bitspike.cli import main
from bitspike.data import ImageSet, load

SMALL = ("model.width=0.25", "data.limit=120", "training.epochs=2", "expect=null")
"""Makes a second's work of the quickstart."""
WEIGHTS = "model.safetensors"
"""The file of a run with the weights of its network."""


def sets(*changes: str) -> list[str]:
    """Return changes as words of the command line."""
    return [word for change in changes for word in ("--set", change)]


def write_recipe(text: str, factory: pytest.TempPathFactory) -> Path:
    """Write a recipe into a folder of its own."""
    path = factory.mktemp("recipe") / "stages.yaml"
    path.write_text(text)
    return path


def finish(recipe: Path, factory: pytest.TempPathFactory) -> Path:
    """Run a recipe to its end; return the folder of the run."""
    folder = factory.mktemp("whole") / "run"
    assert main(["run", str(recipe), "--out", str(folder)]) == 0
    return folder


def read_report(folder: Path) -> dict[str, Any]:
    """Return the report of a run."""
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


def is_silent_alone(code: int, err: str) -> bool:
    """Tell whether a run failed for layers that never fire, as so small a network may have, and for nothing else."""
    page = re.search(r"the whole report is written: (.*)report\.html", err)
    checks = read_report(Path(page[1]))["checks"] if code == 1 and page else []
    failed = [check["name"] for check in checks if not check["passed"]]
    return bool(failed) and all(name == "firing" or name.startswith("firing of ") for name in failed)


@contextmanager
def interrupted(where: str, call: int) -> Iterator[None]:
    """Press Ctrl-C where a function of the package, such as ``train.loop._epoch``, is called for the n-th time."""
    module, _, name = f"bitspike.{where}".rpartition(".")
    original, calls = getattr(sys.modules[module], name), 0

    def stop(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise KeyboardInterrupt
        return original(*args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[module], name, stop)
        yield


def by_two(*words: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command of Bitspike by two processes together, in a folder or where the test is."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "bitspike"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [*command, *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
        timeout=1200,
        check=False,
    )


def large_digits(split: str) -> ImageSet:
    """Return the packaged digits as 28x28 images from 0 to 255, as MNIST has them."""
    digits = load("digits", split)
    pixels = F.interpolate(digits.images.permute(0, 3, 1, 2).float() * (255 / 16), size=20, mode="bilinear")
    images = F.pad(pixels.round().clamp(0, 255), (4, 4, 4, 4)).to(torch.uint8).permute(0, 2, 3, 1)
    return ImageSet(images.contiguous(), digits.labels, digits.classes, "large digits")


def lay_out_photos(root: Path, train: dict[str, int], val: dict[str, int], *, side: int = 64) -> Path:
    """Write photos of at least so many pixels a side in the layout of ImageNet: a color for each class, and noise."""
    generator = np.random.default_rng(0)
    colors = {name: generator.integers(60, 196, 3) for name in sorted(train)}
    for split, classes in (("train", train), ("val", val)):
        for name, count in classes.items():
            (root / split / name).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                height, width = side + int(generator.integers(0, 20)), side + int(generator.integers(0, 20))
                values = colors[name] + generator.normal(0, 40, (height, width, 3))
                image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
                image.save(root / split / name / f"{name}_{number}.JPEG")
    return root


def lay_out_tiny_imagenet(root: Path, train: int, val: int) -> Path:
    """Write two classes of photos in the folders of Tiny-ImageNet: so many of each to train, so many for validation."""
    generator, folder = np.random.default_rng(0), root / "tiny-imagenet-200"
    colors = {name: generator.integers(60, 196, 3) for name in ("n01", "n02")}

    def write(path: Path, name: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        values = colors[name] + generator.normal(0, 40, (64, 64, 3))
        Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path)

    for name in colors:
        for number in range(train):
            write(folder / "train" / name / "images" / f"{name}_{number}.JPEG", name)
    for number in range(val):
        write(folder / "val" / "images" / f"val_{number}.JPEG", list(colors)[number % 2])
    lines = [f"val_{number}.JPEG\t{list(colors)[number % 2]}\t0\t0\t9\t9\n" for number in range(val)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "wnids.txt").write_text("".join(f"{name}\n" for name in colors))
    return root


def _events(generator: np.random.Generator, label: int, count: int) -> tuple[np.ndarray, ...]:
    """Return columns, rows and polarities of events on a sensor of 128x128, in a patch that belongs to a class."""
    top, left = 32 * (label // 4), 32 * (label % 4)
    x, y = left + generator.integers(0, 32, count), top + generator.integers(0, 32, count)
    return x, y, generator.integers(0, 2, count)


def lay_out_gestures(root: Path, train: int, test: int, *, each: int = 600) -> Path:
    """Write recordings in the files of DVS128 Gesture: one of AEDAT 3.1 a split, and the times of its gestures."""
    generator, folder = np.random.default_rng(0), root / "DvsGesture"
    folder.mkdir(parents=True)
    for split, count in (("train", train), ("test", test)):
        (folder / f"trials_to_{split}.txt").write_text(f"user_{split}.aedat\n")
        columns = [_events(generator, number % 11, each) for number in range(count)]
        x, y, p = (np.concatenate(parts) for parts in zip(*columns, strict=True))
        words = np.stack([x << 17 | y << 2 | p << 1 | 1, np.arange(len(x))], axis=1).astype("<u4")
        head = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(x), len(x), len(x))
        (folder / f"user_{split}.aedat").write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + head + words.tobytes())
        rows = [f"{number % 11 + 1},{number * each},{(number + 1) * each}" for number in range(count)]
        head_of_rows = "class,startTime_usec,endTime_usec"
        (folder / f"user_{split}_labels.csv").write_text("\n".join([head_of_rows, *rows]) + "\n")
    return root


def lay_out_cifar10_dvs(root: Path, count: int, *, each: int = 600) -> Path:
    """Write so many recordings of each class in the files of CIFAR10-DVS, AEDAT 2.0; the last tenth are for tests."""
    generator = np.random.default_rng(0)
    names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(count):
            x, y, p = _events(generator, label, each)
            pairs = np.stack([y << 8 | x << 1 | p, np.arange(each)], axis=1).astype(">u4")
            (root / name / f"cifar10_{name}_{number}.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + pairs.tobytes())
    return root
