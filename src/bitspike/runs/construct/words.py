"""From the words of a recipe to objects: a word names one class, and its numbers are the arguments."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pkgutil import resolve_name
from typing import Any

from bitspike.recipe.words.conversion import Conversion
from bitspike.recipe.words.neurons import Neuron
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Value, words_of
from bitspike.runs.construct.own import own

_NONE_MEANS = ("first_bits", "last_bits", "correct")
"""Arguments of a conversion for which None is a choice: the width of all layers, or no correction."""


def build(value: Any, **more: Any) -> Any:
    """Build the object that a word of a recipe stands for; None stays None.

    Further arguments (``more``) win over those of the recipe.

    Example:
        >>> from bitspike.recipe.words.neurons import Triangle
        >>> build(Triangle(kind="triangle", width=2.0))
        Triangle(center=0.0, width=2.0, height=None)
    """
    return None if value is None else maker(value)(**more)


def maker(value: Value) -> Callable[..., Any]:
    """Return what builds the object of a word, as often as it is called.

    A word's numbers are the arguments of the class that it names, and a word among them is built first. A class
    of the user's own is called with the arguments in the recipe.
    """
    if isinstance(value, Own):
        return own(value)
    numbers = {name: getattr(value, name) for name in type(value).model_fields if name != "kind"}
    built = {name: _built(part) for name, part in numbers.items()}
    return partial(resolve_name(value.makes), **built)


def _built(part: Any) -> Any:
    """Return a number as it is, and build a word, or several of them."""
    if isinstance(part, tuple):
        return tuple(_built(one) for one in part)
    return build(part) if isinstance(part, Value) else part


def neuron_of(kind: str) -> type[Any]:
    """Return the class of neurons that a word of a recipe names, such as ``signed_if``."""
    neuron: type[Any] = resolve_name(words_of(Neuron)[kind].makes)
    return neuron


def build_conversion(value: Conversion) -> dict[str, Any]:
    """Return the arguments of ``bs.convert``; what the recipe leaves open is left out.

    Example:
        >>> sorted(build_conversion(Conversion(steps=4, correct="bias")).items())[:2]
        [('average_pool', 'sum'), ('bits', 8)]
    """
    rule = value.threshold
    built: dict[str, Any] = {
        "neuron": neuron_of(value.neuron),
        "threshold": {at: build(one) for at, one in rule.items()} if isinstance(rule, dict) else build(rule),
        "scale": build(value.scale),
    }
    named = {name: getattr(value, name) for name in type(value).model_fields}
    return {name: part for name, part in {**named, **built}.items() if part is not None or name in _NONE_MEANS}
