"""What the shell offers at the tabulator: recipes, their keys, chips, boards, networks of the zoo; without torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import typer

from bitspike.errors import BitspikeError


def recipes(incomplete: str) -> Iterator[str]:
    """Offer the shipped recipes, and YAML files."""
    yield from _files("recipes", ".yaml", incomplete)
    yield from _paths(incomplete, ".yaml")


def chips(incomplete: str) -> Iterator[str]:
    """Offer the shipped profiles of chips, and TOML files."""
    yield from _files("hardware/chips/profiles", ".toml", incomplete)
    yield from _paths(incomplete, ".toml")


def boards(incomplete: str) -> Iterator[str]:
    """Offer the boards that C is written for."""
    return _files("formats/c/boards/profiles", ".toml", incomplete)


def networks(incomplete: str) -> Iterator[str]:
    """Offer the networks of the zoo."""
    return _files("zoo/networks", ".zip", incomplete)


def keys(context: typer.Context, incomplete: str) -> Iterator[str]:
    """Offer the keys of the recipe that stands on the line, or of the quickstart where none does yet."""
    from bitspike.recipe import load
    from bitspike.recipe.text import leaves

    named: Any = context.params.get("recipe") or "quickstart"
    try:
        known = leaves(load(named).model_dump(mode="json"))
    except BitspikeError:
        return
    yield from (f"{key}=" for key in known if key.startswith(incomplete))


def _files(folder: str, ending: str, incomplete: str) -> Iterator[str]:
    files = [file.name for file in (resources.files("bitspike") / folder).iterdir()]
    names = sorted(file.removesuffix(ending) for file in files if file.endswith(ending))
    return (name for name in names if name.startswith(incomplete))


def _paths(incomplete: str, ending: str) -> Iterator[str]:
    """Offer files of the working directory with an ending, and folders that may hold some."""
    path = Path(incomplete)
    parent = path if incomplete.endswith("/") else path.parent
    with suppress(OSError):  # no folder, or one that may not be looked into
        for child in sorted(parent.iterdir()):
            folder = child.is_dir()
            said = f"{child}/" if folder else str(child)
            if said.startswith(incomplete) and (folder or child.suffix == ending) and not child.name.startswith("."):
                yield said
