"""A whole run as ONNX operators: codes of all steps go in, the outputs and all spikes come out.

Wires are [T, N, ...], or [1, N, ...] where nothing changes over time. Layers without memory see all steps as one batch;
a neuron's steps are the body of a ``Scan``.
"""

from __future__ import annotations

from collections.abc import Sequence

from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.layers import layer
from bitspike.formats.onnx.memory import FORMS, all_steps, summed
from bitspike.formats.onnx.neuron import bias_of_all_steps, combine, current, update
from bitspike.formats.onnx.numbers import Ranges
from bitspike.formats.onnx.tape import Body, Numbers, Op, Tape, parameter_table
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Input, Integers, Neuron, Node, Readout, per_channel, still


def sequence_graph(net: IntegerNetwork, numbers: Numbers, spans: Ranges) -> OnnxGraph:
    """Return the whole run of a network."""
    return _Run(net, numbers, spans).run()


class _Run:
    """Write the nodes one after the other, keeping how many steps each wire has."""

    def __init__(self, net: IntegerNetwork, numbers: Numbers, spans: Ranges) -> None:
        self.net, self.spans, self.tape = net, spans, Tape(numbers)
        self.graph = OnnxGraph(self.tape)
        self.wires: dict[str, str] = {}
        self.lengths: dict[str, int] = {}

    def run(self) -> OnnxGraph:
        for node in self.net.nodes:
            inputs = [self.wires[s] for s in node.sources]
            length = max([self.lengths[s] for s in node.sources], default=1)
            if isinstance(node, Readout):
                self._readout(node, inputs, length)
            else:
                self.wires[node.id], self.lengths[node.id] = self._node(node, inputs, length)
        return self.graph

    def _node(self, node: Node, inputs: list[str], length: int) -> tuple[str, int]:
        """Write a node; return its wire and the wire's steps."""
        match node:
            case Input():
                length = 1 if node.constant else self.net.steps
                return self.graph.take(node.id, node.shape, steps=length), length
            case Add():
                many = any(len(gain) > 1 and not (gain == 1).all() for gain in node.gains)
                return combine(self.tape, node, inputs, self._parameter), self.net.steps if many else length
            case Neuron():
                return self._neuron(node, inputs), self.net.steps
            case _ if form := FORMS.get(type(node)):
                shape = self.net[node.sources[0]].shape
                return form.sequence(self.tape, node, inputs[0], length, shape, self.net.steps), self.net.steps
        shapes = [self.net[s].shape for s in node.sources]
        same = [
            x if self.lengths[s] == length else all_steps(self.tape, x, 1, self.net.steps, len(node.shape))
            for x, s in zip(inputs, node.sources, strict=True)
        ]  # fmt: skip
        folded = [self.tape.reshaped(x, [-1, *shape]) for x, shape in zip(same, shapes, strict=True)]
        out = layer(self.tape, node, folded, shapes[0], self.spans.of(node))
        return self.tape.reshaped(out, [length, -1, *node.shape]), length

    def _parameter(self, values: Integers, dims: int) -> str:
        return self.tape.constant(per_channel(values, dims))

    def _readout(self, node: Readout, inputs: list[str], length: int) -> None:
        many = any(len(gain) > 1 and not (gain == 1).all() for gain in node.gains)
        steps = self.net.steps
        charge = combine(self.tape, node, inputs, self._parameter)
        total = summed(self.tape, charge, steps if many else length, steps)
        bias = bias_of_all_steps(node, steps)
        if bias.any():
            total = self.tape.add("Add", total, self.tape.parameter(bias[None], len(node.shape)))
        self.graph.give(f"{node.id}.sum", total, node.shape)

    def _neuron(self, node: Neuron, inputs: list[str]) -> str:
        tape, steps, dims = self.tape, self.net.steps, len(node.shape)
        i = current(tape, node, inputs, self._parameter)
        # Also makes a current that is the same at all steps T steps long.
        i = all_steps(tape, i, 0, steps, dims)
        rest = tape.add("Mul", tape.add("Gather", i, tape.shape([0]), axis=0), tape.constant(0))
        rest = tape.reshaped(rest, [-1, *node.shape])
        start = tape.add("Add", rest, tape.parameter(node.initial[None], dims))
        body = Tape(tape.numbers, prefix=f"/{node.id}/")
        states = [start, rest] if node.signed else [start]
        rows: Sequence[str] = [i]
        theta = parameter_table(node.threshold, dims)
        if not still(node.threshold):
            rows, threshold = [i, tape.constant(theta)], f"/{node.id}/theta"
        else:
            threshold = body.constant(theta[0])
        names = [f"/{node.id}/{state}" for state in ("v", "sent")[: len(states)]]
        entered = [f"/{node.id}/i", *([threshold] if len(rows) > 1 else [])]
        s, v_next, sent_next = update(body, node, entered[0], names[0], names[1] if node.signed else None, threshold)
        ends = [v_next, *([sent_next] if sent_next is not None else []), s]
        left = tuple(body.add("Identity", end, name=f"/{node.id}/end{k}") for k, end in enumerate(ends))
        outputs = (*(f"/{node.id}/last{k}" for k in range(len(states))), f"/{node.id}/spikes")
        tape.ops.append(
            Op(
                "Scan",
                (*states, *rows),
                outputs,
                {"body": Body(body, (*names, *entered), left), "num_scan_inputs": len(rows)},
            )
        )
        self.graph.give(f"{node.id}.spikes", outputs[-1], node.shape, steps=steps)
        return outputs[-1]
