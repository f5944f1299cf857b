"""The events of one recording, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError

Whole = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, repr=False)
class Events:
    """Hold events in the order in which they were recorded.

    Times need not ascend: several cameras and their files do not promise it, and nothing here sorts them.

    Args:
        t: int64 [E], microseconds on the clock of the camera.
        x, y: int64 [E], column from 0 to ``width - 1``, row from 0 to ``height - 1``.
        p: int64 [E], polarity: 1 where the pixel became brighter, 0 where it became darker.
        height, width: of the sensor, in pixels.
        others: by name, how many entries of the file are no events of pixels: triggers, samples of a gyroscope, events
            that the camera marked invalid. They were left out.

    Raises:
        ConstraintError: lengths differ, a value is no whole number, a place lies outside the sensor, or a
            polarity is neither 0 nor 1.

    Example:
        >>> Events.of([10, 12], x=[3, 0], y=[1, 1], p=[1, 0], size=(2, 4))
        Events(2 events on 2 x 4 pixels in 2 microseconds)
    """

    t: Whole
    x: Whole
    y: Whole
    p: Whole
    height: int
    width: int
    others: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, t: Any, *, x: Any, y: Any, p: Any, size: tuple[int, int]) -> Events:
        """Make events of anything that NumPy makes arrays of; ``size`` is height and width."""
        height, width = size
        return cls(_whole("t", t), _whole("x", x), _whole("y", y), _whole("p", p), height, width)

    def __post_init__(self) -> None:
        parts = {"t": self.t, "x": self.x, "y": self.y, "p": self.p}
        if any(part.dtype != np.int64 or part.shape != self.t.shape or part.ndim != 1 for part in parts.values()):
            forms = ", ".join(f"{name} {part.dtype} {list(part.shape)}" for name, part in parts.items())
            raise ConstraintError(
                f"events are {forms}; needed are four arrays int64 of one length",
                fix="Events.of(t, x=x, y=y, p=p, ...)",
            )
        for name, most in (("x", self.width), ("y", self.height), ("p", 2)):
            wrong = np.flatnonzero(parts[name].view(np.uint64) >= most)  # what is below 0 is large there
            if len(wrong):
                raise ConstraintError(
                    f"event {wrong[0]:,} has {name} = {parts[name][wrong[0]]}; allowed are 0 to {most - 1}",
                    fix="p > 0, for polarities of -1 and 1"
                    if name == "p"
                    else "the size of the sensor, (height, width), or a file of this sensor",
                )

    def __len__(self) -> int:
        return len(self.t)

    def __repr__(self) -> str:
        left = "".join(f", {count:,} {name} left out" for name, count in self.others.items())
        size = f"{self.height} x {self.width} pixels"
        return f"Events({len(self):,} events on {size} in {self.duration:,} microseconds{left})"

    @property
    def duration(self) -> int:
        """Microseconds from the earliest event to the latest."""
        return int(self.t.max() - self.t.min()) if len(self) else 0

    def take(self, where: Any) -> Events:
        """Return the events at positions, or where a mask of bool [E] says so, in their order."""
        return replace(self, t=self.t[where], x=self.x[where], y=self.y[where], p=self.p[where])

    def between(self, start: int, end: int) -> Events:
        """Return the events with ``start <= t < end``, wherever they stand in the file.

        Example:
            >>> Events.of([5, 1, 9], x=[0, 1, 2], y=[0, 0, 0], p=[1, 1, 1], size=(1, 3)).between(1, 9).t.tolist()
            [5, 1]
        """
        return self.take((self.t >= start) & (self.t < end))


def _whole(name: str, values: Any) -> Whole:
    """Return values as int64, none of which is changed by it."""
    numbers = np.asarray(values)
    if numbers.dtype.kind in "biu" or not numbers.size:
        return numbers.astype(np.int64)
    wrong = (
        np.flatnonzero(~(np.abs(numbers) < 2**63) | (numbers != np.floor(numbers)))
        if numbers.dtype.kind == "f"
        else np.zeros(1, np.int64)
    )
    if len(wrong):
        shown = numbers.reshape(-1)[wrong[0]]
        raise ConstraintError(
            f"event {wrong[0]:,} has {name} = {shown!s}, which is no whole number",
            fix="np.round(1e6 * t), for times in seconds" if name == "t" else f"{name}.astype(int), if that is meant",
        )
    return numbers.astype(np.int64)
