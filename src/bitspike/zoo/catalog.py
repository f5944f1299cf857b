"""What the zoo holds, and what is said of it; torch is not needed for that."""

from __future__ import annotations

import difflib
import io
import json
import tomllib
import zipfile
from importlib import resources
from typing import Any

from bitspike import digests
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, PackageError
from bitspike.zoo.entry import Entry

LIST = "networks.toml"
_HOUSE = resources.files("bitspike.zoo") / "networks"
REPORT = "report.json"
"""Of the run that made a network, in its file."""


def names() -> list[str]:
    """Return the names of all networks, in alphabetical order.

    Example:
        >>> "quickstart" in names()
        True
    """
    return sorted(_shelf())


@checked
def about(name: str) -> Entry:
    """Return what is known of a network: the report of its run, and the licence.

    Raises:
        ConstraintError: there is no network of this name. PackageError: its file is damaged.

    Example:
        >>> about("quickstart").steps
        4
    """
    return _entry(name, opened(name))


def _entry(name: str, archive: zipfile.ZipFile) -> Entry:
    row = _shelf()[name]
    return Entry(name, row["about"], row["licence"], json.loads(archive.read(REPORT)))


def _shelf() -> dict[str, dict[str, Any]]:
    return tomllib.loads((_HOUSE / LIST).read_text(encoding="utf-8"))


def opened(name: str) -> zipfile.ZipFile:
    """Return the file of a network, whose digest is that of the list."""
    shelf = _shelf()
    if name not in shelf:
        near = [n for n in sorted(shelf) if n.startswith(str(name))] or difflib.get_close_matches(str(name), shelf, n=1)
        listed = "'bitspike zoo' (bs.zoo.names()) lists all"
        raise ConstraintError(f"the zoo has no network {name!r}", fix=f"{near[0]!r}? {listed}" if near else listed)
    file = _HOUSE / f"{name}.zip"
    try:
        data = file.read_bytes()
    except OSError as error:
        raise PackageError(f"{file} cannot be read: {error.strerror}", fix="install bitspike again") from error
    if digests.of_bytes(data) != shelf[name]["sha256"]:
        raise PackageError(f"{file} is not what the package came with", fix="install bitspike again")
    return zipfile.ZipFile(io.BytesIO(data))
