"""The recordings of one split: which files they are in, which part of them each one is, and the hash of this list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path

from bitspike.data.events.events import Events
from bitspike.data.events.files.read import read_events
from bitspike.data.events.files.source import Size
from bitspike.errors import BitspikeError, DataError
from bitspike.places import reason


@dataclass(frozen=True)
class Recording:
    """One labeled recording.

    Args:
        file: relative to the folder of the set.
        label: index of its class.
        start, end: microseconds: the events with ``start <= t < end`` of the file; None takes the whole file.
    """

    file: str
    label: int
    start: int | None = None
    end: int | None = None

    @property
    def line(self) -> str:
        """The recording in one line of text, as it enters the hash of its list."""
        part = "" if self.start is None else f" {self.start} {self.end}"
        return f"{self.label} {self.file}{part}"


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split of a set, in its order.

    Args:
        folder: of the set.
        entries: the recordings; those of one file stand together.
        classes: the names of the classes.
        size: height and width of the sensor.
        name: what the set is called.
        turn: changes the events of every file, as the set asks for; None leaves them.
    """

    folder: Path
    entries: tuple[Recording, ...]
    classes: tuple[str, ...]
    size: Size
    name: str
    turn: Callable[[Events], Events] | None = None

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the list: of every recording its label, file, part, and the number of its bytes.

        Two copies of a set whose splits, order or sizes differ have different ones. It is computed once.

        Raises:
            DataError: a file is not there.
        """
        sizes = {name: _bytes_of(self.folder / name) for name in dict.fromkeys(entry.file for entry in self.entries)}
        lines = [f"{entry.line} {sizes[entry.file]}\n" for entry in self.entries]
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()

    def read(self) -> Iterator[Events]:
        """Yield the events of every recording, each file being read once.

        Raises:
            DataError: a file is damaged, or a recording holds no event; it is named.
        """
        for name, entries in groupby(self.entries, key=lambda entry: entry.file):
            events = self._file(name)
            for entry in entries:
                part = events if entry.start is None or entry.end is None else events.between(entry.start, entry.end)
                if not len(part):
                    raise DataError(
                        f"{(self.folder / name).absolute()} has no event"
                        + ("" if entry.start is None else f" from {entry.start:,} to {entry.end:,} microseconds")
                        + f", where a recording of class {self.classes[entry.label]!r} should be",
                        fix="download the file, and that of its labels, again",
                    )
                yield part

    def _file(self, name: str) -> Events:
        path = self.folder / name
        try:
            events = read_events(path, size=self.size)
        except DataError:
            raise
        except BitspikeError as error:  # of a sensor of another size, for instance
            raise DataError(
                f"{error.message}; {self.name} needs {self.size[0]} x {self.size[1]}", fix=error.fix
            ) from None
        return events if self.turn is None else self.turn(events)


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{path.absolute()}: {reason(error)}; the list of the set names it", fix="download the set again"
        ) from None
