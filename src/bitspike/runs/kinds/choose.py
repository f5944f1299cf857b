"""Which kind of run belongs to a recipe: its class names it."""

from __future__ import annotations

from pkgutil import resolve_name

from bitspike.recipe import AnyRecipe
from bitspike.runs.kinds.kind import Kind


def kind_of(recipe: AnyRecipe) -> type[Kind]:
    """Return the class that runs recipes of this kind.

    Example:
        >>> from bitspike.recipe import load
        >>> kind_of(load("quickstart")).__name__, kind_of(load("digits-convert")).__name__
        ('Trained', 'Converted')
    """
    kind: type[Kind] = resolve_name(recipe.makes)
    return kind
