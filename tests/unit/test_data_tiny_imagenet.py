"""Tiny-ImageNet in the folders of its archive, made here on a small scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bitspike as bs
from bitspike.data import describe, load
from bitspike.errors import DataError
from bitspike.recipe import load as load_recipe
from bitspike.runs.sketch import sketch

CLASSES = {"n02": "cat, true cat", "n01": "goldfish, Carassius auratus", "n03": "cat"}


def photo(path: Path, value: int, *, side: int = 64, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (side, side, 3) if mode == "RGB" else (side, side)
    Image.fromarray(np.full(shape, value, np.uint8), mode=None).save(path, quality=95)


def lay_out(root: Path, train: int = 4, val: int = 3) -> Path:
    """Write a set of three classes whose images are of one brightness each; return its folder."""
    folder = root / "tiny-imagenet-200"
    for number, name in enumerate(CLASSES):
        for n in range(train):
            photo(folder / "train" / name / "images" / f"{name}_{n}.JPEG", 40 * number + n, mode="RGB" if n else "L")
        (folder / "train" / name / f"{name}_boxes.txt").write_text(f"{name}_0.JPEG\t0\t0\t10\t10\n")
    lines = []
    for n in range(val):
        photo(folder / "val" / "images" / f"val_{n}.JPEG", 100 + n)
        lines.append(f"val_{n}.JPEG\t{list(CLASSES)[n % 3]}\t0\t32\t44\t62\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    (folder / "test" / "images").mkdir(parents=True)
    (folder / "wnids.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "words.txt").write_text("".join(f"{name}\t{said}\n" for name, said in CLASSES.items()) + "n99\tnobody\n")
    return folder


def test_both_splits_are_read_as_their_tables_say(tmp_path: Path) -> None:
    folder = lay_out(tmp_path)
    train, test = (load("tiny_imagenet", split, root=tmp_path) for split in ("train", "test"))
    assert train.classes == test.classes == ("goldfish", "n02", "n03"), "two are called cat"
    assert train.shape == test.shape == (64, 64, 3)
    assert train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    values = train.images.float().mean((1, 2, 3)).round().tolist()
    assert values == [40, 41, 42, 43, 0, 1, 2, 3, 80, 81, 82, 83]
    assert test.labels.tolist() == [1, 0, 2]
    assert test.images.float().mean((1, 2, 3)).round().tolist() == [100, 101, 102]
    assert load("tiny_imagenet", "test", root=folder).images.equal(test.images), "root may be the folder itself"
    (folder / "words.txt").unlink()
    assert load("tiny_imagenet", "test", root=folder).classes == ("n01", "n02", "n03")


def test_it_is_found_in_the_usual_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no wnids.txt in(.|\n)*tiny-imagenet-200(.|\n)*root=FOLDER"):
        load("tiny_imagenet")
    lay_out(tmp_path)
    assert len(load("tiny_imagenet")) == 12
    with pytest.raises(DataError, match="is not downloaded"):
        load("tiny_imagenet", download=True)


def _no_images(folder: Path) -> None:
    for path in (folder / "train" / "n01" / "images").iterdir():
        path.unlink()


def _write(name: str, text: str):
    return lambda folder: (folder / name).write_text(text)


BROKEN = {
    "wnids.txt.*names no class": _write("wnids.txt", "\n"),
    "classes twice: n01": _write("wnids.txt", "n01\nn02\nn01\n"),
    "n04(.|\n)*No such file": _write("wnids.txt", "n01\nn02\nn03\nn04\n"),
    "classes that wnids.txt has not: n07": _write("val/val_annotations.txt", "val_0.JPEG\tn07\n"),
    "the line 'val_0.JPEG' names no class": _write("val/val_annotations.txt", "val_0.JPEG\n"),
    "no line for val_1.JPEG, val_2.JPEG": _write("val/val_annotations.txt", "val_0.JPEG\tn01\n"),
    "no file for val_9.JPEG": _write("val/val_annotations.txt", "".join(f"val_{n}.JPEG\tn01\n" for n in (0, 1, 2, 9))),
    "names a file twice": _write("val/val_annotations.txt", "".join(f"val_{n}.JPEG\tn01\n" for n in (0, 1, 2, 2))),
    "val_1.JPEG is damaged": _write("val/images/val_1.JPEG", "no photo"),
    "val_0.JPEG: 32x32": lambda folder: photo(folder / "val/images/val_0.JPEG", 1, side=32),
    "n01/images holds no images": _no_images,
}


@pytest.mark.parametrize("said", BROKEN)
def test_a_damaged_set_is_refused_by_the_name_of_what_is_wrong(said: str, tmp_path: Path) -> None:
    BROKEN[said](lay_out(tmp_path))
    of_training = any(word in said for word in ("n01/", "n04"))
    with pytest.raises(DataError, match=said):
        load("tiny_imagenet", "train" if of_training else "test", root=tmp_path)


def test_a_network_for_it_is_looked_at_with_all_of_its_classes(tmp_path: Path) -> None:
    changes = [f"data={{kind: tiny_imagenet, root: {tmp_path}}}", "model={kind: vgg9, steps: 1, width: 0.05}"]
    (outputs,) = sketch(load_recipe("quickstart", [*changes, "norm={kind: threshold}", "expect=null"])).net.outputs
    assert outputs.shape == (200,)


def test_a_recipe_trains_with_it(tmp_path: Path) -> None:
    lay_out(tmp_path, train=6)
    data = "data={kind: tiny_imagenet, validation: 6, augment: [{kind: shift, pixels: 4}, {kind: flip}], root: %s}"
    changes = (data % tmp_path, "model={kind: vgg9, steps: 1, width: 0.05}", "norm={kind: threshold}")
    report = bs.run("quickstart", set=(*changes, "training.epochs=1", "expect=null"), out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["certificate"]["samples"] == 3
    assert describe("tiny_imagenet").classes is None
