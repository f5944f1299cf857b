"""The recipes that come with the package, as plain values."""

from __future__ import annotations

from typing import Any

from bitspike.recipe import AnyRecipe, ConvertRecipe, load, shipped


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
                "model": _model(recipe),
                "steps": steps_of(recipe),
                "bits": bits_of(recipe),
                "paper": None if recipe.paper is None else recipe.paper.model_dump(mode="json"),
                "published": None if recipe.published is None else recipe.published.model_dump(mode="json"),
                "expected": None if recipe.expect is None else recipe.expect.test_accuracy,
            }
        )
    return rows


def _model(recipe: AnyRecipe) -> str:
    return recipe.model.factory.partition(":")[2] if isinstance(recipe, ConvertRecipe) else recipe.model.kind


def steps_of(recipe: AnyRecipe) -> int:
    """Return T.

    Example:
        >>> steps_of(load("digits-convert"))
        8
    """
    return recipe.convert.steps if isinstance(recipe, ConvertRecipe) else recipe.model.steps


def bits_of(recipe: AnyRecipe) -> int:
    """Return the bits of a weight under a recipe, the most where layers differ; 32 where they are not quantized.

    Example:
        >>> bits_of(load("quickstart"))
        2
    """
    if isinstance(recipe, ConvertRecipe):
        tuned = None if recipe.finetune is None else recipe.finetune.bits
        bits = recipe.convert.bits if tuned is None else tuned
        return max(bits.values()) if isinstance(bits, dict) else bits
    if recipe.weights is None:
        return 32
    scheme = recipe.weights.quantize
    return {"binary": 1, "ternary": 2}.get(scheme.kind) or int(getattr(scheme, "bits", 0))
