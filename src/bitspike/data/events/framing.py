"""From events to frames, one for each step of a network: how many events every pixel sent.

Legend of shapes: E events, T frames, H rows, W columns; the two channels are darker (0) and brighter (1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from bitspike.arguments import checked
from bitspike.data.events.events import Events, Whole
from bitspike.errors import ConstraintError


class Framing(Protocol):
    """Say which frame every event belongs to."""

    frames: int
    """T."""

    def frame_of(self, events: Events) -> Whole:
        """Return int64 [E], each from 0 to T - 1, or T where an event is in no frame."""


@checked
@dataclass(frozen=True)
class ByNumber:
    """Frames of equally many events, in the order of the file.

    With d = floor(E / T), frame j holds the events j d to (j + 1) d - 1, and the last one all that are left.

    Args:
        frames: T, at least 1.

    Example:
        >>> events = Events.of(range(7), x=[0] * 7, y=[0] * 7, p=[1] * 7, size=(1, 1))
        >>> ByNumber(3).frame_of(events).tolist()
        [0, 0, 1, 1, 2, 2, 2]
    """

    frames: int

    def __post_init__(self) -> None:
        _need_frames(self, self.frames)

    def frame_of(self, events: Events) -> Whole:
        """Return the frame of every event; of fewer events than frames all are in the last one."""
        each = len(events) // self.frames
        if not each:
            return np.full(len(events), self.frames - 1)
        return np.minimum(np.arange(len(events)) // each, self.frames - 1)


@checked
@dataclass(frozen=True)
class ByTime:
    """Frames of equal duration, from the earliest event to the latest.

    Args:
        frames: T, at least 1.
        window: microseconds of a frame; what comes after T of them is in no frame. None divides the whole recording.

    Example:
        >>> events = Events.of([0, 4, 5, 9], x=[0] * 4, y=[0] * 4, p=[1] * 4, size=(1, 1))
        >>> ByTime(2).frame_of(events).tolist(), ByTime(2, window=3).frame_of(events).tolist()
        ([0, 0, 1, 1], [0, 1, 1, 2])
    """

    frames: int
    window: int | None = None

    def __post_init__(self) -> None:
        _need_frames(self, self.frames)
        if self.window is not None and not (isinstance(self.window, int) and self.window >= 1):
            raise ConstraintError(f"{self}: window is in microseconds, at least 1", fix="window=10_000")

    def frame_of(self, events: Events) -> Whole:
        """Return the frame of every event, whatever their order in the file."""
        if not len(events):
            return np.zeros(0, np.int64)
        since = events.t - events.t.min()
        divided = since * self.frames // (events.duration + 1) if self.window is None else since // self.window
        frame: Whole = np.minimum(divided, self.frames)
        return frame


@checked
def counts(events: Events, framing: Framing) -> npt.NDArray[np.int64]:
    """Count the events of every frame, polarity and pixel: int64 [T, H, W, 2].

    Example:
        >>> events = Events.of([0, 1, 2], x=[3, 3, 0], y=[0, 0, 1], p=[1, 1, 0], size=(2, 4))
        >>> frames = counts(events, ByNumber(1))
        >>> frames.shape, int(frames[0, 0, 3, 1]), int(frames[0, 1, 0, 0])
        ((1, 2, 4, 2), 2, 1)
    """
    shape = (framing.frames, events.height, events.width, 2)
    frame = framing.frame_of(events)
    place = ((frame * events.height + events.y) * events.width + events.x) * 2 + events.p
    size = int(np.prod(shape))
    return np.bincount(place, minlength=size)[:size].reshape(shape)


@checked
def voxels(events: Events, bins: int, *, fraction_bits: int | None = None) -> npt.NDArray[np.float64]:
    """Share the polarity of every event between the two bins of time next to it: float64 [T, H, W].

    With t* = (T - 1) (t - t_first) / (t_last - t_first), bin b gets ``p * max(0, 1 - |b - t*|)`` of an event, p being
    +1 where it became brighter and -1 where darker (A. Zhu et al., Unsupervised Event-Based Learning of Optical Flow,
    Depth, and Egomotion, CVPR 2019, equations 1 and 2).

    Args:
        events: of one recording.
        bins: T, at least 1.
        fraction_bits: rounds the share of the later bin to multiples of 2**-fraction_bits, and the earlier one gets the
            rest: every value then lies on this grid and what an event gives is still 1 in sum. None does not round.

    Example:
        >>> events = Events.of([0, 3, 8], x=[0, 0, 0], y=[0, 0, 0], p=[1, 1, 0], size=(1, 1))
        >>> voxels(events, 3).ravel().tolist(), voxels(events, 3, fraction_bits=1).ravel().tolist()
        ([1.25, 0.75, -1.0], [1.0, 1.0, -1.0])
    """
    _need_frames("voxels", bins)
    if fraction_bits is not None and not 0 <= fraction_bits <= 24:
        raise ConstraintError(
            f"voxels(fraction_bits={fraction_bits}): allowed are 0 to 24, or None", fix="fraction_bits=4"
        )
    since = events.t - events.t.min() if len(events) else events.t
    at = since * (bins - 1) / max(1, events.duration)
    earlier = np.floor(at).astype(np.int64)
    later = at - earlier
    if fraction_bits is not None:
        later = np.round(later * 2**fraction_bits) / 2**fraction_bits
    sign = 2.0 * events.p - 1.0
    size = events.height * events.width
    place = events.y * events.width + events.x
    # One bin more takes the share 0 of what falls on the last one.
    total = np.zeros((bins + 1) * size)
    for bin, share in ((earlier, 1.0 - later), (earlier + 1, later)):
        total += np.bincount(bin * size + place, sign * share, minlength=len(total))
    return total[: bins * size].reshape(bins, events.height, events.width)


def _need_frames(what: object, frames: object) -> None:
    if not (isinstance(frames, int) and frames >= 1):
        raise ConstraintError(f"{what}: frames are {frames!r}, a whole number of at least 1 is needed", fix="16")
