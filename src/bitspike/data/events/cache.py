"""Frames on disk: counted once, then mapped into memory by every run that asks for the same ones."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitspike.data.events.events import Events
from bitspike.data.events.framing import Framing, counts
from bitspike.data.events.recordings import Recordings
from bitspike.errors import DataError
from bitspike.files import locked, way_out, whole_folder
from bitspike.places import reason

Tell = Callable[[int, int], None]
"""Hears how many recordings are done, and of how many."""
_VERSION = 1
_FRAMES, _FACTS = "frames.npy", "facts.json"
_NARROW, _WIDE = 2**8 - 1, 2**15 - 1
_PAUSE = 0.2
"""Seconds between two looks at what another process counts."""


def cached_frames(
    recordings: Recordings, framing: Framing, folder: Path, tell: Tell | None = None
) -> tuple[Tensor, int]:
    """Return the frames of recordings, and the largest count; what is not in the cache is counted and kept.

    The cache knows frames by the hash of the list of the recordings and by the framing. Of several processes one counts
    and the others wait for it. Frames are mapped from the file, and read when they are needed.

    Args:
        recordings: of one split.
        framing: which events belong to which frame.
        folder: of the cache.
        tell: hears the progress, where something has to be counted.

    Returns:
        uint8 [N, T, H, W, 2], or int16 where a count is above 255.

    Raises:
        DataError: a file is missing or damaged, a count is above 32,767, or the cache cannot be written or read.
    """
    key = hashlib.sha256(f"{_VERSION} {recordings.digest} {framing!r} {recordings.size}".encode()).hexdigest()[:16]
    place = folder / f"{recordings.name}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        while not (place / _FACTS).is_file():
            with locked(folder) as mine:
                if mine and not (place / _FACTS).is_file():
                    _count(recordings, framing, place, {"digest": recordings.digest, "framing": repr(framing)}, tell)
            if not mine:
                time.sleep(_PAUSE)
        facts = json.loads((place / _FACTS).read_text())
        # Mapped for writing into memory only: torch would warn of an array that cannot be written.
        frames = np.load(place / _FRAMES, mmap_mode="c")
        if frames.shape != (len(recordings), framing.frames, *recordings.size, 2):
            raise ValueError(f"it holds frames of the shape {list(frames.shape)}")
        return torch.from_numpy(frames), int(facts["largest"])
    except (OSError, ValueError, KeyError) as error:
        fix = way_out(error) + ", named by cache" if isinstance(error, OSError) else f"delete {place.absolute()}"
        raise DataError(f"{place.absolute()}, where frames are kept: {reason(error)}", fix=fix) from None


def stacked(streams: Iterable[Events], framing: Framing) -> Tensor:
    """Return the frames of events in memory: uint8 [N, T, H, W, 2], or int16 where a count is above 255."""
    frames = np.stack([counts(events, framing) for events in streams])
    largest = int(frames.max(initial=0))
    _check_count(largest)
    return torch.from_numpy(frames.astype(np.uint8 if largest <= _NARROW else np.int16))


def _check_count(largest: int, where: str = "") -> None:
    if largest > _WIDE:
        raise DataError(
            f"{where}a pixel has {largest:,} events in a frame; at most {_WIDE:,} can be kept", fix="more frames"
        )


def _count(recordings: Recordings, framing: Framing, place: Path, facts: dict[str, str], tell: Tell | None) -> None:
    """Count the frames of all recordings into a new folder of the cache."""
    shape = (len(recordings), framing.frames, *recordings.size, 2)
    largest = 0
    with whole_folder(place) as fresh:
        path = fresh / _FRAMES
        frames = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
        for number, events in enumerate(recordings.read()):
            counted = counts(events, framing)
            largest = max(largest, int(counted.max(initial=0)))
            _check_count(largest, f"{recordings.folder / recordings.entries[number].file}: ")
            if largest > _NARROW and frames.dtype == np.uint8:
                frames = _widened(frames, number, path)
            frames[number] = counted
            if tell is not None:
                tell(number + 1, len(recordings))
        frames.flush()
        (fresh / _FACTS).write_text(json.dumps({**facts, "largest": largest, "name": recordings.name}, indent=1))


def _widened(frames: np.memmap, done: int, path: Path) -> np.memmap:
    """Return a wider file in the place of the one that is being written, with what is done copied."""
    wide = path.with_suffix(".wide.npy")
    wider = np.lib.format.open_memmap(wide, "w+", np.int16, frames.shape)
    for number in range(done):
        wider[number] = frames[number]
    wide.replace(path)
    return wider
