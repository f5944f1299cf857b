"""Nodes that read other steps than their own, in each mode; neurons and read-outs stand in the modes themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.layers import cut, windows
from bitspike.formats.onnx.neuron import Parameter
from bitspike.formats.onnx.tape import Body, Op, Tape
from bitspike.integer.nodes import Burst, CountMaxPool, Node, Shape, Synapse, per_channel


@dataclass(frozen=True)
class Form:
    """How one kind of node is written. Each function takes the name of what it reads and returns that of its output.

    Args:
        words: the operators, for the table of docs/export.md.
        step: one step; also takes the shape of the source, T, and what makes a parameter that may change over time.
        sequence: all steps; also takes how many steps the wire has (1 or T), the shape of the source, and T.
        count: sums over all steps; also takes the shape of the source.
    """

    words: str
    step: Callable[[OnnxGraph, Any, str, Shape, int, Parameter], str]
    sequence: Callable[[Tape, Any, str, int, Shape, int], str]
    count: Callable[[Tape, Any, str, Shape], str]


def all_steps(tape: Tape, x: str, length: int, steps: int, dims: int) -> str:
    """Repeat a wire of one step for all steps."""
    return x if length == steps else tape.add("Mul", x, tape.constant(per_channel(np.ones((steps, 1), np.int64), dims)))


def summed(tape: Tape, x: str, length: int, steps: int) -> str:
    """Return the sum over all steps, [N, ...]."""
    one = tape.add("ReduceSum", x, tape.shape([0]), keepdims=0)
    return one if length == steps else tape.times(one, steps)


def _count_max_step(
    graph: OnnxGraph, node: CountMaxPool, x: str, shape: Shape, _steps: int, _parameter: Parameter
) -> str:
    """The largest count of every window now, less the largest count before this step."""
    tape = graph.tape
    counts = graph.hold(f"{node.id}.counts", shape)
    grown = tape.add("Add", counts, x)
    graph.keep(counts, grown, shape)
    now, before = (windows(tape, node, n, shape, tape.largest, fill=0) for n in (grown, counts))
    return tape.add("Sub", now, before)


def _count_max_sequence(tape: Tape, node: CountMaxPool, x: str, length: int, shape: Shape, steps: int) -> str:
    x = all_steps(tape, x, length, steps, len(node.shape))
    counts = tape.reshaped(tape.add("CumSum", x, tape.constant(0)), [-1, *shape])
    highest = windows(tape, node, counts, shape, tape.largest, fill=0)
    highest = tape.reshaped(highest, [steps, -1, *node.shape])
    if steps == 1:
        return highest
    late = tape.add("Pad", highest, tape.shape([1] + [0] * (2 * len(node.shape) + 3)), tape.constant(0))
    return tape.add("Sub", highest, cut(tape, late, axis=0, start=0, stop=steps))


def _burst_step(graph: OnnxGraph, node: Burst, x: str, _shape: Shape, steps: int, parameter: Parameter) -> str:
    """What it reads is constant in time: T times as much at the first step."""
    times = np.zeros((steps, 1), np.int64)
    times[0] = steps
    return graph.tape.add("Mul", x, parameter(times, len(node.shape)))


def _burst_sequence(tape: Tape, node: Burst, x: str, length: int, _shape: Shape, steps: int) -> str:
    """All at the first step: the sum times 1, 0, 0, ..."""
    first = np.zeros((steps, 1), np.int64)
    first[0] = 1
    total = summed(tape, x, length, steps)
    return tape.add("Mul", total, tape.constant(per_channel(first, len(node.shape))))


def _synapse_step(graph: OnnxGraph, node: Synapse, x: str, shape: Shape, _steps: int, _parameter: Parameter) -> str:
    """What is left of the current before, and what arrives."""
    before = graph.hold(f"{node.id}.current", shape)
    after = _synapse(graph.tape, node, x, before)
    graph.keep(before, after, shape)
    return after


def _synapse_sequence(tape: Tape, node: Synapse, x: str, length: int, shape: Shape, steps: int) -> str:
    x = all_steps(tape, x, length, steps, len(node.shape))
    rest = tape.add("Mul", tape.add("Gather", x, tape.shape([0]), axis=0), tape.constant(0))
    rest = tape.reshaped(rest, [-1, *shape])
    body, (before, arriving) = Tape(tape.numbers, prefix=f"/{node.id}/"), (f"/{node.id}/{n}" for n in ("y", "x"))
    after = _synapse(body, node, arriving, before)
    left = tuple(body.add("Identity", after, name=f"/{node.id}/end{k}") for k in range(2))
    outputs = (f"/{node.id}/last", f"/{node.id}/currents")
    attributes = {"body": Body(body, (before, arriving), left), "num_scan_inputs": 1}
    tape.ops.append(Op("Scan", (rest, x), outputs, attributes))
    return outputs[-1]


def _synapse(tape: Tape, node: Synapse, x: str, before: str) -> str:
    kept = tape.shifted(tape.times(before, node.leak.numerator), node.leak.shift)
    return tape.add("Add", kept, tape.times(x, 1 << node.left_shift))


def _never(_tape: Tape, node: Synapse, _x: str, _shape: Shape) -> str:
    raise AssertionError(f"{node.id}: Synapse.uncounted says that its sum does not follow from sums")


FORMS: Mapping[type[Node], Form] = {
    CountMaxPool: Form(
        "counts as a state, Slice and Max",
        _count_max_step,
        _count_max_sequence,
        lambda tape, node, x, shape: windows(tape, node, x, shape, tape.largest, fill=0),
    ),
    Synapse: Form("its equation; the current as a state", _synapse_step, _synapse_sequence, _never),
    Burst: Form("ReduceSum over time", _burst_step, _burst_sequence, lambda tape, node, x, shape: x),
}
"""How each kind of node is written that neither stands in ``layers.HELD`` nor is an input, sum, neuron or read-out."""
