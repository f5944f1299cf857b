"""EVT 2.0, words of 32 bits, as Prophesee's cameras of the third generation send them.

Format: https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html
"""

from __future__ import annotations

import numpy as np

from bitspike.data.events.events import Events
from bitspike.data.events.files.source import Size, Source, unrolled

_DARKER, _BRIGHTER, _TIME = 0x0, 0x1, 0x8
_OTHERS = {0xA: "triggers", 0xE: "words of other kinds", 0xF: "words of other kinds"}


def read_evt2(source: Source, start: int, size: Size) -> Events:
    """Read the words from byte ``start`` on.

    The upper 4 bits of a word are its kind. A change of a pixel has 6 bits of time, 11 of x and 11 of y; the 28 upper
    bits of the time come in words of their own, and all together are microseconds. What comes before the first of these
    has no time: it is counted in ``others``, as are triggers.

    Raises:
        DataError: the last word is not whole, a word is of an unknown kind, or an event lies outside the sensor.
    """
    words = source.words("<u4", start, "a word")
    kinds = (words >> 28).astype(np.uint8)
    counts = np.bincount(kinds, minlength=16)
    strange = [k for k in range(16) if counts[k] and k not in (_DARKER, _BRIGHTER, _TIME, *_OTHERS)]
    if strange:
        where = int(np.flatnonzero(np.isin(kinds, strange))[0])
        raise source.damaged(
            f"the word at byte {start + 4 * where:,} is of kind {kinds[where]:#x}, which EVT 2.0 has not"
        )
    times = unrolled((words[kinds == _TIME] & 0x0FFFFFFF).astype(np.int64), 2**28)
    change = kinds <= _BRIGHTER
    known = np.cumsum(kinds == _TIME)[change]
    others = dict.fromkeys((*_OTHERS.values(), "events before the first time"), 0)
    for kind, name in _OTHERS.items():
        others[name] += int(counts[kind])
    others["events before the first time"] = int((known == 0).sum())
    data, known = words[change][known > 0].astype(np.int64), known[known > 0]
    t = times[known - 1] << 6 | data >> 22 & 0x3F
    return source.events(t, data >> 11 & 0x7FF, data & 0x7FF, data >> 28, size, others)
