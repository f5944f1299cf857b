"""Event files: every format read from files that were written byte by byte; damaged ones are named."""

from __future__ import annotations

import struct
from pathlib import Path

import event_files as files
import numpy as np
import pytest
from event_files import FORMATS

from bitspike.data.events.events import Events
from bitspike.data.events.files import evt3 as evt3_reader
from bitspike.data.events.files.read import read_events
from bitspike.errors import ConstraintError, DataError


def listed(events: Events) -> list[files.Event]:
    return list(zip(*(part.tolist() for part in (events.t, events.x, events.y, events.p)), strict=True))


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 700])
def test_a_file_gives_back_its_events_in_order(form: str, count: int, tmp_path: Path) -> None:
    suffix, size, write = FORMATS[form]
    expected = files.some_events(count, size=size)
    if form == "nmnist" and not count:
        expected = files.some_events(2, size=size)  # a file of no words is empty, which none of the format is
    read = read_events(written(tmp_path, f"a{suffix}", write(expected)), size=size)
    assert listed(read) == expected
    assert (read.height, read.width) == size
    assert not read.others


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_ends_within_an_event_is_named(form: str, tmp_path: Path) -> None:
    suffix, size, write = FORMATS[form]
    data = write(files.some_events(20, size=size))
    for cut in range(1, 2 if form == "evt3" else 4):
        path = written(tmp_path, f"cut{cut}{suffix}", data[:-cut])
        with pytest.raises(DataError, match="it ends within") as caught:
            read_events(path, size=size)
        assert str(path) in caught.value.message


@pytest.mark.parametrize(
    ("form", "size"), [("dat", (100, 304)), ("dat", (240, 100)), ("evt2", (480, 300)), ("evt3", (100, 1280))]
)
def test_an_event_outside_the_sensor_is_named(form: str, size: tuple[int, int], tmp_path: Path) -> None:
    suffix, whole, write = FORMATS[form]
    data = write(files.some_events(200, size=whole))
    told, wrong = ((f"% Width {s[1]}\n% Height {s[0]}\n" if form == "dat" else f"{s[1]}x{s[0]}") for s in (whole, size))
    if form == "evt3":
        told, wrong = (f"height={s[0]};width={s[1]}" for s in (whole, size))
    assert told.encode() in data
    path = written(tmp_path, f"a{suffix}", data.replace(told.encode(), wrong.encode()))
    with pytest.raises(DataError, match=r"event [\d,]+ lies at x = \d+, y = \d+, outside the"):
        read_events(path)


def test_nmnist_counts_overflows_of_the_clock_on(tmp_path: Path) -> None:
    expected = [(2**23 - 1, 1, 2, 1), (2**23 + 5, 3, 4, 0), (2**23 + 8191 + 2**13, 5, 6, 1)]
    data = files.nmnist(expected)
    assert data[5:10] == bytes([0, 240, 0, 0, 0])
    assert listed(read_events(written(tmp_path, "a.bin", data), size=(34, 34))) == expected


def test_nmnist_by_hand(tmp_path: Path) -> None:
    data = bytes([33, 0, 0x80 | 0x01, 0x02, 0x03, 7, 9, 0x7F, 0xFF, 0xFF])
    read = read_events(written(tmp_path, "a.bin", data), size=(34, 34))
    assert listed(read) == [(0x010203, 33, 0, 1), (0x7FFFFF, 7, 9, 0)]
    with pytest.raises(ConstraintError, match="does not say how large the sensor is"):
        read_events(tmp_path / "a.bin")
    with pytest.raises(DataError, match=r"event 0 lies at x = 33, y = 0, outside the 30 x 30 pixels"):
        read_events(tmp_path / "a.bin", size=(30, 30))


