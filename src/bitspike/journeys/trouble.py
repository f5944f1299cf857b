"""Errors of the machine, said as one message with the way out: a full disk, an interruption."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitspike.errors import BitspikeError, RunError
from bitspike.journeys.folder import RECIPE, progress

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Interrupted(RunError):
    """The user, or the system, asked a run to stop."""


@contextmanager
def explained(folder: Path, again: str) -> Iterator[None]:
    """Turn a full disk and an interruption inside the block into one :class:`RunError`.

    Args:
        folder: of the run.
        again: the command that began it.
    """
    try:
        yield
    except KeyboardInterrupt:
        way = _way_on(folder, again)
        raise Interrupted(f"interrupted: {progress(folder)}, saved in {folder}", fix=way) from None
    except Exception as error:
        if not disk_is_full(error):
            raise
        raise RunError(
            f"the disk is full: {folder} has {_free(folder):,} bytes left; {progress(folder)}",
            fix=f"free some space, then {_way_on(folder, again)}",
        ) from error


def _way_on(folder: Path, again: str) -> str:
    return f"go on with: {again} --resume" if (folder / RECIPE).exists() else f"start again: {again}"


def _free(folder: Path) -> int:
    """Return the bytes that are free where a folder is, or would be."""
    return shutil.disk_usage(next(place for place in (folder, *folder.absolute().parents) if place.exists())).free


def disk_is_full(error: BaseException | None) -> bool:
    """Tell whether an error comes from a full disk, however deep a library has wrapped it.

    Example:
        >>> disk_is_full(OSError(errno.ENOSPC, "No space left on device"))
        True
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        # safetensors and torch's zip writer pass the system's words on, without its number.
        if not isinstance(error, BitspikeError) and any(
            words in str(error) for words in ("No space left", "os error 28")
        ):
            return True
        error = error.__cause__ or error.__context__
    return False
