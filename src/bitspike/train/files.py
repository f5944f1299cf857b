"""Files that are whole or absent: written under another name, flushed to disk, then renamed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

PARTIAL = ".partial"
"""The suffix of everything that is still being written."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that at every moment either the old or the new content stands at ``path``, never a part.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is then as it was, and no part is left.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def replace_folder(partial: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one, which stays as ``NAME.previous`` until the new one stands."""
    previous = folder.with_name(folder.name + ".previous")
    if folder.exists():
        shutil.rmtree(previous, ignore_errors=True)
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def remove_partial(folder: Path) -> None:
    """Remove everything below ``folder`` that was left half-written."""
    for path in sorted(folder.rglob("*" + PARTIAL)):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
