"""A network or a recipe against the rules of a chip."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bitspike.hardware.check import check as examine
from bitspike.hardware.chip import Chip
from bitspike.hardware.findings import Report
from bitspike.journeys.networks import read_network, sketch
from bitspike.recipe import AnyRecipe, load


def check(what: str | Path | AnyRecipe, chip: str | Path | Chip, *, set: Iterable[str] = ()) -> Report:
    """Check a saved network, the network of a run, or that of a recipe against a chip.

    A recipe's network is built with initial weights: neither weights nor images are read.

    Args:
        what: the folder of a network or of a run, or a recipe: its name, its path, or itself.
        chip: the name of a shipped profile, the path of a TOML file, or a chip.
        set: changes to a recipe.

    Raises:
        ConstraintError: the chip is unknown. PackageError, RecipeError: what is to be checked cannot be read.
    """
    if isinstance(what, str | Path) and Path(what).is_dir():
        return examine(read_network(what), chip)
    return examine(sketch(load(what, set)).net, chip)
