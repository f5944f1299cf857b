"""Norms and constants folded into weights, exactly, and every relu moved before what it commutes with.

    gain * (W x + b) + shift = (gain W) x + (gain b + shift)        after a weighted operation
    W (gain * x + shift) + b = (W gain) x + (b + W shift)           before one that pads nothing
    zeros around gain * x + shift = -shift / gain around x          before one that pads, for values that stay real
    relu(max(x)) = max(relu(x)), relu(join(x, y)) = join(relu(x), relu(y))
    max over a part of a window = max over the whole with zeros outside, for values from 0 up

with gain = weight / sqrt(var + eps) and shift = bias - mean * gain for a batch norm in evaluation.
"""

from __future__ import annotations

from copy import copy

import torch
from torch import nn
from torch.nn.utils import parametrize

from bitspike.conversion.fold.borders import make_windows_whole
from bitspike.conversion.fold.draft import Draft
from bitspike.conversion.fold.layers import bias_of_zeros
from bitspike.conversion.fold.norms import fold_one, stand_alone
from bitspike.conversion.fold.relus import lift_one
from bitspike.conversion.fold.upsampling import spell_out
from bitspike.graph.ir import WEIGHTED, Graph
from bitspike.graph.plain import like, trains


def fold(graph: Graph) -> Graph:
    """Return the same function with norms and constants folded into weights.

    Weighted operations of the result have a bias. Their modules are new and take the paths of the old ones; the
    modules of the graph that is given are not changed. What cannot be folded stays, for the rules to name.

    Example:
        >>> from bitspike.graph.capture.from_module import capture
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.ReLU())
        >>> [op.id for op in fold(capture(model, torch.zeros(1, 1, 6, 6)))]
        ['input', '0', '3', '2', 'output']
    """
    draft = Draft(graph)
    with torch.no_grad():
        while fold_one(draft):  # one at a time: what one leaves may let the next through
            pass
        stand_alone(draft)
        while lift_one(draft):  # after the norms, which would stand between a relu and its pool
            pass
        make_windows_whole(draft)  # after the relus: only values from 0 up may have zeros around them
        _give_biases(draft)
    return spell_out(draft.graph())


def _give_biases(draft: Draft) -> None:
    """Give every weighted operation without a bias one of zeros."""
    with_bias: dict[int, nn.Module] = {}
    for op in draft.ops.values():
        if op.kind not in WEIGHTED or draft.layers[op.id].bias is not None:
            continue
        layer = draft.layers[op.id]
        if id(layer) not in with_bias:
            zeros = bias_of_zeros(layer).requires_grad_(trains(layer, "bias"))
            if parametrize.is_parametrized(layer):  # torch lets nobody copy such a layer; its weight is read as it is
                other = like(layer, layer.weight, zeros)
            else:  # a shallow copy, whose weight stays the one tensor
                other = copy(layer)
                other._parameters = {**layer._parameters, "bias": zeros}
            with_bias[id(layer)] = other
        draft.layers[op.id] = with_bias[id(layer)]
