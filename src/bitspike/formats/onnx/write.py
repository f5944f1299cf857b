"""Write a network as ONNX: one step of it, the whole run, or its counts. Integers only, executed by any ONNX runtime.

The dialect QONNX carries the integers of the counts in floats, for the tools that read it.

ONNX has no neuron, no state and no test vectors: it is a way to run a network elsewhere, not the network's definition.
The file's metadata says what ONNX has no field for (``snn.*``, JSON texts): steps, the input's grid, states and their
first values, reset and comparison of every neuron, the real value of every integer. docs/export.md lists the keys.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.onnx import count as onnx_count
from bitspike.formats.onnx import layers as onnx_layers
from bitspike.formats.onnx import qonnx
from bitspike.formats.onnx import sequence as onnx_sequence
from bitspike.formats.onnx import step as onnx_step
from bitspike.formats.onnx.graph import OnnxGraph
from bitspike.formats.onnx.memory import FORMS
from bitspike.formats.onnx.numbers import numbers_of, ranges
from bitspike.formats.onnx.tape import model_of
from bitspike.formats.refuse import optional, refuse, write_whole
from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Node

Mode = Literal["step", "count", "sequence", "qonnx", "qonnx-readouts"]
"""What one call of the file computes: a time step, all spike counts at once, the whole run; counts in QONNX, all or
those of the read-outs alone.
"""

FORMAT = "bitspike-onnx"
PROBLEMS: Mapping[str, Callable[[IntegerNetwork], list[tuple[Node, str]]]] = {
    "step": onnx_step.problems,
    "count": onnx_count.problems,
    "sequence": lambda _: [],
    "qonnx": qonnx.problems,
    "qonnx-readouts": qonnx.problems,
}
"""By mode what returns the nodes that it cannot hold, with the reason."""

_GRAPHS = {"step": onnx_step.step_graph, "count": onnx_count.count_graph, "sequence": onnx_sequence.sequence_graph}
HELD: Mapping[type[Node], str] = {
    nodes.Input: "input; grid and coding in the metadata",
    **onnx_layers.HELD,
    **{kind: form.words for kind, form in FORMS.items()},
    nodes.Add: "Mul and Add",
    nodes.Neuron: "its equations, line by line; the potential as a state",
    nodes.FewBitNeuron: "the same; the state is the potential that its code stands for",
    nodes.Readout: "Add; the sum as a state",
}
"""How ONNX holds each kind of node."""


@checked
def write_onnx(net: IntegerNetwork, path: str | os.PathLike[str], *, mode: Mode = "step") -> Path:
    """Write a network as an ONNX file (opset 17) that computes with integers only.

    Every tensor at the border is int32, or int64 where the worst case of any number needs it (``snn.numbers``).

    ``step``: one time step. Potentials, counters and sums go in and come out; the caller hands them on.
    ``sequence``: all steps; codes [1 or T, N, ...] go in, sums [N, ...] and spikes [T, N, ...] come out.
    ``count``: spike counts ``N = clip(floor((v0 + Z) / theta), 0, T)`` in one pass, for integrate-and-fire neurons that
    reset by subtraction; equal to the run where every current is constant in time or comes as one burst.
    ``qonnx``: the same counts in the dialect of qonnx, FINN and hls4ml: ``Quant`` nodes over float32, which hold
    integers up to 2**24.
    ``qonnx-readouts``: the same with the read-outs as the only outputs, for tools that rearrange the graph (qonnx's
    channels-last step, which hls4ml needs, takes no output that is read inside as well).

    Args:
        net: the network.
        path: of the file.
        mode: what one call of the file computes.

    Returns:
        the path.

    Raises:
        ConstraintError: the mode is none of these.
        ExportError: a node cannot be written in this mode (all are named), a number needs more than 63 bits, a package
            is missing, or the file cannot be written.
    """
    need_integers(net, "write_onnx")
    if mode not in get_args(Mode):
        raise ConstraintError(f"mode={mode!r}: allowed are {', '.join(get_args(Mode))}", fix='mode="step"')
    onnx = optional("onnx", extra="onnx")
    graph, numbers = graph_of(net, mode)
    facts = {**_facts(net), "snn.mode": mode, **_border(graph, numbers)}
    model = model_of(graph.tape, graph.inputs, graph.outputs, facts, others=graph.others, functions=qonnx.FUNCTIONS)
    path = Path(path)
    try:
        onnx.checker.check_model(model)
        content = model.SerializeToString()
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ExportError(f"{path} could not be written: {error}", fix="bs.write_c(net, folder)") from error
    write_whole(path, content)
    return path


def graph_of(net: IntegerNetwork, mode: Mode) -> tuple[OnnxGraph, str]:
    """Return a network's operators in a mode, and the name of the numbers that carry it.

    Raises:
        ExportError: a node cannot be written in this mode, or a number needs more than 63 bits.
    """
    unknown = [(n, f"a {type(n).__name__} is not known") for n in net.nodes if type(n) not in HELD]
    refuse("ONNX", net, unknown, fix="leave these parts to the host, or choose another format")
    refuse(f"ONNX, mode {mode!r},", net, PROBLEMS[mode](net), fix=_way_out(net, mode))
    spans = ranges(net, totals=mode not in ("step", "sequence"))
    if mode in ("qonnx", "qonnx-readouts"):
        return qonnx.quant_graph(net, spans, counts=mode == "qonnx"), "float32"
    numbers = numbers_of(spans)
    if numbers is None:
        raise ExportError(
            f"a number on the way may reach {spans.largest}, more than 64 bits hold",
            fix="fewer steps, or weights and gains of fewer bits",
        )
    return _GRAPHS[mode](net, numbers, spans), numbers.__name__


def _way_out(net: IntegerNetwork, mode: Mode) -> str:
    """Name the modes of integers that hold the network; "sequence" always does."""
    ways = [name for name in ("count", "step", "sequence") if name != mode and not PROBLEMS[name](net)]
    named = " or ".join(f'write_onnx(net, path, mode="{name}") (--form {name})' for name in ways[:2])
    uncounted = mode not in ("step", "sequence") and "count" not in ways
    return f"{named}; counts need IF neurons that reset by subtraction" if uncounted else named


def _border(graph: OnnxGraph, numbers: str) -> dict[str, str]:
    """Return the metadata of the states and the number format."""
    states = [
        {"input": s.reads, "output": s.writes, "shape": s.shape, "initial": s.initial.tolist()} for s in graph.states
    ]
    return {"snn.states": json.dumps(states), "snn.numbers": numbers}


def _facts(net: IntegerNetwork) -> dict[str, str]:
    """Return the metadata of a network: all that ONNX has no field for."""
    entries: dict[str, list[dict[str, Any]]] = {"inputs": [], "outputs": [], "neurons": [], "weights": []}
    for node in net.nodes:
        head: dict[str, Any] = {"id": node.id, "path": node.path, "scale": node.scale.tolist()}
        match node:
            case nodes.Input():
                grid = {"low": node.grid.low, "high": node.grid.high, "step": node.grid.scale}
                coding = {"coding": node.coding, "constant": node.constant, "divisor": node.divisor}
                entries["inputs"].append(head | grid | coding)
            case nodes.Readout():
                entries["outputs"].append(head)
            case nodes.Neuron():
                words = {"reset": "subtract" if node.reset == "soft" else "to value", "fire": node.fire}
                leak: dict[str, Any] = {"leak": [node.leak.numerator, node.leak.shift], "leak_order": node.leak_order}
                leak |= {} if node.rounding == "floor" else {"rounding": node.rounding}
                limits = {"signed": node.signed, "floor": node.floor, "width": node.width}
                if isinstance(node, nodes.FewBitNeuron):
                    limits |= {"kept_bits": node.kept_bits, "kept_shift": node.kept_shift}
                entries["neurons"].append(head | words | leak | limits | {"unit": node.unit.tolist()})
            case nodes.Convolution() | nodes.TransposedConvolution() | nodes.Linear():
                weight = node.weight
                bits = {"bits": weight.bits, "scheme": weight.scheme, "delta": weight.step.tolist()}
                entries["weights"].append(head | bits)
    lists = {f"snn.{key}": json.dumps(value) for key, value in entries.items()}
    return {"snn.format": FORMAT, "snn.format_version": "1", "snn.T": str(net.steps), **lists}
