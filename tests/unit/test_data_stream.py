"""Photos that are read from disk while a network trains."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_folders import lay_out, photo
from PIL import Image

from bitspike.data import Batches, Flip, ImageSet, Normalization, PixelGrid, RandomCrop, Shift
from bitspike.data.images.crop import Draws
from bitspike.data.stream import threads
from bitspike.data.stream.readers import READERS, choose_reader, installed, usual_workers
from bitspike.data.stream.streamed_set import StreamedSet, open_photos
from bitspike.errors import ConstraintError, DataError

THERE = [name for name in READERS if installed(name)]
RAGGED = {"cat": 4, "dog": 1, "elk": 2}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out(tmp_path, {"cat": 5, "dog": 3, "elk": 3}, RAGGED)


def opened(root: Path, split: str = "train", **more: object) -> StreamedSet:
    return open_photos(root, split, **({"size": 16, "workers": 2} | more))


def reading(photos: StreamedSet, size: int = 3, **more: object) -> Batches:
    return Batches(photos, size, pixel_grid=PixelGrid(1.0), **more)


def bytes_of(batches: Batches) -> list[bytes]:
    """Return every image that goes by, as bytes."""
    return [image.to(torch.uint8).numpy().tobytes() for x, _ in batches for image in x]


def test_a_set_is_listed_and_knows_what_networks_are_built_from(root):
    train, test = opened(root), opened(root, "test")
    assert (len(train), len(test), train.classes) == (11, 7, ("cat", "dog", "elk"))
    assert (train.shape, train.counts(), test.counts()) == ((16, 16, 3), [5, 3, 3], [4, 1, 2])
    assert test.labels.tolist() == [0, 0, 0, 0, 1, 2, 2]
    assert train.name == root.name
    assert test.path(4) == root / "val" / "dog" / "dog_0.JPEG"


def test_the_other_split_may_be_called_test(tmp_path):
    lay_out(tmp_path, {"a": 2}, {"a": 3}, other="test")
    assert len(opened(tmp_path, "test")) == 3
    lay_out(tmp_path, {}, {"a": 1})  # ImageNet's own test has no labels: val comes first
    assert len(opened(tmp_path, "test")) == 1


def test_subsets_and_splits_read_nothing(root):
    train = opened(root)
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"")
    kept, held = train.split(3, seed=1)
    assert (len(kept), held.counts()) == (8, [1, 1, 1])
    assert {kept.path(i) for i in range(8)} | {held.path(i) for i in range(3)} == {train.path(i) for i in range(11)}
    assert train.split(2, last=True)[1].path(1) == train.path(10)
    assert train.subset([3, 0]).path(1) == train.path(0)
    with pytest.raises(ConstraintError, match="positions 0 to 11, it has 0 to 10"):
        train.subset([0, 11])


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_evaluation_counts_every_image_exactly_once(root, world, size):
    test = opened(root, "test")
    whole = bytes_of(reading(test))
    parts = [reading(test, size, rank=rank, world_size=world) for rank in range(world)]
    assert sorted(image for part in parts for image in bytes_of(part)) == sorted(whole)
    assert len(set(whole)) == 7
    labels = [int(y) for part in parts for _, batch in part for y in batch]
    assert sorted(labels) == test.labels.tolist()


@pytest.mark.parametrize("world", [2, 3])
def test_every_process_trains_on_as_many_batches_and_together_they_see_one_epoch(root, world):
    train, share = opened(root), {"augment": [RandomCrop(), Flip()], "shuffle": True, "seed": 3}
    alone = bytes_of(reading(train, world, **share))
    parts = [reading(train, 1, **share, rank=rank, world_size=world) for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    seen = [bytes_of(part) for part in parts]
    dealt = [image for turn in zip(*seen, strict=True) for image in turn]
    assert dealt[:11] == alone
    assert dealt[11:] == alone[: len(dealt) - 11]  # what is repeated to come out even


def test_an_epoch_depends_on_seed_and_epoch_and_on_nothing_else(root):
    def epoch(number: int, seed: int = 0, **more: object) -> list[bytes]:
        batches = reading(opened(root, **more), augment=[RandomCrop(), Flip()], shuffle=True, seed=seed)
        batches.set_epoch(number)
        return bytes_of(batches)

    first = epoch(0)
    assert first == epoch(0) == epoch(0, workers=0) == epoch(0, workers=5)
    for name in THERE:
        if name != "dali":
            assert epoch(0, reader=name) == first
    assert len({tuple(first), tuple(epoch(1)), tuple(epoch(0, seed=1))}) == 3


def test_a_crop_is_drawn_for_the_place_in_the_epoch_and_not_for_the_file(root):
    one = opened(root).subset([0] * 6)
    assert len(set(bytes_of(reading(one, augment=RandomCrop())))) > 1
    assert len(set(bytes_of(reading(one)))) == 1


def test_labels_go_with_their_images(root):
    train = opened(root)
    plain = {image: int(y) for (x, labels) in reading(train) for image, y in zip(_images(x), labels, strict=True)}
    shuffled = [pair for x, labels in reading(train, shuffle=True) for pair in zip(_images(x), labels, strict=True)]
    assert len(shuffled) == 11
    assert all(plain[image] == int(y) for image, y in shuffled)


def _images(x: torch.Tensor) -> list[bytes]:
    return [image.to(torch.uint8).numpy().tobytes() for image in x]


def test_inputs_are_made_of_pixels_as_those_of_images_in_memory(root):
    test = opened(root, "test")
    memory = ImageSet(test.first(7), test.labels, test.classes, "copied")
    normal = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1))
    for (x, y), (same, label) in zip(
        Batches(test, 4, pixel_grid=normal), Batches(memory, 4, pixel_grid=normal), strict=True
    ):
        assert torch.equal(x, same)
        assert torch.equal(y, label)
    assert test.brightest() == 255
    assert test.first(99).shape == (7, 16, 16, 3)


@pytest.mark.parametrize("reader", THERE)
def test_files_that_are_no_plain_jpeg_are_read_as_pillow_reads_them(tmp_path, reader):
    colors = photo(20, 30, 1)
    folder = lay_out(tmp_path, {"a": 1}, {"a": 1}) / "train" / "a"
    for name, image, more in [
        ("b.png", colors, {}),
        ("c.JPEG", colors.convert("L"), {}),
        ("d.JPEG", colors.convert("CMYK"), {}),
        ("e.JPEG", colors, {"exif": _turned(6)}),
        ("f.JPEG", colors, {"exif": _turned(1)}),
        ("g.png", colors.convert("P"), {}),
        ("h.gif", colors, {}),
        ("i.JPEG", colors, {"progressive": True}),
    ]:
        image.save(folder / name, **more)
    colors.save(folder / "j.JPEG", format="PNG")  # as one file of ImageNet is
    shown = opened(tmp_path, reader=reader, size=10, resize=10).first(10)
    for index in range(10):
        path = sorted(folder.iterdir())[index]
        with Image.open(path) as file:
            image = file.convert("RGBA").convert("RGB") if file.mode == "P" else file.convert("RGB")
        if path.name == "e.JPEG":
            image = image.transpose(Image.Transpose.ROTATE_270)
        least = min(image.size)
        width, height = (side * 10 // least for side in image.size)
        resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        top, left = round((height - 10) / 2), round((width - 10) / 2)
        difference = np.abs(shown[index].numpy().astype(int) - resized[top : top + 10, left : left + 10])
        assert difference.max() <= 3, path.name  # two filters, each of which rounds twice


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


@pytest.mark.parametrize("reader", THERE)
def test_photos_can_be_gray(root, reader):
    gray = opened(root, "test", channels=1, reader=reader)
    assert gray.shape == (16, 16, 1)
    assert gray.first(2).shape == (2, 16, 16, 1)
    assert gray.first(1).float().mean() == pytest.approx(opened(root, "test").first(1).float().mean(), abs=12)


@pytest.mark.parametrize("reader", THERE)
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("half", "is damaged: image file is truncated"),
        ("none", "is damaged: not an image that Pillow knows"),
        ("gone", "was listed and cannot be read: No such file"),
        ("deep", "is more than 8 bits a channel"),
        ("moving", "is an animation of 2 frames"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(root, reader, content, said):
    train, path = opened(root, reader=reader), root / "train" / "dog" / "dog_1.JPEG"
    if content == "half":
        path.write_bytes(path.read_bytes()[:-100])
    elif content == "none":
        path.write_bytes(b"these are no pixels")
    elif content == "gone":
        path.unlink()
    elif content == "deep":
        Image.fromarray(np.zeros((30, 30), np.uint16)).save(path, format="PNG")
    else:
        photo(30, 30).save(path, format="GIF", save_all=True, append_images=[photo(30, 30, 1)])
    with pytest.raises(DataError, match=said) as caught:
        bytes_of(reading(train))
    assert str(path.absolute()) in caught.value.message
    assert caught.value.fix


def test_an_empty_class_is_an_error(root):
    (root / "train" / "fox").mkdir()
    with pytest.raises(DataError, match="fox holds no images"):
        opened(root)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"size": 0}, r"size=0, resize=0: at least 1 pixel"),
        ({"size": 16, "resize": 8}, r"resized side no shorter than the image"),
        ({"split": "val"}, r"split='val': allowed are 'train', and 'test' for the other one"),
        ({"channels": 2}, r"channels=2: 1 for gray, 3 for color"),
        ({"workers": -1}, r"workers=-1: a number of threads"),
        ({"reader": "cv2"}, r"reader='cv2': allowed are 'auto', 'dali', 'simplejpeg', 'pillow'"),
    ],
)
def test_wrong_arguments_are_refused(root, wrong, said):
    with pytest.raises(ConstraintError, match=said):
        opened(root, **wrong)


def test_a_reader_whose_package_is_missing_says_what_to_install(root, monkeypatch):
    monkeypatch.setattr("bitspike.data.stream.readers.find_spec", lambda name: None)
    with pytest.raises(ConstraintError, match="reader='simplejpeg': its package is not installed") as caught:
        opened(root, reader="simplejpeg")
    assert caught.value.fix == "pip install simplejpeg; or reader='pillow', which is always there"
    assert choose_reader("auto").name == "pillow"


def test_dali_is_chosen_by_itself_only_where_there_is_a_cuda_device(monkeypatch):
    monkeypatch.setattr("bitspike.data.stream.readers.installed", lambda name: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_reader("auto").name == "simplejpeg"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_reader("auto").name == "dali"


def test_the_cores_are_shared_among_the_processes_of_one_machine(monkeypatch):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert usual_workers() == cores
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(2 * cores))
    assert usual_workers() == 1


def test_a_crop_has_no_meaning_for_images_in_memory_and_comes_first(root):
    memory = ImageSet(torch.zeros(2, 4, 4, 3, dtype=torch.uint8), torch.tensor([0, 0]), ("a",), "tiny")
    with pytest.raises(ConstraintError, match="tiny is in memory with its size"):
        reading(memory, augment=RandomCrop())
    with pytest.raises(ConstraintError, match="RandomCrop is not the first augmentation"):
        reading(opened(root), augment=[Flip(), RandomCrop()])


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("bitspike-reader")]


def test_only_a_few_batches_are_read_ahead_and_the_threads_end_when_the_reader_stops(root):
    batches = iter(reading(opened(root, workers=3).subset([0] * 300), 2))
    next(batches)
    assert readers()
    batches.close()
    assert not readers()
    iterator = iter(reading(opened(root), 2))
    next(iterator)
    del iterator
    gc.collect()
    assert not readers()


def test_memory_is_bounded_by_the_batches_read_ahead_and_not_by_the_set():
    filled: list[int] = []

    def fill(batch: list[int], place: int, item: int) -> None:
        filled.append(item)

    batches = threads.read_ahead(([i, i] for i in range(1000)), lambda n: [0] * n, fill, workers=2)
    for number in range(5):
        next(batches)
        time.sleep(0.01)
        assert len(filled) <= 2 * (number + 1 + threads.AHEAD)
    batches.close()


def test_an_interruption_ends_the_threads_at_once():
    slow = threading.Event()
    started = threading.Event()

    def fill(batch: list[int], place: int, item: int) -> None:
        started.set()
        slow.wait(0.05)

    def stopped() -> None:
        for _ in threads.read_ahead(([0] * 100 for _ in range(1000)), lambda n: [0] * n, fill, workers=2):
            raise AssertionError("the first batch takes longer than this")

    def interrupt() -> None:
        started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background of a shell ignore it
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            stopped()
    finally:
        signal.signal(signal.SIGINT, before)
    end = time.monotonic() + 10  # a thread that was just being started is joined by nobody, and ends by itself
    while readers() and time.monotonic() < end:
        time.sleep(0.01)
    assert not readers()


def test_boxes_are_within_their_ranges_and_everywhere():
    crop = RandomCrop()
    boxes = [Draws(crop, 0, 0).window(place, 300, 400, 224) for place in range(2000)]
    areas = np.array([b.height * b.width / 120_000 for b in boxes])
    aspects = np.array([b.width / b.height for b in boxes])
    assert (areas > 0.098).all()
    assert (areas <= 1).all()
    assert ((aspects > 0.79) & (aspects < 1.26)).all()
    assert all(0 <= b.top <= 300 - b.height and 0 <= b.left <= 400 - b.width for b in boxes)
    assert areas.min() < 0.12
    assert areas.max() > 0.85
    # By hand: boxes that fit are found for areas up to about 0.93; below 0.6 all fit, so areas are uniform there.
    low, high = ((areas > 0.1) & (areas < 0.35)).sum(), ((areas > 0.35) & (areas < 0.6)).sum()
    assert abs(low - high) < 4 * (low + high) ** 0.5
    centers = np.array([(b.top + b.height / 2) / 300 for b in boxes])
    assert abs(centers.mean() - 0.5) < 0.02


def test_a_photo_that_no_box_fits_gives_the_largest_allowed_one_in_its_middle():
    generator = np.random.default_rng(0)
    assert RandomCrop(area=(1, 1)).box(10, 100, generator) == (0, 44, 10, 12)
    assert RandomCrop(area=(1, 1)).box(100, 10, generator) == (44, 0, 12, 10)
    assert RandomCrop(area=(1, 1), aspect=(1, 1)).box(1, 1, generator) == (0, 0, 1, 1)


@pytest.mark.parametrize("wrong", [{"area": (0, 1)}, {"area": (0.5, 0.2)}, {"aspect": (0, 1)}, {"area": (0.5, 2)}])
def test_crops_out_of_range_are_refused(wrong):
    with pytest.raises(ConstraintError, match="RandomCrop"):
        RandomCrop(**wrong)


def test_batches_are_made_on_the_device_that_is_asked_for(root):
    photos = opened(root)
    memory = ImageSet(photos.first(11), photos.labels, photos.classes, "copied")
    for images in (photos, memory):
        # A device without memory: every step has to have happened there, for its results to be there.
        for x, y in reading(images, 4, augment=[Shift(2)], device="meta"):
            assert (x.device.type, y.device.type) == ("meta", "meta")
            assert x.shape[1:] == (3, 16, 16)
    assert reading(memory).device == memory.device == torch.device("cpu")
