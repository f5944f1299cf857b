"""The nodes of a NIR graph as those of an integer network: the other direction of :mod:`bitspike.formats.nir.graph`."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import numpy as np

from bitspike.errors import ExportError
from bitspike.formats.nir.facts import ROUNDING, text, whole_number, whole_numbers
from bitspike.formats.nir.reading.foreign import (
    QUANTIZE,
    Conventions,
    dynamics,
    exact_bits,
    fraction_bits,
    in_units,
    integer_threshold,
)  # fmt: skip
from bitspike.formats.nir.reading.hdf5_guard import AGAIN
from bitspike.integer import nodes
from bitspike.integer.nodes import Coding, Integers, Node, Reals, Rounding, Shape, window_shape

_LARGEST = 2.0**53
"""Beyond it a float64 no longer tells one integer from the next."""
_MOST_VALUES = 1 << 26
MOST_CODES = 1 << 15
"""Weights of 16 bits are smaller."""
_NO_EDGE = "an edge that leads to it, or a graph without it"
CARRY = ("Flatten", "SumPool2d")
"""Nodes that hand sums on in the unit in which they came."""


class GraphReader:
    """Read node after node; gains and biases of layers are kept for the neuron that they feed."""

    def __init__(self, graph: Any, conventions: Conventions | None) -> None:
        self.graph, self.conventions = graph, conventions
        self.notes: list[str] = []
        self.bits: dict[str, int] = {}
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
        kind = type(node).__name__
        try:
            read = self._node(node, kind, sources)
        except ExportError as error:
            raise ExportError(f"{name}: {error.message}", fix=error.fix) from error
        if math.prod(read.shape) > _MOST_VALUES:
            raise ExportError(
                f"{name}: it claims {list(read.shape)} values per step, more than {_MOST_VALUES:,}",
                fix="an undamaged copy of the file, or a network of smaller layers",
            )
        self.nodes.append(read)
        self.shapes[name] = read.shape
        # Bits after the point of a layer's sums; spikes and codes have none.
        self.bits.setdefault(name, max((self.bits[s] for s in sources), default=0) if kind in CARRY else 0)
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
        if not np.array_equal(floats, np.floor(floats)) or np.abs(floats).max(initial=0) > _LARGEST:
            raise ExportError(f"its {what} are real numbers, an integer network needs integers", fix=QUANTIZE)
        return floats.astype(np.int64)

    def _by_channel(self, values: Any, what: str) -> Integers:
        """Return [1 or C] of an array [C, ...] that is constant inside every channel."""
        whole = self._whole(values, what)
        rows = whole.reshape(whole.shape[0], -1)
        if (rows != rows[:, :1]).any():
            raise ExportError(f"its {what} differ inside a channel", fix=f"the same {what} for all places of a channel")
        return rows[:1, 0] if (rows == rows[0, 0]).all() else rows[:, 0]

    def _one(self, sources: list[str], *, carries: bool = False) -> str:
        """Return the one source of a layer, a sum where several edges meet."""
        if not sources:
            raise ExportError("no edge leads to it", fix=_NO_EDGE)
        if len({self.bits[s] for s in sources}) > 1:
            raise ExportError(
                "layers of other grids meet in it, and only neurons and outputs can add them",
                fix="a neuron between them and this layer, or weights of one scale",
            )
        if not carries and any((self.gains[s] != 1).any() or self.biases[s].any() for s in sources):
            raise ExportError(
                "it reads a layer with a bias, and only neurons and outputs can",
                fix="a neuron between the two layers, or no bias",
            )
        if len(sources) == 1:
            return sources[0]
        total, shape = f"{self.name}_sum", self.shapes[sources[0]]
        self.ids[total] = self._id(total)
        one = np.ones((1, 1), np.int64)
        ids = tuple(self.ids[s] for s in sources)
        self.nodes.append(
            nodes.Add(id=self.ids[total], path=total, sources=ids, shape=shape, gains=(one,) * len(sources))
        )
        self.shapes[total], self.bits[total] = shape, self.bits[sources[0]]
        self.gains[total], self.biases[total] = one, 0 * one
        return total

    def _input(self, node: Any) -> nodes.Input:
        facts = self.facts
        grid = nodes.Grid(
            float(facts.get("snn.delta", 1.0)),
            whole_number(facts, "snn.low", 0) or 0,
            whole_number(facts, "snn.high", 1) or 0,
        )
        shape = _shape(node.input_type["input"])
        return nodes.Input(
            **self._head(shape[0]),
            shape=shape,
            grid=grid,
            constant=bool(facts.get("snn.constant", False)),
            coding=cast(Coding, text(facts, "snn.coding", "direct")),  # other words are refused with the node
            divisor=float(facts.get("snn.divisor", 1.0)),
        )

    def _flatten(self, node: Any, source: str) -> nodes.Reshape:
        shape = self.shapes[source]
        if (int(node.start_dim), int(node.end_dim)) not in ((0, -1), (0, len(shape) - 1)):
            raise ExportError(
                f"it flattens axes {node.start_dim} to {node.end_dim}, all are needed",
                fix="start_dim=0, end_dim=-1",
            )
        places = math.prod(shape[1:])
        for kept in (self.gains, self.biases):
            kept[self.name] = kept[source] if kept[source].shape[1] == 1 else np.repeat(kept[source], places, axis=1)
        return nodes.Reshape(**self._head(1), sources=(self.ids[source],), shape=(math.prod(shape),))

    def _pool(self, node: Any, source: str) -> nodes.SumPool:
        shape = self.shapes[source]
        kernel, stride, padding = (_pair(v, 2) for v in (node.kernel_size, node.stride, node.padding))
        outside = (shape[0], *window_shape(shape[1:], kernel, stride, padding, (1, 1)))
        return nodes.SumPool(
            **self._head(shape[0]),
            sources=(self.ids[source],),
            shape=outside,
            kernel=kernel,
            stride=stride,
            padding=padding,
        )

    def _linear(self, node: Any, source: str) -> nodes.Linear:
        weight = self._weight(node.weight, getattr(node, "bias", None), source)
        rows = len(weight.codes)
        return nodes.Linear(**self._head(rows), sources=(self.ids[source],), shape=(rows,), weight=weight)

    def _convolution(self, node: Any, source: str) -> nodes.Convolution:
        groups = whole_number(self.facts, "snn.groups", 1) or 1
        stored = np.asarray(node.weight)
        if groups > 1:
            stored = np.concatenate(
                [
                    block[:, g * stored.shape[1] // groups : (g + 1) * stored.shape[1] // groups]
                    for g, block in enumerate(np.split(stored, groups))
                ]
            )
        weight = self._weight(stored, node.bias, source)
        kernel, inside = weight.codes.shape[2:], self.shapes[source][1:]
        padding = _pair(0 if isinstance(node.padding, str) and node.padding == "valid" else node.padding, len(kernel))
        stride, dilation = _pair(node.stride, len(kernel)), _pair(node.dilation, len(kernel))
        outside = (len(weight.codes), *window_shape(inside, kernel, stride, padding, dilation))
        return nodes.Convolution(
            **self._head(len(weight.codes)), sources=(self.ids[source],), shape=outside, weight=weight, stride=stride,
            padding=padding, dilation=dilation, groups=max(groups, int(node.groups)),
        )  # fmt: skip

    def _foreign_weight(self, stored: Any, bias: Any, before: int) -> nodes.Weight:
        """Return weights on a grid of a power of two; the sums count in the finest unit of them and the bias."""
        bits = fraction_bits(stored, "weights")
        fine = max(before + bits, 0 if bias is None else fraction_bits(bias, "biases"))
        codes = in_units(stored, bits)
        most = int(np.abs(codes).max(initial=0))
        if most >= MOST_CODES:
            raise ExportError(
                f"its weights are real numbers of {most.bit_length()} bits, an integer network has up to 16",
                fix=QUANTIZE,
            )
        self.bits[self.name] = fine
        self.gains[self.name] = np.full((1, 1), 1 << fine - before - bits, np.int64)
        if bias is not None:
            self.biases[self.name] = in_units(bias, fine)[None]
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        return nodes.Weight(codes=codes, step=np.array([2.0**-bits]), bits=most.bit_length() + 1, low=low, high=high)

    def _weight(self, stored: Any, bias: Any, source: str) -> nodes.Weight:
        """Return the codes: the stored weights without the gain, which waits for the neuron, as the bias does."""
        if self.conventions is not None:
            return self._foreign_weight(stored, bias, self.bits[source])
        whole = self._whole(stored, "weights")
        rows, facts = len(whole), self.facts
        gain = whole_numbers(facts, "snn.gain", 1)
        gain = gain if gain.size == 1 else np.repeat(gain, rows // gain.size)
        divisor = np.where(gain == 0, 1, gain).reshape(-1, *[1] * (whole.ndim - 1))
        if (whole % divisor).any():
            raise ExportError("its weights are no multiples of its gain", fix=AGAIN)
        codes = whole // divisor
        self.gains[self.name] = gain[None]
        if bias is not None:
            self.biases[self.name] = self._whole(bias, "biases")[None]
        low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
        levels = tuple(int(v) for v in np.atleast_1d(np.asarray(facts.get("snn.levels", []))))
        return nodes.Weight(
            codes=codes,
            step=self._reals("snn.delta", rows),
            bits=whole_number(facts, "snn.bits") or max(high, -low).bit_length() + 1,
            low=min(low, whole_number(facts, "snn.low", low) or 0),
            high=max(high, whole_number(facts, "snn.high", high) or 0),
            levels=levels or None,
            scheme=text(facts, "snn.scheme"),
        )

    def _ends(self, sources: list[str], rows: int, fine: int = 0) -> dict[str, Any]:
        """Return sources, gains and bias of a neuron or an output, in units of 2**-fine."""
        if not sources:
            raise ExportError("no edge leads to it", fix=_NO_EDGE)
        finer = {s: 1 << fine - self.bits[s] if self.conventions is not None else 1 for s in sources}
        total = sum(np.broadcast_to(self.biases[s] * finer[s], (1, rows)) for s in sources)
        bias = np.asarray(total, np.int64)
        bias = bias[:, :1] if (bias == bias[0, 0]).all() else bias
        return {
            "sources": tuple(self.ids[s] for s in sources),
            "gains": tuple(self.gains[s] * finer[s] for s in sources),
            "bias": bias,
        }

    def _output(self, sources: list[str]) -> nodes.Readout:
        shape = self.shapes[sources[0]] if sources else ()
        rows = shape[0] if shape else 1
        fine = max((self.bits[s] for s in sources), default=0)
        head = self._head(rows) | ({} if self.conventions is None else {"scale": np.array([2.0**-fine])})
        return nodes.Readout(**head, shape=shape, **self._ends(sources, rows, fine))

    def _foreign(self, node: Any, sources: list[str], run: Conventions) -> nodes.Neuron:
        """Return a neuron of another writer, in a unit so fine that all its numbers are whole."""
        if type(node).__name__ == "CubaLIF":
            raise ExportError("no integer form has a CubaLIF", fix="neurons of the kinds IF and LIF")
        law = dynamics(node, type(node).__name__, run)  # type: ignore[arg-type]
        shape = self.shapes[sources[0]] if sources else ()
        soft, theta = run.reset == "soft", self._spread(node.v_threshold, shape)
        reset = self._spread(getattr(node, "v_reset", None), shape)
        bits = fraction_bits(theta, "thresholds") if soft else fraction_bits(reset, "reset values")
        fine = max(bits, law.bits + max((self.bits[s] for s in sources), default=0))
        room = exact_bits(law.leak, run.steps, fine)
        fine += room
        if law.leak.shift and not room:
            self.notes.append(f"{self.name}: its leak rounds down, in units of 2**-{fine}")
        ends = self._ends(sources, shape[0], fine - law.bits)
        ends |= {"gains": tuple(g * law.gain for g in ends["gains"]), "bias": ends["bias"] * law.gain}
        return nodes.Neuron(
            **self._head(shape[0]),
            shape=shape,
            **ends,
            threshold=self._by_channel(
                in_units(theta, fine) if soft else integer_threshold(theta, fine, run.fire), "thresholds"
            )[None],
            initial=np.zeros(1, np.int64),
            unit=np.array([2.0**-fine]),
            fraction_bits=room,
            leak=law.leak,
            reset=run.reset,
            v_reset=np.zeros(1, np.int64) if soft else self._by_channel(in_units(reset, fine), "reset values"),
            fire=run.fire,
        )

    def _spread(self, values: Any, shape: Shape) -> Reals:
        """Return parameters of a neuron [C, ...]; some writers give one for all."""
        floats = np.zeros(1) if values is None else np.asarray(values, np.float64)
        return np.broadcast_to(floats if floats.size > 1 else floats.reshape(()), shape)

    def _neuron(self, node: Any, sources: list[str]) -> nodes.Neuron:
        if self.conventions is not None:
            return self._foreign(node, sources, self.conventions)
        shape, facts = _shape(node.v_threshold.shape), self.facts
        rows = shape[0]
        subtracts = text(facts, "snn.reset", "to v_reset") == "subtract"
        reset = np.zeros(1, np.int64) if subtracts else self._by_channel(node.v_reset, "reset values")
        ends = self._ends(sources, rows)
        up, down = (whole_number(facts, f"snn.current_{end}", 1) or 1 for end in ("numerator", "denominator"))
        ends["bias"] = ends["bias"] + self._counts("snn.current_offset", rows)
        kind: type[nodes.Neuron] = nodes.Neuron
        kept: dict[str, Any] = {}
        if (kept_bits := whole_number(facts, "snn.kept_bits")) is not None:
            kept_shift = whole_number(facts, "snn.kept_shift", 0)
            kind, kept = nodes.FewBitNeuron, {"kept_bits": kept_bits, "kept_shift": kept_shift}
        return kind(
            **kept,
            **self._head(rows),
            shape=shape,
            **ends,
            threshold=self._by_channel(node.v_threshold, "thresholds")[None] * up // down,
            initial=self._counts("snn.v0", rows) * up // down,
            unit=self._reals("snn.unit", rows) * down / up,
            fraction_bits=whole_number(facts, "snn.k", 0) or 0,
            leak=nodes.Dyadic(
                whole_number(facts, "snn.leak_numerator", 1) or 0, whole_number(facts, "snn.leak_shift", 0) or 0
            ),
            leak_order=cast(Any, text(facts, "snn.leak_order", "before")),
            reset="soft" if subtracts else "hard",
            v_reset=reset * up // down,
            fire=cast(Any, text(facts, "snn.compare", "gt")),
            floor=whole_number(facts, "snn.v_min"),
            width=whole_number(facts, "snn.width"),
            rounding=self._rounding(),
        )

    def _rounding(self) -> Rounding:
        """Return how a leak rounds: down, where nothing is said."""
        said = text(self.facts, "snn.rounding", ROUNDING["floor"])
        words = {word: rounding for rounding, word in ROUNDING.items()}
        if said not in words:
            raise ExportError(f"snn.rounding is {said!r}, allowed are {' and '.join(map(repr, words))}", fix=AGAIN)
        return words[said]

    def _counts(self, key: str, rows: int) -> Integers:
        """Return integers of the metadata, [1] or one per row; 0 where there are none."""
        values = whole_numbers(self.facts, key, 0)
        return values if values.size == 1 else np.repeat(values, rows // values.size)


def _shape(values: Any) -> Shape:
    return tuple(int(n) for n in np.atleast_1d(np.asarray(values)))


def _pair(value: Any, dims: int) -> Shape:
    """Return one number per axis."""
    if isinstance(value, str | bytes):
        raise ExportError(
            f"padding {value!r} depends on the kernel: numbers are needed", fix=f"padding={(1,) * dims}, for example"
        )
    numbers = _shape(value)
    return numbers if len(numbers) == dims else numbers * dims
