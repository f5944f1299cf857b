"""Every node of a network as C: who writes which."""

from __future__ import annotations

from bitspike.formats.c.draft import Draft
from bitspike.formats.c.layers import burst, concat, convolution, linear, moved, pool
from bitspike.formats.c.layout import Action
from bitspike.formats.c.neurons import add, neuron, readout
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
)


def write(draft: Draft, action: Action) -> list[str]:
    """Write what an action needs; return the statements of the phase that perform it."""
    node = action.node
    if action.kind == "run":
        lines = _run(draft, node)
        return ["if (t == 0)", *[f"    {line}" for line in lines]] if node.id in draft.layout.constant else lines
    assert isinstance(node, Burst)
    return burst(draft, action, node)


def _run(draft: Draft, node: Node) -> list[str]:
    match node:
        case Neuron():
            return neuron(draft, node)
        case Readout():
            return readout(draft, node)
        case Add():
            return add(draft, node)
        case Linear():
            return linear(draft, node)
        case Convolution() | TransposedConvolution():
            return convolution(draft, node)
        case SumPool() | MaxPool() | CountMaxPool():
            return pool(draft, node)
        case Concat():
            return concat(draft, node)
        case Upsample() | Pad() | Transpose():
            return moved(draft, node)
    raise AssertionError(f"{type(node).__name__} was let through")
