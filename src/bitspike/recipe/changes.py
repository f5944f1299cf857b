"""What one recipe says otherwise than another: values by their dotted keys, as ``--set`` names them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.recipe.any_recipe import AnyRecipe

WORDS = ("name", "question", "paper", "published", "expect")
"""Keys that speak about an experiment and are no part of it."""

PLACES = frozenset(
    [
        *("data.root", "data.download", "model.folder", "model.weights", "evaluation.batch_size"),
        *(f"{section}.device" for section in ("training", "finetune", "over_time", "evaluation")),
        *(f"{section}.tensorboard" for section in ("training", "finetune", "over_time")),
    ]
)
"""Keys that say where files lie and where a run computes: the same experiment on another machine has others."""


def leaves(values: Any, at: str = "") -> dict[str, Any]:
    """Return nested values by their dotted keys; a list is one value.

    Example:
        >>> leaves({"training": {"epochs": 3, "betas": [0.9, 0.999]}, "norm": None})
        {'training.epochs': 3, 'training.betas': [0.9, 0.999], 'norm': None}
    """
    if isinstance(values, Mapping) and values:
        parts = ((f"{at}.{key}" if at else str(key), part) for key, part in values.items())
        return {key: value for name, part in parts for key, value in leaves(part, name).items()}
    return {at: values}


def experiment(recipe: AnyRecipe) -> dict[str, Any]:
    """Return what decides the result of a recipe, by dotted keys: all but seed, places, and what it says of itself.

    Example:
        >>> from bitspike.recipe.load import load
        >>> experiment(load("quickstart")) == experiment(load("quickstart", ["seed=1", "data.root=elsewhere"]))
        True
    """
    values = leaves(recipe.model_dump(mode="json"))
    apart = (*WORDS, "seed")
    return {key: value for key, value in values.items() if key not in PLACES and key.partition(".")[0] not in apart}
