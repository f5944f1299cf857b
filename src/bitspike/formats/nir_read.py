"""A NIR graph as an integer network: the other direction of ``nir_plan``."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

import numpy as np

from bitspike.errors import BitspikeError, ExportError
from bitspike.formats.nir_facts import FORMAT, VERSION, text, whole_number
from bitspike.integer.network import (  # type: ignore[attr-defined]  # grids belong to the nodes that hold them
    Add,
    Convolution,
    Dyadic,
    Grid,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    Reals,
    Reshape,
    Shape,
    SumPool,
    Weight,
    window_shape,
)

READ = ("Input", "Output", "Conv1d", "Conv2d", "Affine", "Linear", "SumPool2d", "Flatten", "IF", "LIF", "CubaLIF")
"""Classes of ``nir`` that come back."""


def network_of(graph: Any, where: str, *, steps: int | None = None) -> IntegerNetwork:
    """Return the integer network of a graph.

    Args:
        graph: a ``nir.NIRGraph``, or anything with its ``nodes``, ``edges`` and ``metadata``.
        where: its file, for messages.
        steps: T, if the metadata do not say it.

    Raises:
        ExportError: something in it has no integer form.
    """
    metadata = graph.metadata
    ours = text(metadata, "snn.format") == FORMAT
    if ours and whole_number(metadata, "snn.format_version") != VERSION:
        raise ExportError(
            f"{where} has format version {metadata.get('snn.format_version')}, this release reads {VERSION}"
        )
    if not ours and steps is None:
        raise ExportError(
            f"{where} was not written by bs.write_nir: it does not say how many steps it runs",
            fix="read_nir(path, steps=T); its neurons are then read as NIR's text has them",
        )
    if unknown := [f"{name} ({type(n).__name__})" for name, n in graph.nodes.items() if type(n).__name__ not in READ]:
        raise ExportError(f"{where}: no integer form has {', '.join(unknown)}", fix=f"a graph of {', '.join(READ)}")
    if not ours:
        warnings.warn(
            f"{where} was not written by bs.write_nir; assumed: codes of 0 and 1 at every step, potentials that start "
            "at 0, fire above the threshold and are set to v_reset",
            UserWarning,
            stacklevel=3,
        )
    reader = _Reader(graph)
    try:
        for name in _order(graph):
            reader.read(name)
        return IntegerNetwork(int(metadata["snn.T"]) if ours else int(steps or 1), tuple(reader.nodes))
    except ExportError as error:
        raise ExportError(f"{where}: {error.message}", fix=error.fix) from error
    except (BitspikeError, KeyError) as error:
        raise ExportError(f"{where} holds no network: {error}") from error


def _order(graph: Any) -> list[str]:
    """Return the names so that every source stands before its reader, otherwise as they were written."""
    left = sorted(graph.nodes, key=lambda name: (whole_number(graph.nodes[name].metadata or {}, "snn.index", 0), name))
    waits = {name: {a for a, b in graph.edges if b == name} for name in left}
    found: list[str] = []
    while left:
        ready = next((name for name in left if not waits[name] - set(found)), None)
        if ready is None:
            raise ExportError(f"the nodes {', '.join(left)} feed themselves: loops have no integer form")
        left.remove(ready)
        found.append(ready)
    return found


class _Reader:
    """Read node after node; what a synapse multiplies and adds waits for the neuron that it feeds."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self.real = text(graph.metadata or {}, "snn.units", "integer") == "real"
        self.nodes: list[Node] = []
        self.shapes: dict[str, Shape] = {}
        self.ids: dict[str, str] = {}
        self.gains: dict[str, Integers] = {}
        self.biases: dict[str, Integers] = {}

    def read(self, name: str) -> None:
        """Read one node."""
        node = self.graph.nodes[name]
        self.name, self.facts = name, dict(node.metadata or {})
        self.ids[name] = self._id(name)
        sources = [a for a, b in self.graph.edges if b == name]
        made = self._node(node, type(node).__name__, sources)
        self.nodes.append(made)
        self.shapes[name] = made.shape
        self.gains.setdefault(name, np.ones((1, 1), np.int64))
        self.biases.setdefault(name, np.zeros((1, 1), np.int64))

    def _node(self, node: Any, kind: str, sources: list[str]) -> Node:
        match kind:
            case "Input":
                return self._input(node)
            case "IF" | "LIF" | "CubaLIF":
                return self._neuron(node, sources)
            case "Output":
                return self._output(sources)
            case "Flatten":
                return self._flatten(node, self._one(sources, carries=True))
            case "SumPool2d":
                return self._pool(node, self._one(sources))
            case "Affine" | "Linear":
                return self._linear(node, self._one(sources))
        return self._convolution(node, self._one(sources))

    def _id(self, name: str) -> str:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        return plain if plain not in self.ids.values() else f"{plain}_{len(self.ids)}"

    def _head(self, rows: int) -> dict[str, Any]:
        return {
            "id": self.ids[self.name],
            "path": text(self.facts, "snn.path", self.name),
            "call": whole_number(self.facts, "snn.call", 0),
            "scale": self._reals("snn.scale", rows),
        }

    def _reals(self, key: str, rows: int) -> Reals:
        """Return real values of the metadata, [1] or one per row."""
        values = np.atleast_1d(np.asarray(self.facts.get(key, 1.0), np.float64))
        return values if values.size == 1 else np.repeat(values, rows // values.size)

    def _whole(self, values: Any, what: str) -> Integers:
        """Return integers that were stored as floats, or as real values of a known unit."""
        floats = np.asarray(values, np.float64)
        if self.real and "snn.unit" in self.facts:
            rows = floats.shape[0]
            unit = np.broadcast_to(self._reals("snn.unit", rows), (rows,))
            # The writer made sure that float32 tells the integer.
            floats = np.rint(floats / unit.reshape(-1, *[1] * (floats.ndim - 1)))
        if not np.array_equal(floats, np.floor(floats)):
            raise ExportError(
                f"{self.name}: its {what} are real numbers, an integer network needs integers",
                fix="quantize the network first: bs.convert, or bs.attach and bs.lower",
            )
        return floats.astype(np.int64)

    def _by_channel(self, values: Any, what: str) -> Integers:
        """Return [1 or C] of an array [C, ...] that is constant inside every channel."""
        whole = self._whole(values, what)
        rows = whole.reshape(whole.shape[0], -1)
        if (rows != rows[:, :1]).any():
            raise ExportError(f"{self.name}: its {what} differ inside a channel")
        return rows[:1, 0] if (rows == rows[0, 0]).all() else rows[:, 0]

    def _one(self, sources: list[str], *, carries: bool = False) -> str:
        """Return the one source of a layer, a sum where several edges meet."""
        if not sources:
            raise ExportError(f"{self.name}: no edge leads to it")
        if not carries and any((self.gains[s] != 1).any() or self.biases[s].any() for s in sources):
            raise ExportError(f"{self.name}: it reads a layer with a bias, and only neurons and outputs can")
        if len(sources) == 1:
            return sources[0]
        total, shape = f"{self.name}_sum", self.shapes[sources[0]]
        self.ids[total] = self._id(total)
        one = np.ones((1, 1), np.int64)
        ids = tuple(self.ids[s] for s in sources)
        self.nodes.append(Add(id=self.ids[total], path=total, sources=ids, shape=shape, gains=(one,) * len(sources)))
        self.shapes[total] = shape
        self.gains[total], self.biases[total] = one, 0 * one
        return total

    def _input(self, node: Any) -> Input:
        found = self.facts
        grid = Grid(
            float(found.get("snn.delta", 1.0)),
            whole_number(found, "snn.low", 0) or 0,
            whole_number(found, "snn.high", 1) or 0,
        )
        shape = _shape(node.input_type["input"])
        return Input(
            **self._head(shape[0]),
            shape=shape,
            grid=grid,
            constant=bool(found.get("snn.constant", False)),
            coding=text(found, "snn.coding", "direct"),
            divisor=float(found.get("snn.divisor", 1.0)),
        )

    def _flatten(self, node: Any, source: str) -> Reshape:
        shape = self.shapes[source]
        if (int(node.start_dim), int(node.end_dim)) not in ((0, -1), (0, len(shape) - 1)):
            raise ExportError(f"{self.name}: it flattens axes {node.start_dim} to {node.end_dim}, all are needed")
        places = math.prod(shape[1:])
        for kept in (self.gains, self.biases):
            kept[self.name] = kept[source] if kept[source].shape[1] == 1 else np.repeat(kept[source], places, axis=1)
        return Reshape(**self._head(1), sources=(self.ids[source],), shape=(math.prod(shape),))

    def _pool(self, node: Any, source: str) -> SumPool:
        shape = self.shapes[source]
        kernel, stride, padding = (_pair(v, 2) for v in (node.kernel_size, node.stride, node.padding))
        made = (shape[0], *window_shape(shape[1:], kernel, stride, padding, (1, 1)))
        return SumPool(
            **self._head(shape[0]),
            sources=(self.ids[source],),
            shape=made,
            kernel=kernel,
            stride=stride,
            padding=padding,
        )

    def _linear(self, node: Any, source: str) -> Linear:
        weight = self._weight(node.weight, getattr(node, "bias", None))
        rows = len(weight.codes)
        return Linear(**self._head(rows), sources=(self.ids[source],), shape=(rows,), weight=weight)

    def _convolution(self, node: Any, source: str) -> Convolution:
        groups = whole_number(self.facts, "snn.groups", 1) or 1
        stored = np.asarray(node.weight)
        if groups > 1:
            stored = np.concatenate(
                [
                    block[:, g * stored.shape[1] // groups : (g + 1) * stored.shape[1] // groups]
                    for g, block in enumerate(np.split(stored, groups))
                ]
            )
        weight = self._weight(stored, node.bias)
        kernel, inside = weight.codes.shape[2:], self.shapes[source][1:]
        padding = _pair(0 if isinstance(node.padding, str) and node.padding == "valid" else node.padding, len(kernel))
        stride, dilation = _pair(node.stride, len(kernel)), _pair(node.dilation, len(kernel))
        made = (len(weight.codes), *window_shape(inside, kernel, stride, padding, dilation))
        return Convolution(
            **self._head(len(weight.codes)), sources=(self.ids[source],), shape=made, weight=weight, stride=stride,
            padding=padding, dilation=dilation, groups=max(groups, int(node.groups)),
        )  # fmt: skip

    def _weight(self, stored: Any, bias: Any) -> Weight:
        """Return the codes: the stored weights without the gain, which waits for the neuron, as the bias does."""
        whole = self._whole(stored, "weights")
        rows, found = len(whole), self.facts
        gain = np.atleast_1d(np.asarray(found.get("snn.gain", 1))).astype(np.int64)
        gain = gain if gain.size == 1 else np.repeat(gain, rows // gain.size)
        divisor = np.where(gain == 0, 1, gain).reshape(-1, *[1] * (whole.ndim - 1))
        if (whole % divisor).any():
            raise ExportError(f"{self.name}: its weights are no multiples of its gain")
        codes = whole // divisor
        self.gains[self.name] = gain[None]
        if bias is not None:
            self.biases[self.name] = self._whole(bias, "biases")[None]
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        levels = tuple(int(v) for v in np.atleast_1d(np.asarray(found.get("snn.levels", []))))
        return Weight(
            codes=codes,
            step=self._reals("snn.delta", rows),
            bits=whole_number(found, "snn.bits") or max(high, -low).bit_length() + 1,
            low=min(low, whole_number(found, "snn.low", low) or 0),
            high=max(high, whole_number(found, "snn.high", high) or 0),
            levels=levels or None,
            scheme=text(found, "snn.scheme"),
        )

    def _ends(self, sources: list[str], rows: int) -> dict[str, Any]:
        """Return sources, gains and bias of a neuron or an output."""
        if not sources:
            raise ExportError(f"{self.name}: no edge leads to it")
        total = sum(np.broadcast_to(self.biases[s], (1, rows)) for s in sources)
        bias = np.asarray(total, np.int64)
        bias = bias[:, :1] if (bias == bias[0, 0]).all() else bias
        return {
            "sources": tuple(self.ids[s] for s in sources),
            "gains": tuple(self.gains[s] for s in sources),
            "bias": bias,
        }

    def _output(self, sources: list[str]) -> Readout:
        shape = self.shapes[sources[0]] if sources else ()
        rows = shape[0] if shape else 1
        return Readout(**self._head(rows), shape=shape, **self._ends(sources, rows))

    def _neuron(self, node: Any, sources: list[str]) -> Neuron:
        shape, found = _shape(node.v_threshold.shape), self.facts
        rows = shape[0]
        leaks = type(node).__name__ != "IF"
        if leaks and "snn.leak_numerator" not in found:
            raise ExportError(
                f"{self.name}: an LIF without snn.leak_numerator and snn.leak_shift decays by a real number"
            )
        if not leaks and (np.asarray(node.r) != 1).any():
            raise ExportError(f"{self.name}: an IF with r other than 1 has no integer form")
        subtracts = text(found, "snn.reset", "to v_reset") == "subtract"
        reset = np.zeros(1, np.int64) if subtracts else self._by_channel(node.v_reset, "reset values")
        ends = self._ends(sources, rows)
        up, down = (whole_number(found, f"snn.current_{end}", 1) or 1 for end in ("numerator", "denominator"))
        ends["bias"] = ends["bias"] + self._counts("snn.current_offset", rows)
        return Neuron(
            **self._head(rows),
            shape=shape,
            **ends,
            threshold=self._by_channel(node.v_threshold, "thresholds")[None] * up // down,
            initial=self._counts("snn.v0", rows) * up // down,
            unit=self._reals("snn.unit", rows) * down / up,
            fraction_bits=whole_number(found, "snn.k", 0) or 0,
            leak=Dyadic(
                whole_number(found, "snn.leak_numerator", 1) or 0, whole_number(found, "snn.leak_shift", 0) or 0
            ),
            leak_order=_word(text(found, "snn.leak_order", "before")),
            reset="soft" if subtracts else "hard",
            v_reset=reset * up // down,
            fire=_word(text(found, "snn.compare", "gt")),
            floor=whole_number(found, "snn.v_min"),
            width=whole_number(found, "snn.width"),
        )

    def _counts(self, key: str, rows: int) -> Integers:
        """Return integers of the metadata, [1] or one per row; 0 where there are none."""
        values = np.atleast_1d(np.asarray(self.facts.get(key, 0))).astype(np.int64)
        return values if values.size == 1 else np.repeat(values, rows // values.size)


def _word(word: str) -> Any:
    """Hand a word on; the neuron refuses the ones that it does not know."""
    return word


def _shape(values: Any) -> Shape:
    return tuple(int(n) for n in np.atleast_1d(np.asarray(values)))


def _pair(value: Any, dims: int) -> Shape:
    """Return one number per axis."""
    if isinstance(value, str | bytes):
        raise ExportError(f"padding {value!r} depends on the kernel: numbers are needed")
    numbers = _shape(value)
    return numbers if len(numbers) == dims else numbers * dims
