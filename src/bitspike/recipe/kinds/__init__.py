"""The kinds of recipes, one file each: its class adds the sections of its kind and says how they go together."""

from __future__ import annotations

import importlib
import pkgutil

from bitspike.recipe.any_recipe import AnyRecipe

USUAL = "train"
"""The kind of a recipe that names none."""


def kinds() -> dict[str, type[AnyRecipe]]:
    """Return the class of every kind by its name, which is that of its file; the usual kind comes first.

    Example:
        >>> list(kinds())
        ['train', 'convert', 'progressive']
    """
    names = sorted((file.name for file in pkgutil.iter_modules(__path__)), key=lambda name: (name != USUAL, name))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: _class_in(vars(module), module.__name__) for name, module in modules.items()}


def _class_in(names: dict[str, object], module: str) -> type[AnyRecipe]:
    """Return the class of recipes that a module defines itself."""
    (own,) = (v for v in names.values() if isinstance(v, type) and issubclass(v, AnyRecipe) and v.__module__ == module)
    return own
