"""The memory devices of a recipe, put into a network whose weights are quantized already."""

from __future__ import annotations

from typing import Any, TypeVar

from torch import nn

from bitspike.patterns import Patterns
from bitspike.recipe.words.weights import SRAM, Weights
from bitspike.runs.construct.parent import find_init, weights_of
from bitspike.runs.construct.weights_file import read_state
from bitspike.runs.construct.words import build
from bitspike.weights import attach
from bitspike.weights.devices.sram import STARTS

M = TypeVar("M", bound=nn.Module)


def with_devices(
    model: M, words: Weights, *, include: Patterns = ("*",), skip: Patterns = (), weights: bool = True
) -> M:
    """Let weights of a network vary, recover and be pruned, as a recipe says, in place, and return it.

    Args:
        model: the network.
        words: what the recipe says.
        include, skip: patterns of its layers.
        weights: False where the weights of the SRAM are loaded afterwards, so that no file of them is needed.

    Raises:
        ConstraintError: a pattern matches no layer, or the weights from which the SRAM starts are of another network.
        RunError: there is no such run or file. PackageError: it cannot be read.

    Example:
        >>> from bitspike.weights import Midrise
        >>> words = {"quantize": {"kind": "midrise", "bits": 4}, "vary": {"kind": "rram", "bits": 4}}
        >>> model = with_devices(attach(nn.Linear(2, 1), quantize=Midrise(4)), Weights.model_validate(words))
        >>> model.parametrizations.weight[0].vary.plan
        Lognormal(sigma=0.34597)
    """
    chosen = {
        "vary": build(words.vary),
        "recover": None if words.recover is None else _recovery(words.recover, weights=weights),
        "prune": build(words.prune),
    }
    if not any(choice is not None for choice in chosen.values()):
        return model
    return attach(model, **chosen, include=include, skip=skip)


def _recovery(words: SRAM, *, weights: bool) -> Any:
    if words.start in STARTS:
        return build(words)
    start = read_state(weights_of(find_init(words.start, None)), key_word=None) if weights else "rram"
    return build(words, start=start)
