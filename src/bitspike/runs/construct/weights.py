"""The section ``weights`` of a recipe, put into a network: one scheme for all layers, and others at both ends."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from bitspike.nn.ends import WEIGHTED, ends
from bitspike.patterns import matching
from bitspike.recipe.words.weights import Weights
from bitspike.runs.construct.devices import with_devices
from bitspike.runs.construct.words import build
from bitspike.weights import attach

M = TypeVar("M", bound=nn.Module)


def with_weights(model: M, words: Weights | None, *, weights: bool = True) -> M:
    """Give the layers of a network what a recipe says of their weights, in place, and return it; None leaves floats.

    Where a layer is first and last, it is the first. ``weights=False`` is for a network whose weights are loaded
    afterwards.

    Raises:
        ConstraintError: a pattern matches no layer, or none has a bias to quantize.
        LoweringError: the ends are asked for, and the network cannot be followed.

    Example:
        >>> from bitspike.nn import IF, Repeat, TimeDistributed
        >>> from bitspike.weights import codes
        >>> layers = (TimeDistributed(nn.Linear(4, 4)), IF(), TimeDistributed(nn.Linear(4, 2)))
        >>> words = Weights(quantize={"kind": "ternary"}, last={"kind": "uniform", "bits": 8})
        >>> model = with_weights(nn.Sequential(Repeat(2), *layers), words)
        >>> {name: layer.bits for name, layer in codes(model).items()}
        {'1.0': 2, '3.0': 8}
    """
    if words is None:
        return model
    quantize, bias = build(words.quantize), build(words.bias)
    if words.first is None and words.last is None:
        attach(model, quantize=quantize, bias=bias, include=words.include, skip=words.skip)
        return with_devices(model, words, include=words.include, skip=words.skip, weights=weights)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, WEIGHTED)}
    chosen = matching(words.include, list(layers), argument="weights.include")
    skipped = matching(words.skip, list(layers), argument="weights.skip")
    first, last = ends(model)
    own = {name: words.last for name in last if words.last is not None}
    own |= {name: words.first for name in first if words.first is not None}
    schemes = {name: own.get(name, words.quantize) for name in chosen if name not in skipped}
    quantized = {name: word for name, word in schemes.items() if word != "float"}
    for name, word in quantized.items():
        attach(model, quantize=build(word), include=name)
    biased = [name for name in quantized if layers[name].bias is not None]
    if bias is not None:
        attach(model, bias=bias, include=biased or tuple(quantized))
    return with_devices(model, words, include=tuple(quantized), skip=(), weights=weights)
