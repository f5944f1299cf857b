"""AEDAT 3.1, as cAER writes it: DVS128 Gesture."""

from __future__ import annotations

import re
import struct
from collections import Counter

import numpy as np
import numpy.typing as npt

from bitspike.data.events.events import Events, Whole
from bitspike.data.events.files.source import OTHER_READER, Size, Source
from bitspike.errors import DataError

_END = b"#!END-HEADER\r\n"
_PACKET = struct.Struct("<hhiiiiii")
_KINDS = {0: "special events", 2: "frames", 3: "samples of a gyroscope", 4: "samples of a gyroscope"}
_SENSORS: dict[str, Size] = {
    "DVS128": (128, 128), "DAVIS128": (128, 128), "DAVIS240A": (180, 240), "DAVIS240B": (180, 240),
    "DAVIS240C": (180, 240), "DAVIS346": (260, 346), "DAVIS346B": (260, 346), "DAVIS640": (480, 640),
}  # fmt: skip
_POLARITY = 1


def read_aedat3(source: Source) -> Events:
    """Read packets of little-endian events, each packet after a header of 28 bytes.

    A polarity event is 8 bytes: bit 0 valid, bit 1 polarity, bits 2 to 16 y, bits 17 to 31 x, then 31 bits of
    microseconds, to which the packet adds its overflows. Packets of other kinds, and events that the camera marked
    invalid, are counted in ``others``.

    Raises:
        DataError: the header or a packet is not whole, contradicts itself, or is not in the format RAW.
        ConstraintError: the size of the sensor is not known.
    """
    end = source.data.find(_END)
    if end < 0:
        raise source.damaged("its header does not end: there is no line #!END-HEADER")
    header = source.data[:end].decode("latin-1")
    form = re.search(r"(?m)^#Format: *(\S+)", header)
    if form and form[1] != "RAW":
        raise DataError(
            f"{source.path.absolute()} is in the format {form[1]} of AEDAT 3.1; allowed is RAW",
            fix=OTHER_READER,
        )
    named = re.search(r"(?m)^#Source [^:]*: *(\S+)", header)
    size = source.need_size(_SENSORS.get(named[1].upper()) if named else None)
    words, t, others = _packets(source, end + len(_END))
    valid = (words & 1).astype(bool)
    if count := len(words) - int(np.count_nonzero(valid)):
        others["invalid events"] += count
        words, t = words[valid], t[valid]
    x, y, p = ((words >> low & most).astype(np.int64) for low, most in ((17, 0x7FFF), (2, 0x7FFF), (1, 1)))
    return source.events(t, x, y, p, size, others)


def _packets(source: Source, at: int) -> tuple[npt.NDArray[np.uint32], Whole, Counter[str]]:
    """Return data, uint32 [E], and times, int64 [E], of the polarity events of all packets, and how many others are."""
    parts, overflows, others, number = [np.zeros((0, 2), "<u4")], [0], Counter[str](), -1
    while at < len(source.data):
        number += 1
        if at + _PACKET.size > len(source.data):
            raise source.damaged(f"it ends within the header of packet {number:,}, at byte {at:,}")
        kind, _, size, _, overflow, capacity, count, valid = _PACKET.unpack_from(source.data, at)
        start, at = at + _PACKET.size, at + _PACKET.size + capacity * size
        if size < 1 or overflow < 0 or not 0 <= valid <= count <= capacity or (kind == _POLARITY and size != 8):
            raise source.damaged(
                f"packet {number:,}, at byte {start - _PACKET.size:,}, says {count} events of {size} bytes, {valid} of "
                f"them valid, in room for {capacity}"
            )
        if at > len(source.data):
            raise source.damaged(
                f"it ends within packet {number:,}: {capacity:,} events of {size} bytes were announced at byte "
                f"{start:,}, and {len(source.data) - start:,} bytes are left"
            )
        if kind != _POLARITY:
            others[_KINDS.get(kind, f"events of kind {kind}")] += count
            continue
        parts.append(np.frombuffer(source.data, "<u4", 2 * count, start).reshape(-1, 2))
        overflows.append(overflow)
    data, t = np.concatenate(parts).T
    since = np.repeat(np.array(overflows, np.int64) << 31, [len(part) for part in parts])
    return np.ascontiguousarray(data), t + since, others
