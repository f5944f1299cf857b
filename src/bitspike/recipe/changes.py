"""What one recipe says otherwise than another: values by their dotted keys, as ``--set`` names them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bitspike.recipe.any_recipe import AnyRecipe
from bitspike.recipe.text import KeyPath, leaves, value_at

WORDS = ("name", "question", "changed", "paper", "published", "expect")
"""Keys that speak about an experiment and are no part of it."""

PLACES = frozenset(
    [
        *("data.root", "data.download", "model.folder", "model.weights", "evaluation.batch_size"),
        *(f"{section}.device" for section in ("training", "finetune", "over_time", "evaluation")),
        *(f"{section}.tensorboard" for section in ("training", "finetune", "over_time")),
    ]
)
"""Keys that say where files lie and where a run computes: the same experiment on another machine has others."""


def experiment(recipe: AnyRecipe) -> dict[str, Any]:
    """Return what decides the result of a recipe, by dotted keys: all but seed, places, and what it says of itself.

    Example:
        >>> from bitspike.recipe.load import load
        >>> experiment(load("quickstart")) == experiment(load("quickstart", ["seed=1", "training.device=cuda"]))
        True
    """
    return _decisive(leaves(recipe.model_dump(mode="json")), "seed")


def changes(before: Mapping[str, Any], after: Mapping[str, Any], at: Iterable[KeyPath]) -> dict[str, Any] | None:
    """Return what was changed at some places, by dotted keys: of what decides the result, and is another value now.

    The seed and the stage that is run are no changes of an experiment. None where nothing was changed.

    Example:
        >>> changes({"seed": 0, "norm": {"gain": 1}}, {"seed": 1, "norm": {"gain": 2}}, [("seed",), ("norm", "gain")])
        {'norm.gain': 2}
    """
    told: dict[str, Any] = {}
    for key_path in at:
        new = leaves(value_at(after, key_path), ".".join(map(str, key_path)))
        told |= {key: value for key, value in new.items() if value_at(before, key.split(".")) != value}
    return _decisive(told, "kind", "seed", "stage", "init") or None


def _decisive(values: Mapping[str, Any], *apart: str) -> dict[str, Any]:
    words = (*WORDS, *apart)
    return {key: value for key, value in values.items() if key not in PLACES and key.partition(".")[0] not in words}
