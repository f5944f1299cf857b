"""Events per second from files: our readers against loops over events in Python, as tutorials have them."""

from __future__ import annotations

import functools
import random
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.case import Call, Case, Group, Target, Variant
from bitspike.data import ByNumber, counts, read_events

Columns = tuple[list[int], list[int], list[int], list[int]]
OURS, LOOP, SPIKINGJELLY = "Bitspike read_events", "a loop in Python", "SpikingJelly load_aedat_v3"
FRAMES = 16


def groups(tiny: bool) -> list[Group]:
    """Return one file of AEDAT 3.1 and one of EVT 3.0, read whole; and frames of what was read."""
    count = 500 if tiny else 500_000
    aedat, evt3 = _file("aedat3", count), _file("evt3", count)
    return [
        Group(
            name="aedat3",
            shape=f"{count} events of a DVS128 camera, AEDAT 3.1",
            unit="events/s",
            peer=LOOP,
            variants=[
                Variant(name=OURS, images=count, dtype="", build=lambda: lambda: read_events(aedat)),
                Variant(name=LOOP, images=count, dtype="", build=lambda: lambda: aedat3_loop(aedat)),
                Variant(
                    name=SPIKINGJELLY, images=count, dtype="", needs="SpikingJelly", build=lambda: _spikingjelly(aedat)
                ),
            ],
            targets=[Target(variant=OURS, against=LOOP, bound=5)],
            agree=lambda: _agree(aedat, aedat3_loop),
        ),
        Group(
            name="evt3",
            shape=f"{count} events of a 720x1280 camera, EVT 3.0, half of them in vectors",
            unit="events/s",
            peer=LOOP,
            variants=[
                Variant(name=OURS, images=count, dtype="", build=lambda: lambda: read_events(evt3)),
                Variant(name=LOOP, images=count, dtype="", build=lambda: lambda: evt3_loop(evt3)),
            ],
            targets=[Target(variant=OURS, against=LOOP, bound=5)],
            agree=lambda: _agree(evt3, evt3_loop),
        ),
        Group(
            name="frames",
            shape=f"{count} events to {FRAMES} frames of 2x128x128",
            unit="events/s",
            peer=LOOP,
            variants=[
                Variant(name="Bitspike counts", images=count, dtype="", build=lambda: _frames(aedat)),
                Variant(name=LOOP, images=count, dtype="", build=lambda: _frames_loop(aedat)),
            ],
            targets=[Target(variant="Bitspike counts", against=LOOP, bound=5)],
            agree=lambda: _frames_agree(aedat),
        ),
    ]


def aedat3_loop(path: Path) -> Columns:
    """Read AEDAT 3.1 event by event with struct."""
    t, x, y, p = _columns()
    with path.open("rb") as file:
        line = file.readline()
        while line != b"#!END-HEADER\r\n":
            line = file.readline()
        while header := file.read(28):
            kind, _, size, _, overflow, capacity, _, _ = struct.unpack("<hhiiiiii", header)
            data = file.read(capacity * size)
            if kind != 1:
                continue
            for at in range(0, len(data), size):
                word, time = struct.unpack("<II", data[at : at + 8])
                if word & 1:
                    t.append(overflow << 31 | time)
                    x.append(word >> 17)
                    y.append(word >> 2 & 0x7FFF)
                    p.append(word >> 1 & 1)
    return t, x, y, p


def evt3_loop(path: Path) -> Columns:
    """Read EVT 3.0 word by word, as the documentation of the format describes it."""
    t, x, y, p = _columns()
    data = path.read_bytes()
    data = data[data.index(b"% end\n") + 6 :]
    high = low = row = base = polarity = loops = 0
    for (word,) in struct.iter_unpack("<H", data):
        kind, value = word >> 12, word & 0xFFF
        if kind == 0x0:
            row = value & 0x7FF
        elif kind == 0x2:
            t.append(loops << 24 | high << 12 | low)
            x.append(value & 0x7FF)
            y.append(row)
            p.append(value >> 11)
        elif kind == 0x3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind in (0x4, 0x5):
            for bit in range(12 if kind == 0x4 else 8):
                if value >> bit & 1:
                    t.append(loops << 24 | high << 12 | low)
                    x.append(base + bit)
                    y.append(row)
                    p.append(polarity)
            base += 12 if kind == 0x4 else 8
        elif kind == 0x6:
            low = value
        elif kind == 0x8:
            loops += high - value >= 2048
            low = low if value == high else 0
            high = value
    return t, x, y, p


