"""Sets whose recordings lie in files: found, listed, counted into frames, and kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bitspike import places
from bitspike.data.events.cache import cached_frames
from bitspike.data.events.event_set import EventSet
from bitspike.data.events.info import EventInfo, Request
from bitspike.data.events.recordings import Recordings
from bitspike.errors import DataError


@dataclass(frozen=True)
class OnDisk:
    """Read one split of a set: find its folder, list its recordings, make frames of them.

    Args:
        folder: the name of the folder as its makers pack it.
        mark: a name in it that no other folder has.
        layout: how it lies there, for messages.
        listing: lists the recordings of a split of the folder.
    """

    folder: str
    mark: str
    layout: str
    listing: Callable[[EventInfo, Path, str], Recordings]

    def __call__(self, info: EventInfo, request: Request) -> EventSet:
        """Return the split that a request names."""
        return framed(self.listing(info, self._find(info, request), request.split), request)

    def _find(self, info: EventInfo, request: Request) -> Path:
        looked = places.places(request.root)
        home = places.unpacked(looked, self.folder, self.mark)
        if home is not None:
            return home
        lines = [f"the recordings of {info.name!r} were not found; looked in", *places.as_lines(looked)]
        lines += ["  expected in one of them, or in its folder " + self.folder, f"    {self.layout}"]
        raise DataError(
            "\n".join(lines),
            fix=f"download it ({info.source}), unpack it,"
            f"\n       and name the folder by root=FOLDER or the environment variable {places.VARIABLE}=FOLDER",
        )


def framed(recordings: Recordings, request: Request) -> EventSet:
    """Return recordings as frames from the cache."""
    cache = places.cache() / "events" if request.cache is None else Path(request.cache).expanduser()
    frames, largest = cached_frames(recordings, request.framing, cache, request.tell)
    labels = torch.tensor([entry.label for entry in recordings.entries], dtype=torch.int64)
    return EventSet(frames, labels, recordings.classes, recordings.name, digest=recordings.digest, largest=largest)


def names_in(folder: Path, suffixes: Sequence[str]) -> list[str]:
    """Return the names of a folder's files, in the order of plain text; those that begin with a dot are left out.

    Raises:
        DataError: the folder is missing or empty, or holds another file.
    """
    if not folder.is_dir():
        raise DataError(f"{folder.absolute()} is no folder", fix="unpack the set again, with all of its classes")
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    if not names:
        raise DataError(f"{folder.absolute()} holds no recordings", fix="fill the class or delete its folder")
    other = next((name for name in names if Path(name).suffix.lower() not in suffixes), None)
    if other is not None:
        raise DataError(
            f"{(folder / other).absolute()} is no file of events; allowed are {' '.join(sorted(suffixes))}",
            fix="move it elsewhere",
        )
    return names
