"""A network, or that of a run or a recipe, against the rules of a chip."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bitspike.arguments import checked
from bitspike.hardware.chips.check import check as examine
from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.report import Report
from bitspike.integer.network import IntegerNetwork
from bitspike.recipe import AnyRecipe, load
from bitspike.runs.saved import read_network, refuse_module
from bitspike.runs.sketch import sketch


@checked
def check(what: IntegerNetwork | str | Path | AnyRecipe, chip: str | Path | Chip, *, set: Iterable[str] = ()) -> Report:
    """Check a network against the rules of a chip.

    Nothing is run: weights, shapes and worst cases decide. All violations are collected; ``raise_if_failed`` on the
    report raises once with all of them. A recipe's network is built with initial weights: neither weights nor images
    are read, and rules whose numbers training decides, such as widths of potentials, thresholds and biases, are not
    judged but listed (``report.undecided``).

    Args:
        what: an integer network; the folder of a saved one, or of a run; or a recipe: its name, its path, or itself. A
            linear layer that feeds a read-out alone belongs to the host (note N301).
        chip: the name of a shipped profile, the path of a TOML file, or a :class:`Chip`.
        set: changes to a recipe.

    Raises:
        ConstraintError: the chip is unknown or its file is wrong, or a sum of the network may leave 63 bits.
        PackageError, RecipeError: the network or recipe cannot be read.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(check(one_convolution(), "fanin1024-v1"))
        chip 'fanin1024-v1': 1 layer fits
    """
    if isinstance(what, IntegerNetwork):
        return examine(what, chip)
    refuse_module(what)
    if isinstance(what, str | Path) and Path(what).is_dir():
        return examine(read_network(what), chip)
    return examine(sketch(load(what, set)).net, chip, trained=False)
