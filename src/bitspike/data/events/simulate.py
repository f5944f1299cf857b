"""Simulated recordings: still images that move before an event camera in three saccades. No camera took part.

The camera sees the logarithm of brightness. Where it has changed by a threshold since a pixel's last event, the pixel
sends an event (P. Lichtsteiner et al., A 128x128 120 dB 15 us Latency Asynchronous Temporal Contrast Vision Sensor,
2008); the path of three straight lines is that of N-MNIST. There is no noise, and all is computed in whole numbers, so
that the events are the same on every machine.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from bitspike.data.events.events import Events, Whole

SIDE = 16
"""Rows and columns of the sensor; a pixel of an 8x8 image covers 2x2 of them."""
_PATH = ((-6, -4), (0, 6), (6, -4), (-6, -4))
"""Columns and rows by which the image is moved, in quarters of a pixel of the sensor, at the corners of the path."""
_STEPS, _STEP = 12, 1000
"""Steps of a line, and microseconds of a step."""
_TIMES = (len(_PATH) - 1) * _STEPS * _STEP + 1
"""The times from the first microsecond to the last."""
_THRESHOLD = 48
"""The change of the logarithm that makes an event, in 64ths of a factor of two."""
_LOGARITHM = np.round(64 * np.log2(1 + np.arange(257) / 16)).astype(np.int64)
"""Of brightness 0 to 256; no entry is near the middle of two whole numbers, so it is the same everywhere."""


def saccades(images: npt.NDArray[np.uint8]) -> list[Events]:
    """Return the events that a camera would send of moving images.

    Args:
        images: uint8 [N, 8, 8] from 0 to 16.

    Returns:
        the events of every image in the order of time, then of row and column; they last 36 milliseconds.

    Example:
        >>> blank, dot = np.zeros((2, 8, 8), np.uint8)
        >>> dot[4, 4] = 16
        >>> [len(events) for events in saccades(np.stack([blank, dot]))]
        [0, 220]
    """
    large = images.repeat(2, axis=1).repeat(2, axis=2).astype(np.int64)
    seen = _LOGARITHM[_moved(large, *_PATH[0])]
    columns = []
    now = 0
    for corner, following in pairwise(_PATH):
        for step in range(1, _STEPS + 1):
            place = (a + (b - a) * step // _STEPS for a, b in zip(corner, following, strict=True))
            change = _LOGARITHM[_moved(large, *place)] - seen
            number = np.abs(change) // _THRESHOLD
            seen += np.sign(change) * number * _THRESHOLD
            columns.append(_sent(number, change > 0, now))
            now += _STEP
    # One number for each event, of image, time, row, column and polarity: numbers are sorted faster than columns.
    events = np.sort(np.concatenate(columns))
    image, t, y, x, p = (
        part.astype(np.int64) for part in np.unravel_index(events, (len(images), _TIMES, SIDE, SIDE, 2))
    )
    ends = np.searchsorted(image, np.arange(len(images) + 1))
    return [Events(t[a:b], x[a:b], y[a:b], p[a:b], SIDE, SIDE) for a, b in pairwise(ends.tolist())]


def _moved(images: Whole, right: int, down: int) -> Whole:
    """Return images moved by quarters of a pixel, between pixels in proportion: brightness 0 to 256, whole numbers."""
    margin = 3
    padded = np.pad(images, ((0, 0), (margin, margin), (margin, margin)))
    (rows, part_rows), (columns, part_columns) = divmod(-down, 4), divmod(-right, 4)
    total = np.zeros_like(images)
    for row, row_share in ((rows, 4 - part_rows), (rows + 1, part_rows)):
        for column, column_share in ((columns, 4 - part_columns), (columns + 1, part_columns)):
            top, left = margin + row, margin + column
            total += row_share * column_share * padded[:, top : top + SIDE, left : left + SIDE]
    return total


def _sent(number: Whole, brighter: npt.NDArray[np.bool_], start: int) -> Whole:
    """Return the events of one step, spread evenly over it, each as one number: image, time, row, column, polarity."""
    image, y, x = np.nonzero(number)
    count = number[image, y, x]
    which = np.repeat(np.arange(len(count)), count)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count) + 1
    t = start + nth * _STEP // count[which]
    place = (y * SIDE + x) * 2 + brighter[image, y, x]
    events: Whole = (image[which] * _TIMES + t) * (SIDE * SIDE * 2) + place[which]
    return events
