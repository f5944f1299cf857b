"""Sets that are known by name: each file of a folder ``sets`` names its own ones in ``SETS``."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any, TypeVar

from bitspike.errors import DataError

Info = TypeVar("Info")
"""What is known of a set before it is read."""


def known_sets(sets: ModuleType) -> dict[str, Any]:
    """Return what every file of the package ``sets`` names in ``SETS``, each entry by its name."""
    files = [importlib.import_module(f"{sets.__name__}.{file.name}") for file in pkgutil.iter_modules(sets.__path__)]
    return {info.name: info for file in files for info in file.SETS}


def set_of_name(name: str, known: Mapping[str, Info], *, what: str, otherwise: str) -> Info:
    """Return what is known of a set.

    Args:
        name: of the set.
        known: all of its kind.
        what: their kind, for the message.
        otherwise: the way out where no name is similar.

    Raises:
        DataError: no set has this name.
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise DataError(
            f"there is no {what} {name!r}; known are {', '.join(known)}", fix=f"{near[0]!r}?" if near else otherwise
        )
    return known[name]
