"""AEDAT 2.0, as jAER writes it for the DVS128 camera: CIFAR10-DVS."""

from __future__ import annotations

import numpy as np

from bitspike.data.events.events import Events
from bitspike.data.events.files.source import OTHER_READER, Source, header_end, unrolled
from bitspike.errors import DataError

_SIDE = 128
_END = b"#End Of ASCII Header\r\n"


def read_aedat2(source: Source) -> Events:
    """Read big-endian pairs of an address and a time, 32 bits each, after lines that begin with ``#``.

    Of an address of the DVS128, bit 0 is 1 where the pixel became darker, bits 1 to 7 are x, bits 8 to 14 are y, and
    bit 15 marks an event from outside the camera. Places are those of the address: sets that turn or mirror them do it
    themselves. Times are counted on where their 32 bits wrap around.

    Raises:
        DataError: the last pair is not whole, or an address has more bits than those of the DVS128.
    """
    end = source.data.find(_END)
    start = header_end(source.data, b"#") if end < 0 else end + len(_END)
    pairs = source.words(">u4", start, "a word")
    if len(pairs) % 2:
        raise source.damaged(f"it ends with an address without its time, {len(pairs):,} words after the header")
    address, t = pairs.reshape(-1, 2).T.astype(np.int64)
    other = np.flatnonzero(address >> 16)
    if len(other):
        raise DataError(
            f"{source.path.absolute()}: event {other[0]:,} has the address {address[other[0]]:#x}; addresses of the "
            "DVS128 camera have 16 bits",
            fix=OTHER_READER,
        )
    size = source.need_size((_SIDE, _SIDE))
    external = address >> 15 == 1
    address, t = address[~external], unrolled(t, 2**32)[~external]
    x, y = address >> 1 & 127, address >> 8 & 127
    return source.events(t, x, y, 1 - (address & 1), size, {"external events": int(external.sum())})
