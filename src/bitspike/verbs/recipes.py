"""The recipes that come with the package, as plain values."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib import resources
from typing import Any

from bitspike.arguments import checked
from bitspike.recipe import AnyRecipe, load, names
from bitspike.recipe.needs import needs_of


def _published(recipe: AnyRecipe) -> dict[str, Any] | None:
    return None if recipe.compared is None else recipe.compared.model_dump(mode="json")


def _expected(recipe: AnyRecipe) -> float | None:
    return None if recipe.promised is None else recipe.promised.test_accuracy


@checked
def recipes() -> list[dict[str, Any]]:
    """List the shipped recipes: name, question, paper, published and expected figures, bits, stages, needs, time.

    ``needs`` says which data and weights a recipe takes and where they come from. ``time`` is None where no whole run
    was kept; else how long one took: ``seconds``, the mean of so many ``runs``, ``on`` which processors, on a ``gpu``.

    Example:
        >>> [r["name"] for r in recipes() if r["data"] == "digits" and r["kind"] == "convert"]
        ['digits-convert']
    """
    times = measured()
    return [
        {
            "name": recipe.name,
            "kind": recipe.kind,
            "question": recipe.question,
            "data": recipe.data.kind,
            "model": recipe.network,
            "steps": recipe.steps,
            "bits": recipe.bits,
            **recipe.model_dump(mode="json", include={"paper"}),
            # Of a recipe in stages they are those of its last one; ``stages`` has those of each.
            "published": _published(recipe),
            "expected": _expected(recipe),
            "stages": {
                name: {"published": _published(part), "expected": _expected(part)}
                for name, part in recipe.parts.items()
            },
            "needs": asdict(needs_of(recipe)),
            "time": times.get(recipe.name),
        }
        for recipe in map(load, names())
    ]


def measured() -> dict[str, dict[str, Any]]:
    """Return the times that were measured, by recipe; the file is made from the kept records."""
    text = (resources.files("bitspike") / "recipes" / "times.json").read_text(encoding="utf-8")
    times: dict[str, dict[str, Any]] = json.loads(text)
    return times
