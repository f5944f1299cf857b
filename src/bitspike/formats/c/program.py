"""A network as a C program: what C cannot hold is refused, then bounds, layout and nodes make the two files."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.formats.c.draft import Draft
from bitspike.formats.c.header import header
from bitspike.formats.c.layers import LAYERS, burst, layer
from bitspike.formats.c.layout import Action, lay_out
from bitspike.formats.c.memory import CMemory, Ledger, memory_of
from bitspike.formats.c.neurons import add, neuron, readout, synapse
from bitspike.formats.c.source import source
from bitspike.formats.c.types import bounds_of, type_bits
from bitspike.formats.c.weights import Packed, pack
from bitspike.formats.refuse import refuse
from bitspike.integer import nodes
from bitspike.integer.bounds.widths import Bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, Weighted

KNOWN = (
    *LAYERS, nodes.Add, nodes.Burst, nodes.FewBitNeuron, nodes.Input, nodes.Neuron, nodes.Readout, nodes.Reshape,
    nodes.Slice, nodes.Synapse,
)  # fmt: skip
"""What a program can hold; a reshape or slice is only another view of its source's memory."""


@dataclass(frozen=True)
class Program:
    """The two files that a firmware needs.

    Args:
        name: begins every name that leaves the files.
        header, source: their texts.
        memory: what they need.
        input_type: of one input code.
        bursts: paths of the nodes that need all steps at once; with any, there is no door for single steps.
    """

    name: str
    header: str
    source: str
    memory: CMemory
    input_type: str
    bursts: tuple[str, ...]


def program(net: IntegerNetwork, name: str) -> Program:
    """Return a network as C.

    Raises:
        ExportError: C cannot hold some of its nodes; all of them are named.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(program(one_convolution(), "network").memory)
        134 bytes of constants (4 of them weight codes), 68 bytes of state, 1572 bytes of local arrays
    """
    bounds = bounds_of(net)
    packed = {n.id: codes for n in net.weighted if (codes := pack(n.weight, _order(n)))}
    refuse(
        "C",
        net,
        _problems(net, bounds, packed),
        fix="leave these layers to the host (exclude= of bs.convert), or bs.save(net, folder)",
    )
    draft = Draft(net, bounds, lay_out(net, bounds), packed, _input_type(net.input), name)
    ledger = Ledger(draft)
    phases = [[line for action in phase for line in _write(draft, action, ledger)] for phase in draft.layout.phases]
    bursts = tuple(n.path for n in net.nodes if n.memory == "all")
    memory = memory_of(ledger)
    header_text, source_text = header(draft, memory, bursts), source(draft, phases, memory, bursts)
    return Program(name, header_text, source_text, memory, draft.input_type, bursts)


def _write(draft: Draft, action: Action, ledger: Ledger) -> list[str]:
    """Write what an action needs; return the statements of the phase that perform it."""
    with ledger.of(action.node):
        return _written(draft, action)


def _written(draft: Draft, action: Action) -> list[str]:
    node = action.node
    if action.kind == "run":
        lines = _run(draft, node)
        return ["if (t == 0)", *[f"    {line}" for line in lines]] if node.id in draft.layout.constant else lines
    assert isinstance(node, nodes.Burst)
    return burst(draft, action, node)


def _run(draft: Draft, node: Node) -> list[str]:
    match node:
        case nodes.Neuron():
            return neuron(draft, node)
        case nodes.Readout():
            return readout(draft, node)
        case nodes.Add():
            return add(draft, node)
        case nodes.Synapse():
            return synapse(draft, node)
    return layer(draft, node)


def _order(node: Weighted) -> Integers:
    """Return a node's codes in the order in which they are stored: what one input meets lies together."""
    return node.weight.codes.T if isinstance(node, nodes.Linear) else node.weight.codes


def _input_type(node: nodes.Input) -> str:
    """Return the smallest type of C that holds a code; without a sign where none is below 0."""
    if node.grid.low >= 0:
        for bits in (8, 16):
            if node.grid.high < 1 << bits:
                return f"uint{bits}_t"
    return f"int{type_bits((node.grid.low, node.grid.high))}_t"


def _problems(net: IntegerNetwork, bounds: dict[str, Bounds], packed: dict[str, Packed]) -> list[tuple[Node, str]]:
    """Return every node that cannot be written, with the reason."""
    refused: list[tuple[Node, str]] = [(n, "a program reads one input") for n in net.inputs[1:]]
    for node in net.nodes:
        if not isinstance(node, KNOWN):
            refused.append((node, f"a {type(node).__name__} is not known"))
        if math.prod(node.shape) * net.steps >= 2**31:
            refused.append((node, "more than 2**31 integers over all steps"))
        if isinstance(node, nodes.Convolution | nodes.TransposedConvolution):
            if not 1 <= len(node.stride) <= 3:
                refused.append((node, f"{len(node.stride)} axes; 1 to 3 are possible"))
            if min(node.padding, default=0) < 0:
                refused.append((node, f"padding {node.padding}; at least 0 is possible"))
            if type_bits(bounds[node.sources[0]].wire.span) > 32:
                refused.append((node, "it reads integers of more than 32 bits"))
        if isinstance(node, nodes.Linear | nodes.Convolution | nodes.TransposedConvolution):
            if node.id not in packed:
                refused.append((node, "weight codes of more than 32 bits"))
            elif node.weight.codes.size * packed[node.id].bits >= 2**32:
                refused.append((node, "more than 2**32 bits of weight codes"))
        if isinstance(node, nodes.MaxPool) and not _windows_see(node, net[node.sources[0]]):
            refused.append((node, "a window that sees only padding has no largest value"))
    return refused


def _windows_see(node: nodes.MaxPool, source: Node) -> bool:
    """Tell whether every window holds at least one integer of the source."""
    axes = zip(source.shape[1:], node.shape[1:], node.kernel, node.stride, node.padding, strict=True)
    return all(o * s - p + k > 0 and o * s - p < n for n, out, k, s, p in axes for o in range(out))