def test_aedat2_by_hand(tmp_path: Path) -> None:
    pairs = struct.pack(">IIII", 0x0203, 70, 0x8000, 71)  # row 2, column 1, darker; then an event from outside
    for header in (b"#!AER-DAT2.0\r\n", b"#!AER-DAT2.0\r\n# x\r\n#End Of ASCII Header\r\n"):
        read = read_events(written(tmp_path, "a.aedat", header + pairs))
        assert listed(read) == [(70, 1, 2, 0)]
        assert read.others == {"external events": 1}
    with pytest.raises(DataError, match="has the address 0x10000"):
        read_events(written(tmp_path, "a.aedat", b"#!AER-DAT2.0\r\n" + struct.pack(">II", 1 << 16, 0)))
    with pytest.raises(DataError, match="an address without its time"):
        read_events(written(tmp_path, "a.aedat", b"#!AER-DAT2.0\r\n" + struct.pack(">III", 1, 2, 3)))


@pytest.mark.parametrize("form", ["aedat2", "dat"])
def test_clocks_of_32_bits_are_counted_on(form: str, tmp_path: Path) -> None:
    suffix, size, write = FORMATS[form]
    expected = [(2**32 - 10, 1, 2, 1), (2**32 - 12, 1, 2, 1), (2**32 + 3, 3, 4, 0), (2**33 + 1, 5, 6, 1)]
    assert listed(read_events(written(tmp_path, f"a{suffix}", write(expected)), size=size)) == [
        *expected[:3],
        (2**32 + 1, 5, 6, 1),  # a whole turn without an event leaves no trace
    ]


def test_aedat3_leaves_out_what_is_no_event_of_a_pixel_and_says_so(tmp_path: Path) -> None:
    events = files.some_events(6, size=(128, 128))
    late = [(t + (3 << 31), x, y, p) for t, x, y, p in events]
    data = (
        files.HEADER3
        + files.packet(0, 8, 0, 2, 2, bytes(16))
        + files.polarity_packet(events, invalid=frozenset({1, 4}))
        + files.packet(1, 8, 3, 0, 0, b"")
        + files.packet(3, 36, 0, 1, 1, bytes(36))
        + files.packet(12, 4, 0, 1, 1, bytes(4))
        + files.polarity_packet(late)
    )
    read = read_events(written(tmp_path, "a.aedat", data))
    assert listed(read) == [events[i] for i in (0, 2, 3, 5)] + late
    assert read.others == {
        "special events": 2, "invalid events": 2, "samples of a gyroscope": 1, "events of kind 12": 1,
    }  # fmt: skip
    assert "2 special events left out" in repr(read)


def test_aedat3_takes_room_for_more_events_than_there_are(tmp_path: Path) -> None:
    body = struct.pack("<II", 5 << 17 | 7 << 2 | 3, 9) + bytes(16)
    data = files.HEADER3 + files.packet(1, 8, 0, 1, 1, body, capacity=3)
    assert listed(read_events(written(tmp_path, "a.aedat", data))) == [(9, 5, 7, 1)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "its header does not end"),
        (files.HEADER3.replace(b"RAW", b"SERIAL_TS"), "format SERIAL_TS"),
        (files.HEADER3 + files.packet(1, 8, 0, 5, 5, bytes(39)), "it ends within packet 0: 5 events of 8 bytes"),
        (files.HEADER3 + files.packet(1, 8, 0, 1, 1, bytes(8)) + bytes(27), "within the header of packet 1"),
        (files.HEADER3 + files.packet(1, 9, 0, 1, 1, bytes(9)), "packet 0, at byte 86, says 1 events of 9 bytes"),
        (files.HEADER3 + files.packet(1, 8, 0, 1, 2, bytes(8)), "says 1 events of 8 bytes, 2 of them valid"),
        (files.HEADER3 + files.packet(1, 8, -1, 1, 1, bytes(8)), "packet 0"),
        (files.HEADER3 + files.packet(0, 0, 0, 0, 0, b""), "events of 0 bytes"),
        (files.HEADER3 + files.packet(1, 8, 0, -1, -1, b""), "packet 0"),
        (b"#!AER-DAT4.0\r\n", "is AEDAT 4.0; known are"),
        (b"#!AER-DAT1.0\r\n", "is AEDAT 1.0; known are"),
        (b"PK\x03\x04", "which no known format does"),
        (b"", "it is empty"),
    ],
)
def test_what_is_no_file_of_events_is_named(data: bytes, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, "a.aedat", data)
    with pytest.raises(DataError, match=message) as caught:
        read_events(path)
    assert str(path) in caught.value.message
    assert caught.value.fix


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_events(tmp_path / "absent.bin")


