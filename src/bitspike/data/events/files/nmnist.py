"""Words of 40 bits: N-MNIST, N-Caltech101 and other recordings of the ATIS camera.

G. Orchard et al., Converting Static Image Datasets to Spiking Neuromorphic Datasets Using Saccades, 2015, section 2.5.
"""

from __future__ import annotations

import numpy as np

from bitspike.data.events.events import Events
from bitspike.data.events.files.source import Source

_OVERFLOW_ROW, _OVERFLOW = 240, 2**13


def read_words(source: Source) -> Events:
    """Read a file of big-endian words: x 8 bits, y 8, polarity 1, microseconds 23.

    A word whose y is 240, one row below the sensor, is no event: it says that the clock went around, and 8,192
    microseconds are added to its own and all later times.

    Raises:
        DataError: the last word is not whole, or an event lies outside the sensor.
        ConstraintError: the size of the sensor was not said; the file does not tell it.
    """
    size = source.need_size(None)
    words = source.words("u1", 0, "a word")
    if len(words) % 5:
        raise source.damaged(f"it ends within a word of 5 bytes: it has {len(words):,} bytes")
    x, y, high, middle, low = words.reshape(-1, 5).T.astype(np.int64)
    overflow = y == _OVERFLOW_ROW
    t = (high & 127) << 16 | middle << 8 | low
    t += _OVERFLOW * np.cumsum(overflow)
    event = ~overflow
    return source.events(t[event], x[event], y[event], high[event] >> 7, size)
