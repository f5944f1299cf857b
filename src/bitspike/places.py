"""Where image sets lie on a disk, and what to say when one is missing or damaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bitspike.errors import DataError

VARIABLE = "BITSPIKE_DATA"


def places(root: str | Path | None = None) -> tuple[Path, ...]:
    """Return the folders to look in, first to last.

    A ``root`` that is given is the only one: falling back in silence could train on another copy. Without one these are
    the folder named by the environment variable BITSPIKE_DATA, ``data`` in the working directory, and the user's cache.
    """
    if root is not None:
        return (_expand(root),)
    named = os.environ.get(VARIABLE)
    return (*((_expand(named),) if named else ()), Path("data"), cache())


def download_place(root: str | Path | None = None) -> Path:
    """Return the folder to download into: ``root``, else the one BITSPIKE_DATA names, else the user's cache."""
    named = root if root is not None else os.environ.get(VARIABLE)
    return _expand(named) if named else cache()


def cache() -> Path:
    """Return the user's cache folder of image sets: $XDG_CACHE_HOME/bitspike/data, by default under ~/.cache."""
    return _expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "bitspike" / "data"


def _expand(folder: str | Path) -> Path:
    return Path(os.path.expanduser(folder))  # noqa: PTH111  Path.expanduser raises where there is no home


def unpacked(looked: Sequence[Path], folder: str, mark: str) -> Path | None:
    """Return the first folder in which a set lies as its makers pack it: ``folder`` in a place, or that place itself.

    Args:
        looked: the places, first to last.
        folder: its usual name.
        mark: a file or folder in it that no other one has.
    """
    candidates = [candidate for place in looked for candidate in (place / folder, place)]
    return next((candidate for candidate in candidates if (candidate / mark).exists()), None)


def as_lines(looked: Sequence[Path]) -> list[str]:
    """Return the folders that were looked into as lines of a message."""
    return [f"    {folder.absolute()}" + ("" if folder.is_dir() else "  (no such folder)") for folder in looked]


def missing(name: str, looked: Sequence[Path], layouts: Sequence[str], *, download: str) -> DataError:
    """Return the error for a set that is in none of the folders that were looked into.

    Args:
        layouts: what would have been accepted in one of them, a line each.
        download: what ``download=True`` would fetch, with its size.
    """
    lines = [f"the data set {name!r} was not found; looked in"]
    lines += as_lines(looked)
    lines += ["  expected in one of them, either of", *(f"    {layout}" for layout in layouts)]
    return DataError(
        "\n".join(lines),
        fix=f"name the folder that holds it, by root=FOLDER or the environment variable {VARIABLE}=FOLDER;"
        f"\n       or let it be downloaded, by download=True ({download});"
        "\n       or lay your own copy out in one of the ways above",
    )


def damaged(path: Path, why: str, *, fix: str) -> DataError:
    """Return the error for a file that is there and cannot be used."""
    return DataError(f"{path.absolute()} is damaged: {why}", fix=fix)


def reason(error: BaseException) -> str:
    """Say in one line what went wrong in another library."""
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__
