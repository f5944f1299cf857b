"""What races of methods took, kept on disk for this machine, so that the next process need not race again.

One JSON file a machine, in the user's cache folder: by the description of a layer, the seconds of each method. Nothing
depends on it but time: a method is taken from it only where it is exact for the codes at hand, whoever wrote the file.
A folder that cannot be written, a full disk, a damaged or foreign file mean another race, and nothing else.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from bitspike import __version__, digests
from bitspike.files import write_whole
from bitspike.kernels.cpp.loader import path_of
from bitspike.kernels.engine.structs import Method, level
from bitspike.machine import describe_cpu

VARIABLE = "BITSPIKE_METHODS"
"""Environment variable: the folder to keep races in, or ``off``."""

Races = Mapping[str, Mapping[Method, float]]
"""By the description of a layer: seconds by method."""

_FORMAT, _VERSION = "bitspike-methods", 2
_MOST, _BYTES = 4096, 2**22
"""Layers that are kept, the newest; and the size of a file above which it is not one of ours."""


def folder() -> Path | None:
    """Return the folder in which races are kept; None where the user wants none, or has no home.

    It is the one that BITSPIKE_METHODS names, else ``bitspike/methods`` in $XDG_CACHE_HOME, by default ~/.cache.
    """
    named, home = os.environ.get(VARIABLE, ""), os.environ.get("XDG_CACHE_HOME", "")
    if named == "off":
        return None
    if named:
        named = os.path.expanduser(named)  # noqa: PTH111  Path raises where there is no home
        return None if named.startswith("~") else Path(os.path.abspath(named))  # noqa: PTH100
    # The rules of XDG: a relative path is ignored.
    base = home if os.path.isabs(home) else os.path.expanduser("~/.cache")  # noqa: PTH111, PTH117
    return Path(base) / "bitspike" / "methods" if os.path.isabs(base) else None  # noqa: PTH117


def file() -> Path | None:
    """Return the file of this machine, or None."""
    place = folder()
    return None if place is None else place / f"{digests.of_values(machine(level()))[:16]}.json"


def read() -> dict[str, dict[Method, float]]:
    """Return all races of this machine that are kept; none where there is no file of ours."""
    try:
        path = file()
        # A pipe or a device would wait for somebody to write.
        if path is None or not path.is_file() or path.stat().st_size > _BYTES:
            return {}
        content = digests.read_json(path)
    except (OSError, ValueError):
        return {}
    head = {"format": _FORMAT, "format_version": _VERSION, "machine": machine(level())}
    if not isinstance(content, dict) or {key: content.get(key) for key in head} != head:
        return {}
    layers = content.get("layers")
    kept = {name: _seconds(race) for name, race in layers.items()} if isinstance(layers, dict) else {}
    return {name: race for name, race in kept.items() if race}


def add(fresh: Races) -> None:
    """Keep races next to those that other processes have kept; where that cannot be done, keep nothing."""
    try:
        path = file()
        if path is None or not fresh:
            return
        # Between reading and writing another process may write: its races are then raced again some time.
        layers = list(({k: v for k, v in read().items() if k not in fresh} | dict(fresh)).items())[-_MOST:]
        content = {
            "format": _FORMAT,
            "format_version": _VERSION,
            "machine": machine(level()),
            "layers": {name: {m.name: s for m, s in race.items()} for name, race in layers},
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(content, indent=1) + "\n")
    except OSError:
        return


@cache
def machine(loops: int) -> dict[str, Any]:
    """Return what times depend on besides the layer: processor, loops, version and build of the library."""
    cpu = describe_cpu()
    try:
        library = digests.of_file(path_of("engine"))
    except OSError:
        library = ""
    return {
        "processor": cpu["name"],
        "instruction_sets": cpu["instruction_sets"],
        "loops": loops,
        "bitspike": __version__,
        "library": library,
    }


def _seconds(race: Any) -> dict[Method, float]:
    """Return the entry of one layer, or nothing where it is none of ours."""
    if not isinstance(race, dict) or not set(race) <= set(Method.__members__):
        return {}
    numbers = [s for s in race.values() if isinstance(s, float) and math.isfinite(s) and s > 0]
    return {Method[name]: s for name, s in race.items()} if len(numbers) == len(race) else {}
