"""Which kind of run a recipe takes."""

from __future__ import annotations

from bitspike.recipe import AnyRecipe, ConvertRecipe
from bitspike.runs.build import words as b
from bitspike.runs.kinds.convert import Converted
from bitspike.runs.kinds.train import Trained
from bitspike.runs.kinds.way import Way


def way_of(recipe: AnyRecipe, data: b.Data) -> Way:
    """Return the way that a recipe's kind takes."""
    return Converted(recipe, data) if isinstance(recipe, ConvertRecipe) else Trained(recipe, data)