def test_sizes_come_from_the_header_or_the_caller_and_agree(tmp_path: Path) -> None:
    unknown = files.HEADER3.replace(b"DVS128", b"NEW9000")
    path = written(tmp_path, "a.aedat", unknown + files.polarity_packet([(1, 2, 3, 1)]))
    with pytest.raises(ConstraintError, match="does not say how large"):
        read_events(path)
    assert read_events(path, size=(4, 4)).width == 4
    with pytest.raises(ConstraintError, match="is of a sensor of 240 x 304 pixels, size is"):
        read_events(written(tmp_path, "a.dat", files.dat([(1, 2, 3, 1)])), size=(304, 240))


def test_dat_of_other_kinds_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="DAT of version 1"):
        read_events(written(tmp_path, "a.dat", files.dat([], version=1)))
    with pytest.raises(DataError, match="kind 0x0e and 8 bytes"):
        read_events(written(tmp_path, "a.dat", files.dat([], kind=14)))
    with pytest.raises(DataError, match="within its header"):
        read_events(written(tmp_path, "a.dat", b"% Version 2\n"))
    assert len(read_events(written(tmp_path, "a.dat", files.dat([(1, 2, 3, 1)], kind=0)))) == 1


def test_evt2_by_hand(tmp_path: Path) -> None:
    words = [
        0x1 << 28 | 5 << 22 | 7 << 11 | 9,  # has no time yet
        0x8 << 28 | 0x0FFFFFFF,
        0x0 << 28 | 63 << 22 | 639 << 11 | 479,
        0xA << 28, 0xE << 28, 0xF << 28,
        0x8 << 28 | 2,  # the 28 bits went around
        0x1 << 28 | 1 << 22 | 3 << 11 | 4,
    ]  # fmt: skip
    head = b"% evt 2.0\n% geometry 640x480\n"
    read = read_events(written(tmp_path, "a.raw", head + struct.pack("<8I", *words)))
    assert listed(read) == [(2**34 - 1, 639, 479, 0), (2**34 + 2 * 64 + 1, 3, 4, 1)]
    assert read.others == {"triggers": 1, "words of other kinds": 2, "events before the first time": 1}
    with pytest.raises(DataError, match=r"the word at byte 33 is of kind 0x5, which EVT 2\.0 has not"):
        read_events(written(tmp_path, "a.raw", head + struct.pack("<2I", words[1], 0x5 << 28)))


def test_evt3_by_hand(tmp_path: Path) -> None:
    words = [
        0x2 << 12 | 9,  # has neither row nor time
        0x8 << 12 | 0xFFF, 0x6 << 12 | 0x005, 0x0 << 12 | 0x800 | 3,  # of the slave camera, row 3
        0x2 << 12 | 0x800 | 1279,
        0x3 << 12 | 0x800 | 100, 0x4 << 12 | 0b1000_0000_0001, 0x5 << 12 | 0b1000_0001, 0x4 << 12 | 1,
        0xA << 12, 0x7 << 12, 0xD << 12, 0xE << 12, 0xF << 12,
        0x8 << 12 | 0x000,  # the 24 bits went around, and the lower ones are 0 until they are told
        0x2 << 12 | 1,
        0x6 << 12 | 0xFFF,
        0x5 << 12 | 1,  # goes on where the last vector ended
        0x8 << 12 | 0x000,  # the same again changes nothing
        0x2 << 12 | 2,
    ]  # fmt: skip
    loop = 2**24
    expected = [
        (0xFFF005, 1279, 3, 1),
        (0xFFF005, 100, 3, 1), (0xFFF005, 111, 3, 1), (0xFFF005, 112, 3, 1), (0xFFF005, 119, 3, 1),
        (0xFFF005, 120, 3, 1),
        (loop, 1, 3, 0), (loop + 0xFFF, 132, 3, 1), (loop + 0xFFF, 2, 3, 0),
    ]  # fmt: skip
    path = written(tmp_path, "a.raw", files.evt3_file(words))
    read = read_events(path)
    assert listed(read) == expected
    assert read.others == {
        "triggers": 1, "samples of a gyroscope": 1, "words of other kinds": 3,
        "events before the first time and row": 1,
    }  # fmt: skip
    with pytest.raises(DataError, match=r"is of kind 0x9, which EVT 3\.0 has not"):
        read_events(written(tmp_path, "b.raw", files.evt3_file([*words, 0x9 << 12])))


