"""Every node of a network as C: who writes which."""

from __future__ import annotations

from bitspike.formats.c.layers import burst, concat, convolution, linear, moved, pool
from bitspike.formats.c.neurons import add, neuron, readout
from bitspike.formats.c.parts import Parts
from bitspike.formats.c.plan import Action
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


def write(parts: Parts, action: Action) -> list[str]:
    """Write what an action needs; return the statements of the phase that perform it."""
    node = action.node
    if action.kind == "run":
        lines = _run(parts, node)
        return ["if (t == 0)", *[f"    {line}" for line in lines]] if node.id in parts.plan.constant else lines
    assert isinstance(node, Burst)
    return burst(parts, action, node)


def _run(parts: Parts, node: Node) -> list[str]:
    match node:
        case Neuron():
            return neuron(parts, node)
        case Readout():
            return readout(parts, node)
        case Add():
            return add(parts, node)
        case Linear():
            return linear(parts, node)
        case Convolution() | TransposedConvolution():
            return convolution(parts, node)
        case SumPool() | MaxPool() | CountMaxPool():
            return pool(parts, node)
        case Concat():
            return concat(parts, node)
        case Upsample() | Pad() | Transpose():
            return moved(parts, node)
    raise AssertionError(f"{type(node).__name__} was let through")
