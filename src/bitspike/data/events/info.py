"""What is known of a set of recordings before it is read, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bitspike.data.events.cache import Tell
from bitspike.data.events.event_set import EventSet
from bitspike.data.events.files.source import Size
from bitspike.data.events.framing import Framing


@dataclass(frozen=True)
class Request:
    """One split of a set, as it was asked for; :func:`bitspike.data.load_events` says what the fields mean."""

    split: str
    framing: Framing
    root: str | Path | None = None
    size: Size | None = None
    cache: str | Path | None = None
    tell: Tell | None = field(default=None, repr=False)


@dataclass(frozen=True)
class EventInfo:
    """What is known of a set before it is read.

    Args:
        name: as in recipes.
        title: for people.
        size: height and width of the sensor; None where the files decide.
        classes: names of the classes; None where the files decide.
        source: who made it, and where it is.
        read: reads the split that a request names.
    """

    name: str
    title: str
    size: Size | None
    classes: tuple[str, ...] | None
    source: str
    read: Callable[[EventInfo, Request], EventSet] = field(repr=False)
