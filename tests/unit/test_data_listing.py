"""The files of a set in class folders, listed without being read."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.data.images.listing import list_images
from bitspike.errors import DataError

IMAGENET = ("train", "val")


def lay_out(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    return root


def paths(root: Path, split: str, splits: tuple[str, str] = IMAGENET) -> list[str]:
    listing = list_images(root, split, splits=splits)
    return [str(listing.path(i).relative_to(root)) for i in range(len(listing))]


def test_files_come_by_class_and_name_whatever_their_names_are(tmp_path):
    odd = ["train/é/ü 1.JPEG", "train/é/two\nlines.png", "train/a b/x.jpg", "train/a b/.hidden", "train/.dot/y.jpg"]
    lay_out(tmp_path, *odd, "val/a b/v.jpg", "val/é/v.jpg")
    assert paths(tmp_path, "train") == ["train/a b/x.jpg", "train/é/two\nlines.png", "train/é/ü 1.JPEG"]
    listing = list_images(tmp_path, "train", splits=IMAGENET)
    assert (listing.classes, listing.labels.tolist()) == (("a b", "é"), [0, 1, 1])


def test_the_training_split_names_the_classes_of_both(tmp_path):
    lay_out(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "val/b/1.jpg", "val/b/2.jpg")
    listing = list_images(tmp_path, "val", splits=IMAGENET)
    assert (listing.classes, listing.labels.tolist()) == (("a", "b", "c"), [1, 1])
    lay_out(tmp_path, "val/d/1.jpg")
    with pytest.raises(DataError, match=r"val has classes that .*train has not: d") as caught:
        list_images(tmp_path, "val", splits=IMAGENET)
    assert caught.value.fix == "give both splits the same class folders"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), r"train: No such file or directory; expected is .*/\{train,val\}/<class>/<image>"),
        (("train/1.jpg",), r"train holds no class folders"),
        (("train/a/.hidden", "train/b/1.jpg"), r"train/a holds no images"),
        (("train/a/1.jpg", "train/a/notes.txt"), r"a/notes.txt is not an image; allowed are \.bmp"),
        (("train/a/1.jpg", "train/a/more/2.jpg"), r"a/more is not an image"),
    ],
)
def test_what_is_no_such_set_is_refused(tmp_path, files, said):
    with pytest.raises(DataError, match=said):
        list_images(lay_out(tmp_path, *files), "train", splits=IMAGENET)


def test_a_listing_holds_names_and_little_more(tmp_path):
    lay_out(tmp_path, *(f"train/{c}/image{i:04d}.jpg" for c in "abc" for i in range(200)))
    listing = list_images(tmp_path, "train", splits=IMAGENET)
    held = len(listing.names) + listing.ends.nbytes + listing.labels.nbytes
    assert len(listing) == 600
    assert held == 600 * (len("image0000.jpg") + 1 + 8 + 8)
