"""Every node of a network as C: who writes which."""

from __future__ import annotations

from bitspike.formats.c.draft import Draft
from bitspike.formats.c.layers import LAYERS, burst, layer
from bitspike.formats.c.layout import Action
from bitspike.formats.c.neurons import add, neuron, readout
from bitspike.integer.nodes import Add, Burst, Input, Neuron, Node, Readout, Reshape, Slice

KNOWN = (*LAYERS, Add, Burst, Input, Neuron, Readout, Reshape, Slice)
"""What a program can hold; reshaped and sliced wires are looked at where they lie."""


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
    return layer(draft, node)
