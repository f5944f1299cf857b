"""The answers kept in ``tests/golden``: what is asked, and how an answer of today is compared with a kept one."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kept_networks
import public_face
import small_conversions

GOLDEN = Path(__file__).parents[1] / "golden"
RUNS = tuple(sorted((GOLDEN / "runs").iterdir()))
NETWORKS = (*RUNS, *sorted((GOLDEN / "packages").iterdir()))


def _of_networks(ask: Callable[[Path], Any]) -> Callable[[], Any]:
    return lambda: {folder.name: ask(folder) for folder in NETWORKS}


ANSWERS: dict[str, Callable[[], Any]] = {
    "names": public_face.public_names,
    "modules": public_face.modules,
    "command_line": public_face.command_line,
    "recipes": public_face.recipes,
    "networks": _of_networks(kept_networks.network),
    "exports": _of_networks(kept_networks.exports),
    "runs": lambda: {folder.name: kept_networks.run(folder) for folder in RUNS},
    "chips": kept_networks.recipes_on_chips,
    "fits": kept_networks.fits,
    "conversions": lambda: {name: small_conversions.converted(name) for name in small_conversions.CHOICES},
    "ledger": small_conversions.ledger,
    "lowered": small_conversions.trained,
}
"""What is asked, by the name of the file that keeps the answer."""


def kept(name: str) -> Any:
    """Return a kept answer."""
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


def as_json(value: Any) -> Any:
    """Return a value as it comes back from a file."""
    return json.loads(json.dumps(value))


def differences(old: Any, new: Any, where: str = "", *, more: bool = False) -> Iterator[str]:
    """Yield what differs between a kept answer and one of today, a line each, with its place.

    Numbers with a fraction may differ in the last digits, which depend on the order of a sum.

    Args:
        old: the kept answer.
        new: today's, as plain values.
        where: the place of both.
        more: whether today's may hold more: names, options with a default, entries of a list of names.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield f"{where}.{key}: was {json.dumps(old[key])[:200]}, is gone"
            else:
                yield from differences(old[key], new[key], f"{where}.{key}", more=more)
        for key in new:
            if key not in old and not (more and _may_come(key, old, new)):
                yield f"{where}.{key}: is new: {json.dumps(new[key])[:200]}"
        if [key for key in new if key in old] != [key for key in old if key in new]:
            yield f"{where}: the order was {list(old)}, is {list(new)}"
    elif isinstance(old, list) and isinstance(new, list):
        if more and all(isinstance(entry, str) for entry in (*old, *new)):
            yield from (f"{where}: {entry} is gone" for entry in old if entry not in new)
        elif len(old) != len(new):
            yield f"{where}: was {len(old)} long, is {len(new)}: {json.dumps(old)[:200]} and {json.dumps(new)[:200]}"
        else:
            for i, (a, b) in enumerate(zip(old, new, strict=True)):
                yield from differences(a, b, f"{where}[{i}]", more=more)
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where}: was {old}, is {new}"
    elif type(old) is not type(new) or old != new:
        yield f"{where}: was {json.dumps(old)[:200]}, is {json.dumps(new)[:200]}"


def _may_come(key: str, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Say whether a new entry breaks no call that was right before.

    A parameter, which is a text with its kind, needs a default and may not move an older one that has a place; an
    option of the command line may not be required.
    """
    entry = new[key]
    if isinstance(entry, dict):
        return not entry.get("required", False)
    if isinstance(entry, str) and entry.startswith("positional"):
        places = [name for name, text in new.items() if str(text).startswith("positional")]
        return " = " in entry and all(places.index(key) > places.index(name) for name in places if name in old)
    return not (isinstance(entry, str) and entry.startswith("keyword-only")) or " = " in entry
