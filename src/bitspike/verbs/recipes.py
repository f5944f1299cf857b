"""The recipes that come with the package, as plain values."""

from __future__ import annotations

from typing import Any

from bitspike.recipe import load, shipped


def recipes() -> list[dict[str, Any]]:
    """List the shipped recipes: name, kind, question, paper, published and expected figures, steps, bits.

    Example:
        >>> [r["name"] for r in recipes() if r["bits"] == 2]
        ['quickstart']
    """
    rows = []
    for name in shipped():
        recipe = load(name)
        rows.append(
            {
                "name": recipe.name,
                "kind": recipe.kind,
                "question": recipe.question,
                "data": recipe.data.kind,
                "model": recipe.network,
                "steps": recipe.steps,
                "bits": recipe.bits,
                "paper": None if recipe.paper is None else recipe.paper.model_dump(mode="json"),
                "published": None if recipe.published is None else recipe.published.model_dump(mode="json"),
                "expected": None if recipe.expect is None else recipe.expect.test_accuracy,
            }
        )
    return rows
