"""Event sets: laid out as their makers pack them, with their splits, and frames that are counted once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import event_files as files
import pytest
import torch

from bitspike.data import ByNumber, ByTime, EventSet, describe_events, load_events, read_events
from bitspike.data.events import cache as cache_module
from bitspike.data.events.simulate import saccades
from bitspike.errors import ConstraintError, DataError

FRAMING = ByNumber(4)


def put(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def nmnist(root: Path, count: int = 2) -> Path:
    for split in ("Train", "Test"):
        for digit in range(10):
            for n in range(count):
                events = files.some_events(30 + n, size=(34, 34), seed=100 * digit + n)
                put(root / "N-MNIST" / split / str(digit) / f"{n:05d}.bin", files.nmnist(events))
    return root


def gesture(root: Path) -> Path:
    folder = root / "DvsGesture"
    lists = {"train": ["user01_led", "user02_led"], "test": ["user24_led"]}
    for split, names in lists.items():
        put(folder / f"trials_to_{split}.txt", "".join(f"{name}.aedat\n" for name in names))
        for seed, name in enumerate(names):
            put(folder / f"{name}.aedat", files.aedat3(files.some_events(400, size=(128, 128), seed=seed)))
            # Rows overlap and do not ascend, as in the published files.
            rows = "class,startTime_usec,endTime_usec\n1,500,2500\n11,2000,4000\n8,1000,1500\n"
            put(folder / f"{name}_labels.csv", rows)
    return root


def cifar(root: Path, count: int = 20) -> Path:
    for name in ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]:
        for n in range(count):
            put(
                root / name / f"cifar10_{name}_{n}.aedat",
                files.aedat2(files.some_events(20 + n, size=(128, 128), seed=n)),
            )
    return root


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_nmnist_lies_in_folders_of_digits(place: Path) -> None:
    root = nmnist(place / "data")
    train, test = (load_events("nmnist", split, framing=FRAMING, root=root) for split in ("train", "test"))
    assert train.frames.shape == (20, 4, 34, 34, 2)
    assert train.counts() == test.counts() == [2] * 10
    assert train.frames.sum((1, 2, 3, 4)).tolist() == [30, 31] * 10
    assert train.digest != test.digest
    assert repr(train) == "EventSet(nmnist: 20 recordings of 4 frames of 34 x 34 x 2, 10 classes)"
    assert load_events("nmnist", framing=FRAMING, root=root / "N-MNIST").digest == train.digest


def test_gestures_are_parts_of_files_by_time(place: Path) -> None:
    root = gesture(place)
    train = load_events("dvs_gesture", framing=FRAMING, root=root)
    assert train.labels.tolist() == [0, 10, 7] * 2
    times = read_events(root / "DvsGesture" / "user01_led.aedat").t
    spans = ((500, 2500), (2000, 4000), (1000, 1500))
    expected = [int(((times >= start) & (times < end)).sum()) for start, end in spans]
    assert train.frames.sum((1, 2, 3, 4)).tolist()[:3] == expected
    assert load_events("dvs_gesture", "test", framing=FRAMING, root=root).labels.tolist() == [0, 10, 7]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("class,start,end\n", "begins with 'class,start,end'"),
        ("class,startTime_usec,endTime_usec\n1,2\n", "line 2: '1,2' are no three numbers"),
        ("class,startTime_usec,endTime_usec\n1,2,x\n", "no three numbers"),
        ("class,startTime_usec,endTime_usec\n12,2,3\n", "classes are 1 to 11"),
        ("class,startTime_usec,endTime_usec\n0,2,3\n", "classes are 1 to 11"),
        ("class,startTime_usec,endTime_usec\n1,3,3\n", "ends after it begins"),
        ("class,startTime_usec,endTime_usec\n1,900000000,900000001\n", "has no event from 900,000,000 to"),
        ("", "is empty"),
    ],
)
def test_labels_of_gestures_that_make_no_sense_are_named(rows: str, message: str, place: Path) -> None:
    root = gesture(place)
    put(root / "DvsGesture" / "user02_led_labels.csv", rows)
    with pytest.raises(DataError, match=message) as caught:
        load_events("dvs_gesture", framing=FRAMING, root=root)
    assert "user02_led" in caught.value.message


def test_cifar10_dvs_is_parted_by_the_order_of_names_and_turned_upright(place: Path) -> None:
    root = cifar(place / "here")
    train, test = (load_events("cifar10_dvs", split, framing=ByNumber(1), root=root) for split in ("train", "test"))
    assert train.counts() == [18] * 10
    assert test.counts() == [2] * 10
    # As text 8 and 9 are the last of 0, 1, 10, 11, ..., 19, 2, ..., 9.
    assert test.frames.sum((1, 2, 3, 4)).tolist()[:2] == [28, 29]
    raw = read_events(root / "bird" / "cifar10_bird_9.aedat")
    frame = torch.zeros(128, 128, 2, dtype=torch.int64)
    for x, y, p in zip(raw.x.tolist(), raw.y.tolist(), raw.p.tolist(), strict=True):
        frame[127 - x, 127 - y, p] += 1
    assert torch.equal(test.frames[5, 0].long(), frame)


def test_own_recordings_lie_in_folders_of_classes(place: Path) -> None:
    root = place / "mine"
    put(root / "train" / "up" / "a.dat", files.dat(files.some_events(9, size=(240, 304))))
    put(root / "train" / "down" / "b.raw", files.evt2(files.some_events(8, size=(240, 304)), size=(240, 304)))
    put(root / "test" / "up" / "c.raw", files.evt3(files.some_events(7, size=(240, 304)), size=(240, 304)))
    train = load_events("event_folder", framing=ByTime(3), root=root)
    assert (train.classes, train.labels.tolist(), train.shape) == (("down", "up"), [0, 1], (240, 304, 2))
    assert train.frames.sum((1, 2, 3, 4)).tolist() == [8, 9]
    assert load_events("event_folder", "test", framing=ByTime(3), root=root).labels.tolist() == [1]
    put(root / "test" / "left" / "d.dat", files.dat([]))
    with pytest.raises(DataError, match=r"has classes that .* has not: left"):
        load_events("event_folder", "test", framing=ByTime(3), root=root)
    put(root / "train" / "up" / "small.dat", files.dat([(1, 2, 3, 1)], size=(4, 4)))
    with pytest.raises(DataError, match=r"small.dat is of a sensor of 4 x 4 pixels.*mine needs 240 x 304"):
        load_events("event_folder", framing=ByTime(3), root=root)
    put(root / "train" / "up" / "notes.txt", "x")
    with pytest.raises(DataError, match=r"notes\.txt is no file of events"):
        load_events("event_folder", framing=ByTime(3), root=root)


def test_frames_are_counted_once_and_then_mapped(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = nmnist(place / "data", count=1)
    told: list[tuple[int, int]] = []

    def load(framing: ByNumber | ByTime = FRAMING) -> EventSet:
        return load_events("nmnist", framing=framing, root=root, cache=place / "kept", tell=lambda *n: told.append(n))

    first = load()
    assert told == [(n, 10) for n in range(1, 11)]
    told.clear()
    again = load()
    assert not told
    assert torch.equal(first.frames, again.frames)
    load(ByNumber(5))
    load(ByTime(4))
    assert len(told) == 20
    assert len(list((place / "kept").iterdir())) == 3
    put(root / "N-MNIST" / "Train" / "3" / "00001.bin", files.nmnist([(1, 2, 3, 1)]))  # another list of files
    told.clear()
    assert len(load()) == 11
    assert len(told) == 11


def test_a_damaged_file_is_named_and_leaves_no_frames(place: Path) -> None:
    root = nmnist(place / "data", count=1)
    path = root / "N-MNIST" / "Train" / "7" / "00000.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-2])
    for _ in range(2):
        with pytest.raises(DataError, match=r"7/00000.bin is damaged: it ends within a word"):
            load_events("nmnist", framing=FRAMING, root=root, cache=place / "kept")
    assert not list((place / "kept").iterdir())
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"7/00000.bin is damaged: it is empty"):
        load_events("nmnist", framing=FRAMING, root=root, cache=place / "kept")
    path.write_bytes(files.nmnist([]) + bytes([0, 240, 0, 0, 0]))
    with pytest.raises(DataError, match=r"7/00000.bin has no event, where a recording of class '7' should be"):
        load_events("nmnist", framing=FRAMING, root=root, cache=place / "kept")
    path.write_bytes(whole)
    assert len(load_events("nmnist", framing=FRAMING, root=root, cache=place / "kept")) == 10


def test_counts_beyond_a_byte_are_kept(place: Path) -> None:
    root = nmnist(place / "data", count=1)
    many = [(n, 5, 6, 1) for n in range(1200)]
    put(root / "N-MNIST" / "Train" / "4" / "00000.bin", files.nmnist(many))
    kept = load_events("nmnist", framing=FRAMING, root=root)
    assert kept.frames.dtype == torch.int16
    assert kept.frames[4, :, 6, 5, 1].tolist() == [300] * 4
    assert kept.frames.sum((1, 2, 3, 4)).tolist() == [30] * 4 + [1200] + [30] * 5
    assert (kept.brightest(), kept.first(9).max()) == (300, 300)
    cut = load_events("nmnist", framing=FRAMING, root=root, most=7)
    assert (cut.brightest(), int(cut.first(9).max()), int(cut.subset([4]).first(1).max())) == (7, 7, 7)


def test_counts_beyond_what_is_kept_are_named(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = nmnist(place / "data", count=1)
    monkeypatch.setattr(cache_module, "_WIDE", 3)
    put(root / "N-MNIST" / "Train" / "4" / "00000.bin", files.nmnist([(n, 5, 6, 1) for n in range(40)]))
    with pytest.raises(DataError, match=r"4/00000.bin: a pixel has 10 events in a frame; at most 3"):
        load_events("nmnist", framing=FRAMING, root=root)


def test_of_several_readers_one_counts_the_frames(place: Path) -> None:
    root, told = nmnist(place / "data", count=1), list[tuple[int, int]]()

    def total(_: int) -> int:
        tell = lambda *n: told.append(n)  # noqa: E731
        return int(load_events("nmnist", framing=FRAMING, root=root, cache=place / "kept", tell=tell).frames.sum())

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(total, range(3))) == [300] * 3
    assert told == [(n, 10) for n in range(1, 11)]


def test_what_is_missing_or_meant_otherwise_is_said(place: Path) -> None:
    with pytest.raises(DataError, match=r"the recordings of 'nmnist' were not found; looked in") as caught:
        load_events("nmnist", framing=FRAMING, root=place / "nowhere")
    assert "(no such folder)" in caught.value.message
    assert "{Train,Test}" in caught.value.message
    with pytest.raises(DataError, match="there is no event set 'nmnits'") as caught:
        load_events("nmnits", framing=FRAMING)
    assert caught.value.fix == "'nmnist'?"
    with pytest.raises(ConstraintError, match="split='val'"):
        load_events("nmnist", "val", framing=FRAMING)
    with pytest.raises(ConstraintError, match="size is for 'event_folder'"):
        load_events("nmnist", framing=FRAMING, size=(3, 3))
    with pytest.raises(DataError, match="needs root=FOLDER"):
        load_events("event_folder", framing=FRAMING)


def test_a_simulated_camera_says_so_and_is_the_same_everywhere() -> None:
    events = load_events("digits_events", "test", framing=ByNumber(6))
    assert "simulated" in describe_events("digits_events").source
    assert events.frames.shape == (359, 6, 16, 16, 2)
    assert int(events.frames.sum()) == 450_026  # whole numbers from whole numbers
    assert events.subset([5, 3]).split(1, seed=0)[1].frames is events.frames


def test_a_moving_dot_is_seen_where_it_comes_and_goes() -> None:
    dot = torch.zeros(1, 8, 8, dtype=torch.uint8)
    dot[0, 4, 4] = 16
    (events,) = saccades(dot.numpy())
    assert set(events.y.tolist()) <= set(range(6, 13))
    assert (events.t[1:] >= events.t[:-1]).all()
    # At the end the image stands where it stood at the beginning, so every pixel got as bright as it got dark.
    assert (2 * events.p - 1).sum() == 0


def test_an_event_set_refuses_what_it_cannot_hold() -> None:
    frames, labels = torch.zeros(2, 3, 4, 4, 2, dtype=torch.uint8), torch.tensor([0, 1])
    make: Callable[..., EventSet] = lambda **more: EventSet(  # noqa: E731
        **{"frames": frames, "labels": labels, "classes": ("a", "b"), "name": "x", **more}
    )
    for more, message in (
        ({"frames": frames.float()}, r"torch.float32 \[2, 3, 4, 4, 2\]"),
        ({"frames": frames[:, 0]}, "needed is torch.uint8 or torch.int16"),
        ({"labels": labels[:1]}, r"needed is torch.int64 \[2\]"),
        ({"most": 0}, "most=0"),
    ):
        with pytest.raises(ConstraintError, match=message):
            make(**more)
    with pytest.raises(DataError, match="labels go from 0 to 1"):
        make(classes=("a",))
    with pytest.raises(ConstraintError, match="positions 0 to 2"):
        make().subset([0, 2])
    assert make(frames=frames[:0], labels=labels[:0]).brightest() == 0


def test_a_framing_that_is_none_is_refused() -> None:
    with pytest.raises(ConstraintError, match="framing=4"):
        load_events("digits_events", framing=4)  # type: ignore[arg-type]
