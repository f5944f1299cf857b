"""A file of events on its way through a reader: its bytes, its header in text, and what is said when it is damaged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.data.events.events import Events, Whole
from bitspike.errors import ConstraintError, DataError, short
from bitspike.places import damaged

Size = tuple[int, int]
"""Height and width of a sensor, in pixels."""
OTHER_READER = (
    "the package of its maker, and bitspike.data.Events.of(t, x=x, y=y, p=p, size=(HEIGHT, WIDTH)) of its arrays"
)
"""What helps where a file is whole and of a form that is not known here."""


@dataclass(frozen=True)
class Source:
    """The content of a file.

    Args:
        path: for messages.
        data: all of its bytes.
        size: of the sensor, as whoever reads the file said it; None where the file has to tell.
    """

    path: Path
    data: bytes
    size: Size | None = None

    def damaged(self, why: str) -> DataError:
        """Return the error for a file that cannot be what it says."""
        return damaged(self.path, why, fix="copy or download the file again")

    def words(self, kind: str, start: int, what: str) -> npt.NDArray[np.unsignedinteger]:
        """Return everything from byte ``start`` on as words of a NumPy type.

        Raises:
            DataError: the last word is not whole.
        """
        size, rest = np.dtype(kind).itemsize, len(self.data) - start
        if rest % size:
            raise self.damaged(
                f"it ends within {what}: {rest:,} bytes from byte {start:,} on are no multiple of {size}"
            )
        return np.frombuffer(self.data, kind, offset=start)

    def need_size(self, told: Size | None) -> Size:
        """Return the size of the sensor: what the file tells, else what the caller said.

        Raises:
            ConstraintError: neither says it, or they differ.
        """
        if told is None and self.size is None:
            raise ConstraintError(
                f"{self.path.absolute()} does not say how large the sensor is",
                fix="read_events(path, size=(HEIGHT, WIDTH)); of N-MNIST it is (34, 34)",
            )
        if told is not None and self.size is not None and told != self.size:
            raise ConstraintError(
                f"{self.path.absolute()} is of a sensor of {told[0]} x {told[1]} pixels, size is {self.size}",
                fix="read_events(path), which takes the size from the file",
            )
        size = self.size if told is None else told
        assert size is not None
        return size

    def events(
        self, t: Whole, x: Whole, y: Whole, p: Whole, size: Size, others: Mapping[str, int] | None = None
    ) -> Events:
        """Return the events of the file, each of which lies on the sensor.

        Raises:
            DataError: one does not; it is named.
        """
        height, width = size
        outside = np.flatnonzero((x >= width) | (y >= height))
        if len(outside):
            first = outside[0]
            raise self.damaged(
                f"event {first:,} lies at x = {x[first]}, y = {y[first]}, outside the {height} x {width} pixels of the "
                f"sensor, as do {len(outside) - 1:,} more"
            )
        return Events(t, x, y, p, height, width, {name: count for name, count in (others or {}).items() if count})


def checked_size(size: Any) -> Size | None:
    """Return the height and width that a caller said, or None where nothing was said.

    Raises:
        ConstraintError: they are no two whole numbers above 0.

    Example:
        >>> checked_size([34, 34]), checked_size(None)
        ((34, 34), None)
    """
    if size is None:
        return None
    both = tuple(size) if isinstance(size, tuple | list) else ()
    if len(both) != 2 or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in both):
        raise ConstraintError(
            f"size={short(size)}: height and width of the sensor are needed, two whole numbers above 0",
            fix="size=(34, 34)",
        )
    return both


def header_end(data: bytes, mark: bytes) -> int:
    """Return where the lines that begin with ``mark`` end.

    Example:
        >>> header_end(b"% one\\n% two\\n123", b"% ")
        12
    """
    at = 0
    while data.startswith(mark, at):
        end = data.find(b"\n", at)
        if end < 0:
            return len(data)
        at = end + 1
    return at


def told_size(header: bytes) -> Size | None:
    """Return the size of the sensor that a header of Prophesee's tells.

    Example:
        >>> told_size(b"% Width 304\\n% Height 240\\n"), told_size(b"% format EVT3;height=720;width=1280\\n")
        ((240, 304), (720, 1280))
    """
    text = header.decode("latin-1")
    if geometry := re.search(r"(?im)^%\s*geometry\s*:?\s*(\d+)\s*x\s*(\d+)", text):
        return int(geometry[2]), int(geometry[1])
    height, width = (re.search(rf"(?i)[%;\s]{side}\s*[=:\s]\s*(\d+)", text) for side in ("height", "width"))
    return (int(height[1]), int(width[1])) if height and width else None


def unrolled(t: Whole, period: int) -> Whole:
    """Return the values of a counter that wraps around at ``period``, counted on.

    A fall by half a period or more is a wrap; a smaller one is taken as it is.

    Example:
        >>> unrolled(np.array([250, 2, 1, 255, 0]), 256).tolist()
        [250, 258, 257, 511, 512]
    """
    wraps = np.diff(t, prepend=t[:1]) <= -(period // 2)
    return t + period * np.cumsum(wraps)
