"""A network of counts in the dialect QONNX: arbitrary bit widths as ``Quant`` nodes, values carried by floats.

The dialect (Pappalardo et al. 2022, arXiv 2206.07527) is what qonnx, FINN and hls4ml read. Every quantity is an integer
of scale 1, so that these tools infer integer types: weights are codes, wires are counts. A neuron is

    N = clip(round((v0 + Z + (1 - theta) / 2) / theta), 0, T)       with Relu and Quant of the bits of T

which is the count of ``bitspike.integer.count``, since round(x / theta - 1/2 + 1/(2 theta)) = floor(x / theta) for
integers x, and no integer x makes a tie. So tools that ignore the rounding mode of a Quant get it right too.

A float32 holds integers up to 2**24. Wires beyond are refused; neurons and read-outs that add up more do it in doubles.
The nodes of the dialect are functions inside the file, so that any ONNX runtime executes it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from bitspike.formats.onnx import count as onnx_count
from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.layers import layer
from bitspike.formats.onnx.memory import FORMS
from bitspike.formats.onnx.neuron import bias_of_all_steps, combine
from bitspike.formats.onnx.numbers import Ranges, magnitude, ranges
from bitspike.formats.onnx.tape import CARRIED, Op, Tape
from bitspike.integer import nodes
from bitspike.integer.bounds.widths import bits_of
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, Reals, Shape

DOMAIN = "qonnx.custom_op.general"
"""Where the operators of the dialect live."""

FUNCTIONS = (
    f"""
    <domain: "{DOMAIN}", opset_import: ["": 17]>
    Quant <signed, narrow, rounding_mode> (x, scale, zeropt, bits) => (y) {{
        one = Constant <value_float = 1.0> ()
        two = Constant <value_float = 2.0> ()
        signed_int = Constant <value_int: int = @signed> ()
        narrow_int = Constant <value_int: int = @narrow> ()
        s = Cast <to = 1> (signed_int)
        n = Cast <to = 1> (narrow_int)
        free = Sub (bits, s)
        levels = Pow (two, free)
        lowest = Sub (n, levels)
        low = Mul (s, lowest)
        unsigned = Sub (one, s)
        cut = Mul (n, unsigned)
        top = Sub (levels, one)
        high = Sub (top, cut)
        scaled = Div (x, scale)
        placed = Add (scaled, zeropt)
        capped = Min (placed, high)
        inside = Max (capped, low)
        code = Round (inside)
        back = Sub (code, zeropt)
        y = Mul (back, scale)
    }}""",
    f"""
    <domain: "{DOMAIN}", opset_import: ["": 17]>
    BipolarQuant (x, scale) => (y) {{
        zero = Constant <value_float = 0.0> ()
        minus = Neg (scale)
        up = GreaterOrEqual (x, zero)
        y = Where (up, scale, minus)
    }}""",
)
"""The operators as ONNX functions, in ONNX's own notation; all our nodes round half to even, as ``Round`` does."""


def problems(net: IntegerNetwork) -> list[tuple[Node, str]]:
    """Return the nodes that have no count, or whose sums float32 does not hold, with the reason."""
    if refused := onnx_count.problems(net):
        return refused
    wires = ranges(net, totals=True).wires
    for node in net.nodes:
        if isinstance(node, nodes.Pool) and not node.linear and (np.array(node.padding) >= node.kernel).any():
            refused.append((node, "a window sees nothing but padding"))
        if isinstance(node, nodes.TransposedConvolution) and (np.array(node.output_padding) >= node.stride).any():
            refused.append((node, "its output padding is no smaller than its stride"))
        reach = _reach(node, wires, net.steps)
        sums = f"its sums over all steps reach {reach}"
        if not isinstance(node, nodes.Neuron | nodes.Readout) and reach > CARRIED:
            refused.append((node, f"{sums}, and float32 holds every integer up to 2**24"))
        if reach > 1 << 52:
            refused.append((node, f"{sums}, more than floats of 64 bits hold"))
    return refused


