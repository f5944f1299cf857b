"""A TOML file of a chip or a technology: read whole, of a size and depth that a person writes."""

from __future__ import annotations

import re
import tomllib
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError

_MOST_BYTES, _DEEPEST = 1 << 15, 8
_LONG_KEY = re.compile(rb"""(?:\.[ \t]*[\w"'-]{1,64}[ \t]*){32}""")


def names_in(folder: Path) -> list[str]:
    """Return the names of the files that ship in a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def find(name: str | Path, folder: Path, what: str, *, noun: str = "") -> Path:
    """Return the path of a file that ships, by its name, or of one's own.

    ``what`` is the argument that names it; messages call the file ``noun``, usually the same word.

    Raises:
        ConstraintError: there is neither.
    """
    if str(name) in (names := names_in(folder)):
        return folder / f"{name}.toml"
    if not isinstance(name, str | Path) or not Path(name).is_file():
        near = [n for n in names if n.startswith(str(name))] or get_close_matches(str(name), names, n=1) or names[-1:]
        raise ConstraintError(
            f"{what} {str(name)!r}: neither a shipped {noun or what} nor a file; shipped are {', '.join(names)}",
            fix=f"{what}={near[0]!r}, or the path of a .toml file",
        )
    return Path(name)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Return the values of a TOML file; messages call what it describes ``what``.

    Raises:
        ConstraintError: it cannot be read, is no TOML, larger than 32 KiB, or nested more than 8 deep.
    """
    try:
        data = path.read_bytes()
        if len(data) > _MOST_BYTES:
            raise ConstraintError(
                f"{what} {path}: it has {len(data):,} bytes, at most {_MOST_BYTES:,} are read", fix=f"one {what} a file"
            )
        if _LONG_KEY.search(data):  # the parser's time grows with the square of its parts
            raise _too_deep(what, path)
        values = tomllib.loads(data.decode("utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        if isinstance(error, ConstraintError):
            raise
        raise ConstraintError(
            f"{what} {path}: cannot be read: {error}", fix="a TOML file in UTF-8 that you may read"
        ) from error
    level: list[Any] = [values]
    for _ in range(_DEEPEST):
        level = [inner for value in level for inner in _inside(value)]
    if level:
        raise _too_deep(what, path)
    return values


def _too_deep(what: str, path: Path) -> ConstraintError:
    return ConstraintError(
        f"{what} {path}: it is nested more than {_DEEPEST} deep",
        fix="plain keys and one level of tables",
    )


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
