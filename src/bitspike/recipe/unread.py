"""Changes of a section that would change nothing, because every stage in question says something else itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from bitspike.errors import RecipeError
from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.text import parse_value, value_at
from bitspike.recipe.words.stages import AnyStage


def refuse_unread(recipe: AnyRecipe, set: Iterable[str], *, last: bool = False) -> None:
    """Raise RecipeError if a change of a section is read by none of the stages that are run, which say something else.

    Args:
        recipe: with the changes in it.
        set: changes such as ``weights.quantize.bits=2``.
        last: only the network that the run ends with is asked for, that of the last stage.

    Example:
        >>> from bitspike.recipe.load import load
        >>> recipe = load("digits-hybrid-memory", changes := ["weights.skip=[a]"])  # the first stage reads it
        >>> refuse_unread(recipe, changes, last=True)
        Traceback (most recent call last):
        bitspike.errors.RecipeError: --set weights.skip=[a]: stage pruned says its own weights, which is read instead
          fix: --set 'stages.3.weights.skip=[a]'
    """
    stages: tuple[AnyStage, ...] = getattr(recipe, "stages", None) or ()
    if not stages:
        return
    alone = getattr(recipe, "stage", None) is not None
    asked = [recipe.chosen] if alone or last else list(stages)  # type: ignore[attr-defined]
    for change in set:
        key, _, value = change.partition("=")
        for section, own in asked[0].instead_of.items():
            below = key.strip().removeprefix(section)
            if not below.startswith(".") and key.strip() != section:
                continue
            wanted = parse_value(value)
            if any(getattr(stage, own) is None or _says(stage, own, below, wanted) for stage in asked):
                continue
            # A stage whose weights are the word float has no parts to change.
            stage = next((s for s in asked if not isinstance(getattr(s, own), str)), asked[-1])
            whose = f"{stage.called} says its own" if len(asked) == 1 else "every stage says its own"
            raise RecipeError(
                f"--set {change}: {whose} {own}, which is read instead",
                fix=f"--set {_way(f'stages.{stages.index(stage)}.{own}', getattr(stage, own), section, below, value)}",
            )


def _says(stage: AnyStage, own: str, below: str, wanted: Any) -> bool:
    """Tell whether a stage says itself what is wanted."""
    there = stage.model_dump(mode="json")[own]
    return _holds(value_at(there, below.split(".")[1:]), wanted)


def _holds(there: Any, wanted: Any) -> bool:
    """Tell whether a value is another one, or a mapping all keys of another one with what they hold."""
    if isinstance(wanted, Mapping):
        return isinstance(there, Mapping) and all(_holds(there.get(key), value) for key, value in wanted.items())
    return bool(there == wanted)


def _way(place: str, own: object, section: str, below: str, value: str) -> str:
    """Return the change that a stage reads; ``below`` is the rest of the key."""
    if isinstance(own, str) and below:
        scheme = "{kind: uniform, bits: 4}"
        return f"'{place}={scheme if '.' in section else f'{{quantize: {scheme}}}'}' first: these weights are {own}"
    if section.endswith("weights") and not below and parse_value(value) is None:
        value = "float"  # null takes those of the section
    return shlex.quote(f"{place}{below}={value}")