def _reach(node: Node, wires: dict[str, tuple[int, int]], steps: int) -> int:
    """Return the largest magnitude of any partial sum that makes a node's total, in any order."""
    inside = [magnitude(wires[s]) for s in node.sources]
    match node:
        case nodes.Convolution() | nodes.Linear():
            return _mass(node.weight.codes) * inside[0]
        case nodes.TransposedConvolution():
            into = len(node.weight.codes)
            grouped = node.weight.codes.reshape(node.groups, into // node.groups, *node.weight.codes.shape[1:])
            return max(_mass(np.swapaxes(group, 0, 1)) for group in grouped) * inside[0]
        case nodes.SumPool():
            return int(np.prod(node.kernel)) * inside[0]
        case nodes.Add() | nodes.Neuron() | nodes.Readout():
            total = sum(int(np.abs(gain).max()) * size for gain, size in zip(node.gains, inside, strict=True))
            if isinstance(node, nodes.Neuron | nodes.Readout):
                total += int(np.abs(bias_of_all_steps(node, steps)).max())
            if isinstance(node, nodes.Neuron):
                total += int(np.abs(node.initial).max()) + int(node.threshold.max()) + 1
            return total
    return magnitude(wires[node.id])


def _mass(codes: Integers) -> int:
    """Return the largest sum of magnitudes of one output's codes, [C_out, ...]."""
    return int(np.abs(codes).reshape(len(codes), -1).sum(1).max(initial=0))


def quant_graph(net: IntegerNetwork, spans: Ranges, *, counts: bool = True) -> OnnxGraph:
    """Return the network of counts, for which :func:`problems` is empty, by its ranges over all steps.

    With ``counts`` the counts of the neurons are outputs. Tools that rearrange the axes of a graph (qonnx's
    channels-last step) take no output that is read inside as well; without, only what a read-out needs is written.
    """
    graph = OnnxGraph(Tape(np.float32))
    needed = {node.id for node in net.nodes} if counts else _read_by_outputs(net)
    tape = graph.tape
    wires: dict[str, str] = {}
    for node in net.nodes:
        if node.id not in needed:
            continue
        inputs = [wires[s] for s in node.sources]
        match node:
            case nodes.Input():
                steps = 1 if node.constant else net.steps
                low, high = steps * node.grid.low, steps * node.grid.high
                codes = _quantized(tape, graph.take(node.id, node.shape), f"/{node.id}/codes", low, high)
                wires[node.id] = tape.times(codes, net.steps // steps)
            case nodes.Convolution() | nodes.TransposedConvolution() | nodes.Linear():
                wires[node.id] = _weighted(tape, node, inputs[0])
            case nodes.SumPool():
                ones = tape.constant(np.ones((node.shape[0], 1, *node.kernel)))
                kernel = _quantized(tape, ones, f"/{node.id}/weight", 0, 1)
                # qonnx does not know that a missing dilation is 1.
                window = {**_window(node), "dilations": (1,) * len(node.kernel)}
                wires[node.id] = tape.add("Conv", inputs[0], kernel, **window, group=node.shape[0])
            case nodes.Pool():
                wires[node.id] = _largest(tape, node, inputs[0], net[node.sources[0]].shape, spans.of(node)[0])
            case nodes.Add():
                wires[node.id] = combine(tape, node, inputs, tape.parameter)
            case nodes.Neuron():
                wires[node.id] = _count(tape, node, inputs, net.steps, _reach(node, spans.wires, net.steps))
                if counts:
                    graph.outputs.append((wires[node.id], ("N", *node.shape)))
            case nodes.Readout():
                _readout(graph, node, inputs, net.steps, _reach(node, spans.wires, net.steps))
            case _ if form := FORMS.get(type(node)):
                wires[node.id] = form.count(tape, node, inputs[0], net[node.sources[0]].shape)
            case _:
                wires[node.id] = layer(tape, node, inputs, net[node.sources[0]].shape, spans.of(node))
    return graph


def _read_by_outputs(net: IntegerNetwork) -> set[str]:
    """Return the ids of the inputs, the read-outs and all that these read, directly or not."""
    read = {node.id for node in (*net.inputs, *net.outputs)}
    for node in reversed(net.nodes):
        if node.id in read:
            read.update(node.sources)
    return read


def _quantized(tape: Tape, x: str, name: str, low: int, high: int) -> str:
    """Add the narrowest Quant that holds integers from ``low`` to ``high``, and return its name."""
    signed = low < 0
    bits = max(bits_of(low, high), 2) if signed else max(high.bit_length(), 1)
    facts = {"signed": int(signed), "narrow": int(signed and low > -(1 << (bits - 1))), "rounding_mode": "ROUND"}
    inputs = (x, tape.constant(1), tape.constant(0), tape.constant(bits))
    tape.ops.append(Op("Quant", inputs, (name,), facts, DOMAIN))
    return name


def _weights(tape: Tape, node: Node, weight: nodes.Weight, layout: Integers) -> str:
    codes = tape.constant(layout)
    if weight.levels != (-1, 1):
        return _quantized(tape, codes, f"/{node.id}/weight", weight.low, weight.high)
    tape.ops.append(Op("BipolarQuant", (codes, tape.constant(1)), (f"/{node.id}/weight",), {}, DOMAIN))
    return f"/{node.id}/weight"


def _weighted(tape: Tape, node: nodes.Convolution | nodes.TransposedConvolution | nodes.Linear, x: str) -> str:
    codes = node.weight.codes
    if isinstance(node, nodes.Linear):
        return tape.add("MatMul", x, _weights(tape, node, node.weight, codes.T))
    weight = _weights(tape, node, node.weight, codes)
    window: dict[str, Any] = {
        "kernel_shape": codes.shape[2:], "strides": node.stride, "pads": (*node.padding, *node.padding),
        "dilations": node.dilation, "group": node.groups,
    }  # fmt: skip
    if isinstance(node, nodes.Convolution):
        return tape.add("Conv", x, weight, **window)
    return tape.add("ConvTranspose", x, weight, **window, output_padding=node.output_padding)


def _window(node: nodes.Pool) -> dict[str, Any]:
    return {"kernel_shape": node.kernel, "strides": node.stride, "pads": (*node.padding, *node.padding)}


def _largest(tape: Tape, node: nodes.Pool, x: str, shape: Shape, low: int) -> str:
    """Write a maximum pool. Padding counts 0, which is larger than negative counts; ONNX's own pool ignores padding."""
    if (form := FORMS.get(type(node))) and any(node.padding) and low < 0:
        return form.count(tape, node, x, shape)
    return tape.add("MaxPool", x, **_window(node))


def _doubled(tape: Tape, inputs: list[str]) -> list[str]:
    return [tape.add("Cast", x, to=np.dtype(np.float64)) for x in inputs]


def _count(tape: Tape, node: nodes.Neuron, inputs: list[str], steps: int, reach: int) -> str:
    # Halves need one bit more.
    wide = reach > CARRIED // 2
    dtype = np.float64 if wide else np.float32
    theta = node.threshold[:1]
    start: Integers | Reals = (bias_of_all_steps(node, steps) + node.initial - (node.fire == "gt"))[None]
    start = start if wide else start + (1 - theta) / 2
    dims = len(node.shape)
    x = combine(tape, node, _doubled(tape, inputs) if wide else inputs, partial(tape.parameter, dtype=dtype))
    if start.any():
        x = tape.add("Add", x, tape.parameter(start, dims, dtype))
    if (theta != 1).any():
        x = tape.add("Div", x, tape.parameter(theta, dims, dtype))
    if wide:
        x = tape.add("Floor", x)
    # A Quant of so many bits clips at T by itself where T = 2**bits - 1.
    if wide or steps & (steps + 1):
        x = tape.add("Min", x, tape.constant(steps, dtype))
    x = tape.add("Cast", x, to=np.dtype(np.float32)) if wide else x
    return _quantized(tape, tape.add("Relu", x), f"{node.id}.counts", 0, steps)


def _readout(graph: OnnxGraph, node: nodes.Readout, inputs: list[str], steps: int, reach: int) -> None:
    tape, wide, dims = graph.tape, reach > CARRIED, len(node.shape)
    parameter = partial(tape.parameter, dtype=np.float64 if wide else np.float32)
    total = combine(tape, node, _doubled(tape, inputs) if wide else inputs, parameter)
    bias = bias_of_all_steps(node, steps)[None]
    if bias.any():
        total = tape.add("Add", total, parameter(bias, dims))
    graph.give(f"{node.id}.sum", total, node.shape)
    if wide:
        graph.others[f"{node.id}.sum"] = np.float64