def _columns() -> Columns:
    return [], [], [], []


def _agree(path: Path, loop: Callable[[Path], Columns]) -> str:
    ours = read_events(path)
    for mine, other in zip((ours.t, ours.x, ours.y, ours.p), loop(path), strict=True):
        if not np.array_equal(mine, other):
            raise AssertionError(f"{path.name}: the events of the loop are others")
    return f"{len(ours):,} events equal those of the loop"


def _spikingjelly(path: Path) -> Call:
    from spikingjelly.datasets.utils import load_aedat_v3

    return lambda: load_aedat_v3(path)


def _frames(path: Path) -> Call:
    events = read_events(path)
    return lambda: counts(events, ByNumber(FRAMES))


def _frames_loop(path: Path) -> Call:
    events = read_events(path)
    columns = [part.tolist() for part in (events.x, events.y, events.p)]

    def count() -> np.ndarray:
        frames, each = np.zeros((FRAMES, 128, 128, 2), np.int64), len(events) // FRAMES
        for n, (x, y, p) in enumerate(zip(*columns, strict=True)):
            frames[min(n // each, FRAMES - 1), y, x, p] += 1
        return frames

    return count


def _frames_agree(path: Path) -> str:
    if not np.array_equal(_frames(path)(), _frames_loop(path)()):
        raise AssertionError("the frames of the loop are others")
    return "all counts equal those of the loop"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="bitspike-events-")


@functools.cache
def _file(form: str, count: int) -> Path:
    """Write a file of random events."""
    path = Path(_folder().name, f"{form}-{count}" + (".aedat" if form == "aedat3" else ".raw"))
    draw = random.Random(0)
    path.write_bytes(_aedat3(draw, count) if form == "aedat3" else _evt3(draw, count))
    return path


def _aedat3(draw: random.Random, count: int) -> bytes:
    parts, t = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"], 0
    for start in range(0, count, 4096):
        size = min(4096, count - start)
        parts.append(struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, size, size, size))
        for _ in range(size):
            t += draw.randrange(4)
            place = draw.randrange(128) << 17 | draw.randrange(128) << 2 | draw.randrange(2) << 1 | 1
            parts.append(struct.pack("<II", place, t))
    return b"".join(parts)


def _evt3(draw: random.Random, count: int) -> bytes:
    words, t, upper, sent = list[int](), 0, -1, 0
    while sent < count:
        t += draw.randrange(200)
        if t >> 12 != upper:
            upper = t >> 12
            words.append(0x8000 | upper & 0xFFF)
        words += [0x6000 | t & 0xFFF, draw.randrange(720)]
        several = min(8, count - sent)
        if several == 8 and draw.randrange(2):
            bits = sum(1 << bit for bit in draw.sample(range(32), 8))
            words += [
                0x3000 | draw.randrange(1240),
                0x4000 | bits & 0xFFF,
                0x4000 | bits >> 12 & 0xFFF,
                0x5000 | bits >> 24,
            ]
        else:
            words += [0x2000 | draw.randrange(2) << 11 | draw.randrange(1280) for _ in range(several)]
        sent += several
    return b"% evt 3.0\n% geometry 1280x720\n% end\n" + struct.pack(f"<{len(words)}H", *words)


CASE = Case(
    name="events",
    title="Events per second from files",
    about=(
        "Files of half a million random events, as cameras write them, read whole into arrays; and 16 frames counted "
        "of them. The peer is what tutorials and readers of data sets write: a loop over the events in Python, with "
        "struct; SpikingJelly's reader of DVS128 Gesture is such a loop."
    ),
    groups=groups,
)
