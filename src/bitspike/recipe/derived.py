"""A recipe that a verb makes of another one: other values, a name of its own, a remark after the question."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bitspike.errors import RunError
from bitspike.files import obstacle, way_out, write_whole
from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.text import dump


def values_under(recipe: AnyRecipe, name: str, remark: str) -> dict[str, Any]:
    """Return the plain values of a recipe under another name, to be changed further.

    It promises no accuracy any more. What a remark of the same verb, up to its colon, said before is gone.

    Example:
        >>> from bitspike.recipe import load
        >>> values = values_under(load("digits-convert"), "Digits on a chip", " (Changed: twice.)")
        >>> values["name"], values["question"][-29:], values["expect"]
        ('digits-on-a-chip', 'time steps? (Changed: twice.)', None)
    """
    question = recipe.question.split(remark.partition(":")[0])[0]
    name = re.sub(r"[^a-z0-9._-]", "-", name.lower())
    return recipe.model_dump(mode="json") | {
        "name": name,
        "question": f"{question}{remark}",
        "changed": None,
        "expect": None,
    }


def free(out: str | Path | None, name: str) -> Path:
    """Return where a new recipe goes, ``NAME.yaml`` in the working directory unless ``out`` says so.

    Raises:
        RunError: there is a file already, or none can be written there.
    """
    path = Path(f"{name}.yaml") if out is None else Path(out)
    if path.exists():
        raise RunError(f"{path} is there already, and nothing is overwritten", fix="--out ANOTHER_FILE")
    if (reason := obstacle(path.parent)) is not None:
        raise RunError(f"{path} cannot be written: {reason}", fix="a folder that is there or can be made")
    return path


def write(path: Path, recipe: AnyRecipe | str) -> None:
    """Write a recipe, or its text, to a file, and the folders that it needs.

    Raises:
        RunError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, recipe if isinstance(recipe, str) else dump(recipe))
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror}", fix=way_out(error)) from error
