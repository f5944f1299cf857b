"""One time step of a network as ONNX operators: the states go in and come out.

Tensors at the border, all of one integer type: the input's codes of this step, ``<neuron>.v`` (the potential after the
reset), ``<neuron>.sent`` (signed neurons), ``<pool>.counts``, ``<readout>.sum``, each with its ``_next``; out come also
``<neuron>.spikes``. ``time.step`` (0, 1, ...) goes in where a parameter changes over time.
"""

from __future__ import annotations

from functools import partial

from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.layers import layer
from bitspike.formats.onnx.memory import FORMS
from bitspike.formats.onnx.neuron import Parameter, combine, current, update
from bitspike.formats.onnx.numbers import Ranges
from bitspike.formats.onnx.tape import Numbers, Tape, parameter_table
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Input, Integers, Neuron, Node, Readout, still

STEP = "time.step"


def problems(net: IntegerNetwork) -> list[tuple[Node, str]]:
    """Return the nodes that one step cannot compute, with the reason."""
    fixed = net.steady()
    why = "it gathers all steps at the first one, and a step does not know the later ones"
    return [(n, why) for n in net.nodes if n.memory == "all" and not fixed.issuperset(n.sources)]


def step_graph(net: IntegerNetwork, numbers: Numbers, spans: Ranges) -> OnnxGraph:
    """Return one step of a network for which :func:`problems` is empty."""
    graph = OnnxGraph(Tape(numbers))
    wires: dict[str, str] = {}
    parameter = partial(_row, graph)
    for node in net.nodes:
        inputs = [wires[s] for s in node.sources]
        match node:
            case Input():
                wires[node.id] = graph.take(node.id, node.shape)
            case Add():
                wires[node.id] = combine(graph.tape, node, inputs, parameter)
            case Neuron():
                wires[node.id] = _neuron(graph, node, inputs, parameter)
            case Readout():
                total = graph.hold(f"{node.id}.sum", node.shape)
                terms = [total, combine(graph.tape, node, inputs, parameter)]
                bias = [parameter(node.bias, len(node.shape))] if node.bias.any() else []
                graph.keep(total, graph.tape.total(terms + bias), node.shape)
            case _ if form := FORMS.get(type(node)):
                wires[node.id] = form.step(graph, node, inputs[0], net[node.sources[0]].shape, net.steps, parameter)
            case _:
                wires[node.id] = layer(graph.tape, node, inputs, net[node.sources[0]].shape, spans.of(node))
    return graph


def _row(graph: OnnxGraph, values: Integers, dims: int) -> str:
    """Return a parameter's values of this step, [1 or C, 1, ...]."""
    table = parameter_table(values, dims)
    if still(values):
        return graph.tape.constant(table[0])
    if (STEP, ()) not in graph.inputs:
        graph.inputs.append((STEP, ()))
    return graph.tape.add("Gather", graph.tape.constant(table), STEP, axis=0)


def _neuron(graph: OnnxGraph, node: Neuron, inputs: list[str], parameter: Parameter) -> str:
    shape = node.shape
    i = current(graph.tape, node, inputs, parameter)
    v = graph.hold(f"{node.id}.v", shape, node.initial)
    sent = graph.hold(f"{node.id}.sent", shape) if node.signed else None
    s, v_next, sent_next = update(graph.tape, node, i, v, sent, parameter(node.threshold, len(shape)))
    graph.give(f"{node.id}.spikes", s, shape)
    graph.keep(v, v_next, shape)
    if sent is not None and sent_next is not None:
        graph.keep(sent, sent_next, shape)
    return s
