"""Prophesee DAT, version 2: the GEN1 and 1 Mpx automotive sets and others.

Format: https://docs.prophesee.ai/stable/data/file_formats/dat.html
"""

from __future__ import annotations

import re

import numpy as np

from bitspike.data.events.events import Events
from bitspike.data.events.files.source import OTHER_READER, Source, header_end, told_size, unrolled
from bitspike.errors import DataError

_KINDS = (0x00, 0x0C)
"""Both are changes of a pixel: of early cameras, and of later ones."""


def read_dat(source: Source) -> Events:
    """Read little-endian pairs of 32 bits: microseconds, then x 14 bits, y 14 bits, polarity 1 bit.

    Lines that begin with ``%`` come first, then two bytes, the kind and the size of an event. Times are counted on
    where their 32 bits wrap around.

    Raises:
        DataError: another version or kind of event, or the last event is not whole.
        ConstraintError: the size of the sensor is not known.
    """
    start = header_end(source.data, b"%")
    header = source.data[:start]
    version = re.search(rb"(?im)^%\s*version\s+(\d+)", header)
    if version and int(version[1]) != 2:
        raise DataError(
            f"{source.path.absolute()} is DAT of version {int(version[1])}; allowed is version 2",
            fix=OTHER_READER,
        )
    if start + 2 > len(source.data):
        raise source.damaged("it ends within its header")
    kind, size = source.data[start], source.data[start + 1]
    if kind not in _KINDS or size != 8:
        raise DataError(
            f"{source.path.absolute()} holds events of kind {kind:#04x} and {size} bytes; allowed are changes of "
            "pixels, 0x00 and 0x0c, of 8 bytes",
            fix="the file of the changes (CD): names end with _td.dat or _cd.dat",
        )
    pairs = source.words("<u4", start + 2, "an event")
    if len(pairs) % 2:
        raise source.damaged(f"it ends with a time without its event, {len(pairs):,} words after the header")
    t, data = pairs.reshape(-1, 2).T.astype(np.int64)
    x, y, p = data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 & 1
    return source.events(unrolled(t, 2**32), x, y, p, source.need_size(told_size(header)))
