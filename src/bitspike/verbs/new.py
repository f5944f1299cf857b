"""A recipe of one's own, to begin with."""

from __future__ import annotations

from pathlib import Path

from bitspike.arguments import checked
from bitspike.recipe.derived import free, write
from bitspike.recipe.new import small


@checked
def new(name: str, *, out: str | Path | None = None) -> Path:
    """Write a small recipe that runs as it is, with a comment at every choice, and return its path.

    Args:
        name: of the recipe.
        out: where it goes; None is ``NAME.yaml`` in the working directory.

    Raises:
        RecipeError: recipes cannot have this name. RunError: there is a file already, or it cannot be written.
    """
    path = free(out, name)
    write(path, small(name, path.name))
    return path
