"""Event files as cameras write them, put together byte by byte: what the tests of readers read."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence

Event = tuple[int, int, int, int]
"""Microseconds, column, row, polarity (1 where the pixel became brighter)."""


def some_events(count: int, *, size: tuple[int, int], seed: int = 0, pause: int = 50) -> list[Event]:
    """Return events at random places of a sensor (height, width), at times that ascend by 0 to ``pause``."""
    draw, t, events = random.Random(seed), draw_start(seed), []
    for _ in range(count):
        t += draw.randint(0, pause)
        events.append((t, draw.randrange(size[1]), draw.randrange(size[0]), draw.randrange(2)))
    return events


def draw_start(seed: int) -> int:
    """Return the time of the first event."""
    return random.Random(-1 - seed).randrange(1000)


def nmnist(events: Iterable[Event]) -> bytes:
    """Words of 40 bits; where a time does not fit into 23 bits, words of row 240 come before it."""
    data, passed = bytearray(), 0
    for t, x, y, p in events:
        while t - passed >= 1 << 23:
            passed += 1 << 13
            data += bytes([0, 240, 0, 0, 0])
        rest = t - passed
        data += bytes([x, y, p << 7 | rest >> 16, rest >> 8 & 255, rest & 255])
    return bytes(data)


def aedat2(events: Iterable[Event], *, header: bytes = b"#!AER-DAT2.0\r\n# a DVS128\r\n") -> bytes:
    """Big-endian pairs of address and time."""
    pairs = (struct.pack(">II", y << 8 | x << 1 | 1 - p, t & 0xFFFFFFFF) for t, x, y, p in events)
    return header + b"".join(pairs)


HEADER3 = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#Start-Time: 2016-01-01\r\n#!END-HEADER\r\n"


def packet(
    kind: int, size: int, overflow: int, count: int, valid: int, body: bytes, capacity: int | None = None
) -> bytes:
    """One packet of AEDAT 3.1."""
    room = count if capacity is None else capacity
    return struct.pack("<hhiiiiii", kind, 1, size, 4, overflow, room, count, valid) + body


def polarity_packet(events: Sequence[Event], *, invalid: frozenset[int] = frozenset()) -> bytes:
    """A packet of polarity events, all of the same overflow of the clock."""
    (overflow,) = {t >> 31 for t, *_ in events}
    words = (
        struct.pack("<II", x << 17 | y << 2 | p << 1 | (number not in invalid), t & 0x7FFFFFFF)
        for number, (t, x, y, p) in enumerate(events)
    )
    return packet(1, 8, overflow, len(events), len(events) - len(invalid), b"".join(words))


def aedat3(events: Sequence[Event], *, each: int = 100, header: bytes = HEADER3) -> bytes:
    """Packets of up to ``each`` events."""
    parts = (events[at : at + each] for at in range(0, len(events), each))
    return header + b"".join(map(polarity_packet, parts))


def dat(events: Iterable[Event], *, size: tuple[int, int] = (240, 304), version: int = 2, kind: int = 12) -> bytes:
    """DAT of version 2."""
    header = f"% Date 2020-01-01\n% Version {version}\n% Width {size[1]}\n% Height {size[0]}\n".encode()
    pairs = (struct.pack("<II", t & 0xFFFFFFFF, p << 28 | y << 14 | x) for t, x, y, p in events)
    return header + bytes([kind, 8]) + b"".join(pairs)


def evt2(events: Iterable[Event], *, size: tuple[int, int] = (480, 640)) -> bytes:
    """RAW with EVT 2.0; the upper bits of the time come where they change."""
    words, upper = [], -1
    for t, x, y, p in events:
        if t >> 6 != upper:
            upper = t >> 6
            words.append(0x8 << 28 | upper & 0x0FFFFFFF)
        words.append(p << 28 | (t & 0x3F) << 22 | x << 11 | y)
    header = f"% evt 2.0\n% geometry {size[1]}x{size[0]}\n% end\n".encode()
    return header + struct.pack(f"<{len(words)}I", *words)


def evt3_words(events: Sequence[Event], *, vectors: bool = True) -> list[int]:
    """Words of EVT 3.0: neighbors of one time, row and polarity whose columns ascend share vectors."""
    words: list[int] = []
    upper, lower, row, at = -1, -1, -1, 0
    while at < len(events):
        t, x, y, p = events[at]
        if t >> 12 != upper:
            # The camera sends the upper bits at every turn, so that none is missed.
            turns = range(upper + 1, (t >> 12) + 1) if upper >= 0 else [t >> 12]
            words += [0x8 << 12 | turn & 0xFFF for turn in turns]
            upper, lower = t >> 12, -1
        if t & 0xFFF != lower:
            lower = t & 0xFFF
            words.append(0x6 << 12 | lower)
        if y != row:
            row = y
            words.append(y)
        end = at + 1
        while (
            end < len(events)
            and events[end][0] == t
            and events[end][2:] == (y, p)
            and events[end][1] > events[end - 1][1]
        ):
            end += 1
        if not vectors or end - at < 3:
            words.append(0x2 << 12 | p << 11 | x)
            at += 1
            continue
        columns = [c for _, c, _, _ in events[at:end]]
        while columns:  # cameras send 32 columns at once, in words of 12, 12 and 8
            base, place = columns[0], columns[0]
            words.append(0x3 << 12 | p << 11 | base)
            for kind, wide in ((0x4, 12), (0x4, 12), (0x5, 8)):
                words.append(kind << 12 | sum(1 << c - place for c in columns if place <= c < place + wide))
                place += wide
            columns = [c for c in columns if c >= place]
        at = end
    return words


def evt3(events: Sequence[Event], *, size: tuple[int, int] = (720, 1280), vectors: bool = True) -> bytes:
    """RAW with EVT 3.0."""
    return evt3_file(evt3_words(events, vectors=vectors), size=size)


def evt3_file(words: Sequence[int], *, size: tuple[int, int] = (720, 1280)) -> bytes:
    """RAW with given words of EVT 3.0."""
    header = f"% evt 3.0\n% format EVT3;height={size[0]};width={size[1]}\n% end\n".encode()
    return header + struct.pack(f"<{len(words)}H", *words)


def rows_of_events(count: int, *, size: tuple[int, int], seed: int = 0) -> list[Event]:
    """Return events of which many share a time, a row and a polarity, as moving edges make them."""
    draw, t, events = random.Random(seed), draw_start(seed), []
    while len(events) < count:
        t += draw.randint(0, 3000)
        y, p = draw.randrange(size[0]), draw.randrange(2)
        columns = sorted(draw.sample(range(size[1]), draw.choice([1, 2, 5, 40])))
        events += [(t, x, y, p) for x in columns]
    return events


SMALL, DVS128 = (34, 34), (128, 128)
FORMATS: dict[str, tuple[str, tuple[int, int], Callable[[list[Event]], bytes]]] = {
    "nmnist": (".bin", SMALL, nmnist),
    "aedat2": (".aedat", DVS128, aedat2),
    "aedat3": (".aedat", DVS128, aedat3),
    "dat": (".dat", (240, 304), dat),
    "evt2": (".raw", (480, 640), evt2),
    "evt3": (".raw", (720, 1280), evt3),
}
"""Of each format the end of a file's name, the size of the sensor, and what writes events."""