@pytest.mark.parametrize("part", [1, 2, 3, 7, 64, 10**6])
@pytest.mark.parametrize("vectors", [True, False])
def test_evt3_is_read_in_parts_as_in_one(
    part: int, vectors: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evt3_reader, "PART", part)
    expected = files.rows_of_events(200, size=(720, 1280))
    expected += [(t + 2**24 + 9_000_000, x, y, p) for t, x, y, p in expected]  # twice around
    read = read_events(written(tmp_path, "a.raw", files.evt3(expected, vectors=vectors)))
    assert listed(read) == expected


@pytest.mark.parametrize("line", [b"% evt 2.1\n", b"% format EVT21;height=720;width=1280\n", b"% evt 4.0\n"])
def test_other_encodings_are_refused(line: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"encoding EVT (2\.1|4\.0); allowed are EVT 2.0 and EVT 3.0"):
        read_events(written(tmp_path, "a.raw", line))


def test_events_check_what_they_are_made_of() -> None:
    good = {"x": [0, 1], "y": [0, 1], "p": [0, 1], "size": (2, 2)}
    assert len(Events.of([3, 4], **good)) == 2
    for name, wrong in (("x", [0, 2]), ("y", [-1, 0]), ("p", [0, 2])):
        with pytest.raises(ConstraintError, match=f"has {name} = "):
            Events.of([3, 4], **{**good, name: wrong})
    with pytest.raises(ConstraintError, match="four arrays int64 of one length"):
        Events.of([3], **good)
    assert np.array_equal(Events.of([3, 4], **good).take([1]).t, [4])


@pytest.mark.parametrize("t", [[0.5, 1.0], [float("nan"), 1.0], [float("inf"), 1.0], [2.0**63, 1.0], ["a", "b"]])
def test_times_that_are_no_whole_numbers_are_not_cut(t: object) -> None:
    with pytest.raises(ConstraintError, match=r"event 0 has t = .* no whole number") as told:
        Events.of(t, x=[0, 0], y=[0, 0], p=[0, 1], size=(1, 1))
    assert "1e6 * t" in str(told.value)
    whole = Events.of(np.array([1.0, 2.0]), x=[0, 0], y=np.zeros(2, np.uint8), p=[False, True], size=(1, 1))
    assert (whole.t.tolist(), whole.p.tolist()) == ([1, 2], [0, 1])
    with pytest.raises(ConstraintError, match="p = -1") as told:
        Events.of([1], x=[0], y=[0], p=[-1], size=(1, 1))
    assert "p > 0" in str(told.value)


@pytest.mark.parametrize("size", [34, (34,), (34, 34, 2), (0, 34), (-1, 34), (34.0, 34.0), "34"])
def test_a_size_that_is_none_is_refused_and_a_list_is_taken(size: object, tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(bytes([10, 20, 128, 1, 0]))
    with pytest.raises(ConstraintError, match="height and width"):
        read_events(file, size=size)  # type: ignore[arg-type]
    assert len(read_events(file, size=[34, 34])) == 1  # type: ignore[arg-type]
