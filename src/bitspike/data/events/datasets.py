"""The event sets that Bitspike knows by name, and the one door to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitspike.arguments import checked
from bitspike.data.events import sets
from bitspike.data.events.cache import Tell
from bitspike.data.events.event_set import EventSet
from bitspike.data.events.files.source import Size, checked_size
from bitspike.data.events.framing import Framing
from bitspike.data.events.info import EventInfo, Request
from bitspike.data.known import known_sets, set_of_name
from bitspike.errors import ConstraintError, short

EVENT_SETS: dict[str, EventInfo] = known_sets(sets)


@checked
def load_events(
    name: str,
    split: str = "train",
    *,
    framing: Framing,
    root: str | Path | None = None,
    size: Size | None = None,
    most: int | None = None,
    cache: str | Path | None = None,
    tell: Tell | None = None,
) -> EventSet:
    """Return one split of an event set as frames of counts.

    ``digits_events`` is simulated from the digits of the package. ``dvs_gesture``, ``cifar10_dvs`` and ``nmnist`` are
    searched for in ``root``, as their makers pack them; without one in the folder that the environment variable
    BITSPIKE_DATA names, in ``./data``, and in the user's cache. ``event_folder`` is any set of recordings
    ROOT/{train,test}/<class>/<file>. Frames are counted once and kept in the cache.

    Args:
        name: a key of ``EVENT_SETS``.
        split: ``train`` or ``test``; take validation recordings from ``train`` with :meth:`EventSet.split`.
        framing: :class:`~bitspike.data.ByNumber`, :class:`~bitspike.data.ByTime`, or another object with T ``frames``
            and a ``frame_of``; its ``repr`` names it in the cache.
        root: the folder to look in.
        size: of ``event_folder`` only: height and width of the sensor, where its files do not tell.
        most: counts above it are cut to it.
        cache: the folder of frames; None is ``events`` in the user's cache.
        tell: hears how many recordings are counted, and of how many.

    Raises:
        DataError: the set is unknown or missing, or a file is damaged; the file is named.
        ConstraintError: an argument is not allowed, or has no meaning for this set.

    Example:
        >>> from bitspike.data import ByNumber
        >>> load_events("digits_events", "test", framing=ByNumber(6))
        EventSet(digits_events: 359 recordings of 6 frames of 16 x 16 x 2, 10 classes)
    """
    info = describe_events(name)
    if split not in ("train", "test"):
        raise ConstraintError(
            f"split={split!r}: allowed are 'train' and 'test'", fix="load_events(...).split(0.1, seed=0)"
        )
    size = checked_size(size)
    if not isinstance(getattr(framing, "frames", None), int):
        raise ConstraintError(
            f"framing={short(framing)}: an object with T frames and a frame_of is needed",
            fix="framing=bs.data.ByNumber(10)",
        )
    if size is not None and info.size is not None:
        raise ConstraintError(
            f"size is for 'event_folder'; the sensor of {name!r} has {info.size[0]} x {info.size[1]} pixels",
            fix="leave it out",
        )
    events = info.read(info, Request(split, framing, root, size, cache, tell))
    return events if most is None else replace(events, most=most)


@checked
def describe_events(name: str) -> EventInfo:
    """Return what is known of an event set.

    Raises:
        DataError: no set has this name.

    Example:
        >>> describe_events("nmnist").size
        (34, 34)
    """
    return set_of_name(name, EVENT_SETS, what="event set", otherwise="'event_folder' reads your own recordings")
