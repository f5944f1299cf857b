"""The recipes that come with the package, as plain values."""

from __future__ import annotations

from typing import Any

from bitspike.arguments import checked
from bitspike.recipe import AnyRecipe, load, shipped


def _published(recipe: AnyRecipe) -> dict[str, Any] | None:
    return None if recipe.compared is None else recipe.compared.model_dump(mode="json")


def _expected(recipe: AnyRecipe) -> float | None:
    return None if recipe.promised is None else recipe.promised.test_accuracy


@checked
def recipes() -> list[dict[str, Any]]:
    """List the shipped recipes: name, kind, question, paper, published and expected figures, steps, bits, stages.

    Example:
        >>> [r["name"] for r in recipes() if r["data"] == "digits" and r["kind"] == "convert"]
        ['digits-convert']
    """
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
        }
        for recipe in map(load, shipped())
    ]
