"""A network of counts as ONNX operators: the whole run of an integrate-and-fire network in one pass.

A wire carries the sum of its integers over all T steps. A neuron that resets by subtraction, charged evenly or all at
once, sends

    N = clip(floor((v0 + Z) / theta), 0, T),   Z = sum over T of what arrives, bias included

spikes; with "gt" in place of "ge" it is floor((v0 + Z - 1) / theta). It is the network of rates that the spiking one
approximates, in integers, and equals it exactly where every neuron's current is constant or comes as one burst.
Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682, section 2.2.
"""

from __future__ import annotations

from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.layers import layer
from bitspike.formats.onnx.memory import FORMS
from bitspike.formats.onnx.neuron import bias_of_all_steps, combine
from bitspike.formats.onnx.numbers import Ranges
from bitspike.formats.onnx.tape import Numbers, Tape
from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Node


def problems(net: IntegerNetwork) -> list[tuple[Node, str]]:
    """Return the nodes whose spike count does not follow from the counts that they read, with the reason."""
    fixed = net.steady()
    return [
        (node, reason) for node in net.nodes for reason in node.uncounted(changing=not fixed.issuperset(node.sources))
    ]


def count_graph(net: IntegerNetwork, numbers: Numbers, spans: Ranges) -> OnnxGraph:
    """Return the network of counts, for which :func:`problems` is empty."""
    graph = OnnxGraph(Tape(numbers))
    tape = graph.tape
    wires: dict[str, str] = {}
    for node in net.nodes:
        inputs = [wires[s] for s in node.sources]
        match node:
            case nodes.Input():
                codes = graph.take(node.id, node.shape)
                wires[node.id] = tape.times(codes, net.steps) if node.constant else codes
            case nodes.Add():
                wires[node.id] = combine(tape, node, inputs, tape.parameter)
            case nodes.Neuron():
                z = _charged(net, tape, node, combine(tape, node, inputs, tape.parameter))
                wires[node.id] = _fired(net, tape, node, z)
                graph.give(f"{node.id}.counts", wires[node.id], node.shape)
            case nodes.Readout():
                z = _charged(net, tape, node, combine(tape, node, inputs, tape.parameter))
                graph.give(f"{node.id}.sum", z, node.shape)
            case _ if form := FORMS.get(type(node)):
                wires[node.id] = form.count(tape, node, inputs[0], net[node.sources[0]].shape)
            case _:
                wires[node.id] = layer(tape, node, inputs, net[node.sources[0]].shape, spans.of(node))
    return graph


def _charged(net: IntegerNetwork, tape: Tape, node: nodes.Neuron | nodes.Readout, x: str) -> str:
    """Add the bias of all steps, and a neuron's potential before the first."""
    total = bias_of_all_steps(node, net.steps)
    if isinstance(node, nodes.Neuron):
        total = total + node.initial - (node.fire == "gt")
    return tape.add("Add", x, tape.parameter(total[None], len(node.shape))) if total.any() else x


def _fired(net: IntegerNetwork, tape: Tape, node: nodes.Neuron, z: str) -> str:
    """Divide what is above 0, where rounding towards 0 is rounding down."""
    theta = tape.parameter(node.threshold, len(node.shape))
    charged = tape.add("Max", z, tape.constant(0))
    count = tape.add("Div", charged, theta)
    return tape.add("Min", count, tape.constant(net.steps))
