"""Turn a full disk, a limit on file sizes or Ctrl-C into one RunError that says how to go on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitspike.errors import BitspikeError, RunError
from bitspike.runs.folder import RECIPE, progress
from bitspike.runs.origin import go_on

_FULL = (errno.ENOSPC, errno.EDQUOT), ("No space left", "os error 28")
_TOO_LARGE = (errno.EFBIG,), ("File too large", "os error 27")
"""Numbers of an error of the system, and its words: safetensors and torch's zip writer pass on the words alone."""


@contextmanager
def explained(folder: Path, command: str, *, whole: Path | None = None) -> Iterator[None]:
    """Turn a full disk, a file size limit or an interruption into one :class:`RunError`.

    ``command`` began the run; ``whole`` is the folder of all of it, where this one is of a part.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        back = whole or folder
        way = f"go on with: {go_on(back)}" if (back / RECIPE).exists() else f"start again: {command}"
        if isinstance(error, KeyboardInterrupt):
            raise RunError(f"interrupted: {progress(folder)}, saved in {folder}", fix=way) from None
        if _comes_from(error, *_FULL):
            place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            free = shutil.disk_usage(place).free
            raise RunError(
                f"the disk is full: {folder} has {free:,} bytes left; {progress(folder)}",
                fix=f"free some space, then {way}",
            ) from error
        if _comes_from(error, *_TOO_LARGE):
            raise RunError(
                f"a file in {folder} would be larger than the system lets this process write; {progress(folder)}",
                fix=f"lift the limit (ulimit -f unlimited), then {way}",
            ) from error
        raise


def _comes_from(error: BaseException | None, numbers: tuple[int, ...], words: tuple[str, ...]) -> bool:
    """Tell whether an error of the system is the cause of another, however deep a library has wrapped it."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        if not isinstance(error, BitspikeError) and any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
