"""Public readers of event files give the same events as ours: times, columns, rows, polarities, order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bitspike.data import ByNumber, ByTime, counts, read_events
from unit import event_files as files
from unit.event_files import DVS128, FORMATS

Columns = tuple[Any, Any, Any, Any]
"""Times, columns, rows, polarities."""
SPIKINGJELLY = "SpikingJelly, whose events and frames are compared with ours, comes with the extra bench"
ABSENT = {
    "expelliarmus": "expelliarmus, which reads this format too, comes with the extra events",
    "evutils": "evutils, which reads this format too, comes with the extra events",
    "evt3": "evt3, which reads this format too, comes with the extra events",
    "tonic": "tonic, which reads this format too, is in no extra, as it brings librosa and SciPy: pip install tonic",
    "spikingjelly": SPIKINGJELLY,
}


def fields(events: Any) -> Columns:
    return events["t"], events["x"], events["y"], events["p"]


def by_expelliarmus(package: ModuleType, path: Path) -> Columns:
    encoding = "dat" if path.suffix == ".dat" else "evt2"
    return fields(package.Wizard(encoding=encoding).read(path))


def by_evutils(_package: ModuleType, path: Path) -> Columns:
    from evutils.io import EventReader  # type: ignore[import-not-found]

    read = EventReader(path.read_bytes(), mode="all").read()  # of a path it leaves the file open
    return fields(read[0] if isinstance(read, tuple) else read)


def by_evt3(package: ModuleType, path: Path) -> Columns:
    read = package.decode_file(str(path))
    return read.timestamp, read.x, read.y, read.polarity


def by_tonic(_package: ModuleType, path: Path) -> Columns:
    from tonic import io  # type: ignore[import-not-found]

    if path.suffix == ".bin":
        return fields(io.read_mnist_file(str(path), dtype=io.events_struct))
    # Its readers of whole AEDAT files fail (findings/tonic-aedat-readers.sh); the one that they call does not.
    version, start, _ = io.read_aedat_header_from_file(str(path))
    words = io.get_aer_events_from_file(str(path), version, start)
    address = words["address"].astype(np.int64)
    if version == 2.0:
        return words["timeStamp"], address >> 1 & 127, address >> 8 & 127, 1 - (address & 1)
    return words["timeStamp"], address >> 17, address >> 2 & 0x7FFF, address >> 1 & 1


def by_spikingjelly(_package: ModuleType, path: Path) -> Columns:
    from spikingjelly.datasets import cifar10_dvs, utils  # type: ignore[import-not-found]

    if path.suffix == ".bin":
        return fields(utils.load_ATIS_bin(path))
    if b"DAT3.1" in path.read_bytes()[:20]:
        return fields(utils.load_aedat_v3(path))
    t, x, y, p = fields(cifar10_dvs._load_origin_data(path))
    return t, 127 - y, 127 - x, p  # it turns the images of CIFAR10-DVS upright


READERS: dict[str, Callable[[ModuleType, Path], Columns]] = {
    "expelliarmus": by_expelliarmus, "evutils": by_evutils, "evt3": by_evt3, "tonic": by_tonic,
    "spikingjelly": by_spikingjelly,
}  # fmt: skip
READERS_OF = {
    "nmnist": ("tonic", "spikingjelly"),
    "aedat2": ("tonic", "spikingjelly"),
    "aedat3": ("evutils", "tonic", "spikingjelly"),
    "dat": ("expelliarmus", "evutils"),
    "evt2": ("expelliarmus", "evutils"),
    "evt3": ("evt3", "evutils"),
}
CASES = [(form, reader) for form, readers in READERS_OF.items() for reader in readers]


def streams(form: str) -> Iterator[list[files.Event]]:
    """Yield streams that every format can hold, two of them with clocks that go around where a reader counts on."""
    size = FORMATS[form][1]
    yield files.some_events(3000, size=size)
    yield files.some_events(500, size=size, seed=1, pause=3000)
    if form == "evt3":
        yield files.rows_of_events(3000, size=size)
        early = files.some_events(400, size=size, seed=2, pause=30_000)
        yield early + [(t + 2**24, x, y, p) for t, x, y, p in early]


@pytest.mark.parametrize(("form", "reader"), CASES)
def test_a_public_reader_gives_the_same_events(form: str, reader: str, tmp_path: Path) -> None:
    package = pytest.importorskip(reader, reason=ABSENT[reader])
    suffix, size, write = FORMATS[form]
    for number, stream in enumerate(streams(form)):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(write(stream))
        ours = read_events(path, size=size)
        theirs = [np.asarray(column).astype(np.int64) for column in READERS[reader](package, path)]
        for name, mine, other in zip("txyp", (ours.t, ours.x, ours.y, ours.p), theirs, strict=True):
            assert np.array_equal(mine, other), (form, reader, number, name)
        assert len(ours) == len(stream)


def test_every_format_has_two_public_readers() -> None:
    assert set(READERS_OF) == set(FORMATS)
    assert all(len(readers) >= 2 for readers in READERS_OF.values())


@pytest.mark.parametrize("frames", [1, 7, 16])
def test_frames_are_those_of_spikingjelly(frames: int) -> None:
    utils = pytest.importorskip("spikingjelly.datasets.utils", reason=SPIKINGJELLY)
    t, x, y, p = (np.array(column) for column in zip(*files.some_events(5003, size=DVS128), strict=True))
    from bitspike.data import Events

    events = Events.of(t, x=x, y=y, p=p, size=DVS128)
    for framing, word in ((ByNumber(frames), "number"), (ByTime(frames), "time")):
        theirs = utils.integrate_events_by_fixed_frames_number({"t": t, "x": x, "y": y, "p": p}, word, frames, *DVS128)
        ours = counts(events, framing).transpose(0, 3, 1, 2)
        assert ours.sum() == theirs.sum() == 5003
        if word == "number":  # it cuts time at whole microseconds, so its last frame is longer
            assert np.array_equal(ours, theirs)
