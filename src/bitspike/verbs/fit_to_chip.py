"""The cheapest change that makes a recipe's network fit a chip."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from bitspike.errors import ConstraintError
from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.chip import load as load_chip
from bitspike.hardware.chips.plan_repairs import ANYWHERE, WAYS, Way
from bitspike.recipe import AnyRecipe, load
from bitspike.runs.fitting import Fitting, fit_recipe


def fit(
    recipe: str | Path | AnyRecipe,
    chip: str | Path | Chip,
    *,
    ways: Collection[Way] = ANYWHERE,
    neuron_price: float = 0.25,
    out: str | Path | None = None,
    set: Iterable[str] = (),
) -> Fitting:
    """Make a recipe's network fit a chip by the cheapest change of every layer that does not.

    The change is planned on the integers, applied to the network, and the result is lowered, checked and proven on
    random images. Where a recipe can say the change a new one is written, which is always so but for a network of the
    package whose weight scheme has no width. Accuracy is for the new recipe to find back.

    Args:
        recipe: a shipped name, the path of a YAML file, or a recipe.
        chip: the name of a shipped profile, the path of a TOML file, or a chip.
        ways: what may be done to a layer: fewer ``bits``, ``groups``, a ``split`` into partial sums; ``prune`` takes
            input channels away, where one layer alone reads what another alone makes; ``real`` leaves a layer to the
            host, with all layers before it or all after it, and is chosen where nothing else helps.
        neuron_price: of adding as many neurons as a layer has, in lost signal from 0 to 1. The lower, the sooner layers
            are split into partial sums, which loses no weight; at 0.25 they are grouped wherever they can be.
        out: of the new recipe; None is ``NAME-CHIP.yaml`` in the working directory.
        set: changes to the recipe.

    Raises:
        ConstraintError: the chip or a way is unknown. RunError: the new recipe would overwrite a file.
    """
    chosen, chip = load(recipe, set), load_chip(chip)
    if unknown := [way for way in ways if way not in WAYS]:
        raise ConstraintError(
            f"ways: {', '.join(unknown)}; allowed are {', '.join(WAYS)}",
            fix=f"ways={ANYWHERE} (--ways {','.join(ANYWHERE)})",
        )
    path = Path(f"{chosen.name}-{chip.name}.yaml") if out is None else Path(out)
    return fit_recipe(chosen, chip, ways=ways, neuron_price=neuron_price, path=path)
