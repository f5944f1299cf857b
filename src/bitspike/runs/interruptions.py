"""Turn a full disk, a limit on file sizes or Ctrl-C into one RunError that says how to go on."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitspike.errors import BitspikeError, RunError
from bitspike.runs.folder import RECIPE, progress

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WORDS_OF_FULL, _WORDS_OF_TOO_LARGE = ("No space left", "os error 28"), ("File too large", "os error 27")


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
        if disk_is_full(error):
            raise RunError(
                f"the disk is full: {folder} has {_free(folder):,} bytes left; {progress(folder)}",
                fix=f"free some space, then {_way_on(folder, again)}",
            ) from error
        if file_is_too_large(error):
            raise RunError(
                f"a file in {folder} would be larger than the system lets this process write; {progress(folder)}",
                fix=f"lift the limit (ulimit -f unlimited), then {_way_on(folder, again)}",
            ) from error
        raise


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
    return _comes_from(error, _FULL, _WORDS_OF_FULL)


def file_is_too_large(error: BaseException | None) -> bool:
    """Tell whether an error comes from a limit on the size of files, however deep a library has wrapped it.

    Example:
        >>> file_is_too_large(OSError(errno.EFBIG, "File too large"))
        True
    """
    return _comes_from(error, (errno.EFBIG,), _WORDS_OF_TOO_LARGE)


def _comes_from(error: BaseException | None, numbers: tuple[int, ...], words: tuple[str, ...]) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in numbers:
            return True
        # safetensors and torch's zip writer pass the system's words on, without its number.
        if not isinstance(error, BitspikeError) and any(word in str(error) for word in words):
            return True
        error = error.__cause__ or error.__context__
    return False
