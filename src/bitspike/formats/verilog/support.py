"""Which nodes Verilog can hold, as what, and why it cannot hold the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bitspike.formats.refuse import refuse
from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Node

HELD: Mapping[type[Node], str] = {
    nodes.Input: "a memory that the host fills",
    nodes.Convolution: "bs_weighted, of one or two dimensions; groups as zeros",
    nodes.Linear: "bs_weighted, with a kernel as large as its source",
    nodes.SumPool: "bs_pool",
    nodes.MaxPool: "bs_pool",
    nodes.Reshape: "flattening only: another order of the weights that read it",
    nodes.Add: "bs_add",
    nodes.Neuron: "bs_neurons; several sources are added by bs_add first",
    nodes.FewBitNeuron: "bs_neurons; the memory holds the codes",
    nodes.Readout: "bs_neurons without spikes; several sources are added by bs_add first",
}
"""How Verilog holds each kind of node."""

REFUSED: Mapping[type[Node], str] = {
    nodes.TransposedConvolution: "transposed convolutions are not written yet",
    nodes.CountMaxPool: "maxima of counts are not written yet",
    nodes.Concat: "several wires in one memory are not written yet",
    nodes.Slice: "parts of a memory are not written yet",
    nodes.Upsample: "repeated places are not written yet",
    nodes.Pad: "padding outside a convolution is not written yet",
    nodes.Transpose: "another order of the axes is not written yet",
    nodes.Burst: "sums over time before a neuron need a memory of all steps",
    nodes.Synapse: "currents that decay are not written yet",
}
"""Why Verilog cannot hold the others."""

MOST = 1 << 31
"""Parameters of a Verilog module are integers of 32 bits."""
FIX = 'another format: format="c" (--format c) holds every node'


def check(net: IntegerNetwork) -> None:
    """Refuse a network that Verilog cannot hold.

    Raises:
        ExportError: with every node that it cannot hold, and why.
    """
    by_id = {node.id: node for node in net.nodes}
    problems = [(node, reason) for node in net.nodes for reason in reasons(node, by_id)]
    refuse("Verilog", net, problems, fix=FIX)


def reasons(node: Node, by_id: Mapping[str, Node]) -> Iterator[str]:
    """Yield why Verilog cannot hold a node."""
    if type(node) not in HELD:
        yield REFUSED.get(type(node), f"Verilog has no module for a {type(node).__name__}")
    if len(node.shape) > 3:
        yield f"it has {len(node.shape) - 1} axes besides the channels; written are up to two"
    if isinstance(node, nodes.Reshape) and len(node.shape) > 1:
        yield f"it makes {list(node.shape)}; written is flattening"
    single = isinstance(node, nodes.Neuron | nodes.Readout) and len(node.sources) == 1
    if not single and not isinstance(node, nodes.Linear | nodes.Reshape):
        yield from (f"it reads {s!r}, which is flattened" for s in node.sources if _flat(by_id[s]))
    if isinstance(node, nodes.MaxPool) and any(p >= k for p, k in zip(node.padding, node.kernel, strict=True)):
        yield f"with a kernel of {list(node.kernel)}, padding of {list(node.padding)} makes windows of padding alone"
    if isinstance(node, nodes.Gained) and max(abs(int(g)) for gain in node.gains for g in gain.flat) >= MOST:
        yield "its gain has more than 32 bits"
    if isinstance(node, nodes.Neuron):
        yield from _of_neurons(node)


def _of_neurons(node: nodes.Neuron) -> Iterator[str]:
    if float(node.leak) > 1 or node.leak.numerator >= MOST:
        yield f"its leak is {node.leak.numerator}/2**{node.leak.shift}; written are leaks up to 1, of up to 31 bits"
    if node.floor is not None and not -MOST <= node.floor < MOST:
        yield f"its floor of {node.floor} has more than 32 bits"


def _flat(node: Node) -> bool:
    return isinstance(node, nodes.Reshape)
