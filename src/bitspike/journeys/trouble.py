"""Errors of the machine, said as one message with the way out: a full disk, an interruption."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitspike.errors import BitspikeError, RunError
from bitspike.journeys.folder import progress
from bitspike.train.files import remove_partial

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Interrupted(RunError):
    """The user, or the system, asked a run to stop."""


@contextmanager
def explained(folder: Path, again: str) -> Iterator[None]:
    """Turn a full disk and an interruption inside the block into one :class:`RunError`; leave nothing half-written.

    Args:
        folder: of the run.
        again: the command that goes on with it.
    """
    try:
        yield
    except KeyboardInterrupt:
        remove_partial(folder)
        raise Interrupted(f"interrupted: {progress(folder)}, saved in {folder}", fix=f"go on with: {again}") from None
    except Exception as error:
        remove_partial(folder)
        if not disk_is_full(error):
            raise
        free = shutil.disk_usage(folder).free
        raise RunError(
            f"the disk is full: {folder} has {free:,} bytes left; {progress(folder)}",
            fix=f"free some space, then go on with: {again}",
        ) from error


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
