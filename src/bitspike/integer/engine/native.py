"""The fused steps of a network as operations of the native engine, with the memory they work in."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.integer.arithmetic import Whole
from bitspike.integer.engine.fuse import Fire, Fused, Layer, Out, Pool, Signal, Step, Term
from bitspike.integer.engine.pack import SOURCE, Packed, aligned, pack, padded
from bitspike.integer.nodes import Integers
from bitspike.kernels.engine.structs import (
    Kind,
    Layout,
    Method,
    OpStruct,
    TermStruct,
    UnitStruct,
    WireStruct,
    library,
    per_unit,
)

_MOST, _LEAST = 2**31 - 1, -(2**31)
Choice = dict[int, Method]
"""The method of every layer, by ``id()`` of the layer."""
Memory = npt.NDArray[Any]
Shape = tuple[Any, ...]
"""All that the content of a wire's memory depends on but for its values: where its border and its channels lie."""


@dataclass(eq=False)
class Weights:
    """Packed weights, made once for each layer and method that is tried."""

    packed: dict[tuple[int, Method], Packed] = field(default_factory=dict)

    def of(self, layer: Layer, method: Method) -> Packed:
        """Return the weights of a layer for a method."""
        key = (id(layer), method)
        if key not in self.packed:
            units = units_of(layer.signal, SOURCE[method])
            signal = layer.signal
            self.packed[key] = pack(layer.codes, method, units=units, low=signal.low, high=signal.high)
        return self.packed[key]

    def keep(self, wanted: set[tuple[int, Method]]) -> None:
        """Drop what was only tried."""
        self.packed = {key: value for key, value in self.packed.items() if key in wanted}


def units_of(signal: Signal, layout: Layout) -> int:
    """Return how many units hold the channels of a signal."""
    if layout == Layout.BYTES:  # neurons write 16 channels at once
        return -(-signal.channels // 4) if signal.entry else padded(signal.channels) // 4
    return -(-signal.channels // (32 if layout == Layout.BITS else per_unit()))


@dataclass(eq=False)
class Workspace:
    """Memory and operations for one number of samples and steps; all workspaces of a network share the weights."""

    fused: Fused
    samples: int
    steps: int
    weights: Weights
    wires: dict[tuple[str, Layout], tuple[WireStruct, Memory]] = field(default_factory=dict)
    free: dict[Shape, list[Memory]] = field(default_factory=dict)
    alive: list[Any] = field(default_factory=list)
    ops: list[OpStruct] = field(default_factory=list)
    results: dict[str, Integers] = field(default_factory=dict)
    traces: dict[str, tuple[npt.NDArray[np.int8], npt.NDArray[np.int32]]] = field(default_factory=dict)
    borders: Mapping[str, tuple[int, int]] = field(init=False)

    def __post_init__(self) -> None:
        self.borders = _borders(self.fused)

    # ------------------------------------------------------------------ memory

    def wire(self, signal: Signal, layout: Layout) -> WireStruct:
        """Return a signal in one layout, with memory of its own."""
        key = (signal.id, layout)
        if key not in self.wires:
            rows = self.samples * (self.steps if signal.timed else 1)
            lanes, units = -(-rows // 64) * 64, units_of(signal, layout)
            (h, w), (bh, bw) = signal.inside, self.borders.get(signal.id, (0, 0))
            size = rows * (h + 2 * bh) * (w + 2 * bw) * units * 4
            if layout == Layout.PLANES:
                # Tables are looked up only for taps that lie inside of the image.
                bh = bw = 0
                size = units * h * w * lanes
            # A byte is the value less `low`: the border holds the value 0.
            low = signal.low if layout == Layout.BYTES else 0
            shape = (layout, signal.timed, signal.channels, (h, w), (bh, bw), units, low, lanes)
            self._add(key, shape, size + 64, np.uint8, fill=-low)
        return self.wires[key][0]

    def sums(self, layer: Layer, method: Method, inside: tuple[int, int]) -> WireStruct:
        """Return memory for the sums of a layer that is added to another."""
        layout = Layout.RAW_SAMPLES if method == Method.TABLE else Layout.RAW_CHANNELS
        key = (f"{id(layer)}", layout)
        if key not in self.wires:
            rows, channels = self.samples * (self.steps if layer.signal.timed else 1), len(layer.codes)
            lanes, unit = -(-rows // 64) * 64, per_unit() if method == Method.TABLE else 16
            units = -(-channels // unit)
            size = (lanes if method == Method.TABLE else rows) * units * unit * inside[0] * inside[1] + 16
            shape = (layout, layer.signal.timed, channels, inside, (0, 0), units, 0, lanes)
            self._add(key, shape, size, np.int16 if method == Method.TABLE else np.int32)
        return self.wires[key][0]

    def release(self, names: Collection[str]) -> None:
        """Give back the memory of wires, by the id of a signal or layer, that no later step reads.

        The next wire of the same shape takes it: as much of it as before is written, so borders stay as they are.
        """
        for key in [key for key in self.wires if key[0] in names]:
            wire, memory = self.wires.pop(key)
            self.free.setdefault(_shape(wire), []).append(memory)

    def _add(self, key: tuple[str, Layout], shape: Shape, size: int, dtype: npt.DTypeLike, *, fill: int = 0) -> None:
        waiting = self.free.get(shape)
        memory = waiting.pop() if waiting else aligned(size, dtype, fill)
        # Operations point to both, also after the wire was released.
        self.wires[key] = self._keep((_wire(memory, *shape), memory))

    def enter(self, codes: Whole, threads: int) -> None:
        """Write input codes [T or 1, N, ...] where the first layer reads them."""
        native = library()
        assert native is not None
        whole = np.ascontiguousarray(codes, dtype=np.int64)
        rows = whole.shape[0] * whole.shape[1]
        native.bitspike_engine_enter(self.wire(self.fused.entry, Layout.BYTES), whole.ctypes.data, rows, threads)

    def rates(self) -> dict[str, float]:
        """Return the spikes per neuron and step of every signal of spikes that was written, by id."""
        signals = {step.signal.id: step.signal for step in self.fused.steps if not isinstance(step, Out)}
        rates = {}
        for (id, layout), (_, memory) in self.wires.items():
            signal = signals.get(id)
            if signal is None or not signal.binary or layout not in (Layout.BITS, Layout.BYTES, Layout.PLANES):
                continue
            fired = np.unpackbits(memory).sum(dtype=np.int64)  # a border holds none, a byte no more than one
            rows = self.samples * (self.steps if signal.timed else 1)
            rates[id] = float(fired / max(1, rows * signal.channels * signal.inside[0] * signal.inside[1]))
        return rates

    # ------------------------------------------------------------------ operations

    def step(self, step: Step, choice: Choice, outs: set[Layout], *, trace: bool = False) -> list[OpStruct]:
        """Return the operations of one step, whose signal is written in the layouts ``outs``.

        ``trace`` also keeps spikes and potentials.
        """
        if isinstance(step, Pool):
            return [self._pool(step, layout) for layout in sorted(outs)]
        inside = inside_of(step)
        ops, terms, main = [], [], main_layer(step)
        samples = main is not None and choice[id(main)] == Method.TABLE
        for term in step.terms:
            # The sums of the main layer go straight into the neuron and never lie in memory.
            if term.source is main and isinstance(step, Fire):
                continue
            if isinstance(term.source, Layer):
                method = choice[id(term.source)]
                ops.append(self.layer_sums(term.source, method, inside))
                terms.append((self.sums(term.source, method, inside), term))
            else:
                terms.append((self.wire(term.source, direct_layout(term.source, samples=samples)), term))
        if isinstance(step, Out):
            return [*ops, self._read_out(step, terms)]
        op = self._op(Kind.LAYER, Method.NONE, step.signal.channels, step.signal.inside)
        if main is not None:
            self._attach_layer(op, main, choice[id(main)])
        # Without a main layer there are no sums for the gain to meet.
        gain = next((t.gain for t in step.terms if t.source is main), np.zeros((1, 1), np.int64))
        op.unit = self._keep(ctypes.pointer(self._unit(step, gain)))
        self._attach_terms(op, terms)
        first, converted = _written(outs, samples=samples)
        self._attach_outs(op, [self.wire(step.signal, layout) for layout in first])
        later = [self._convert(step.signal, *pair) for pair in converted]
        if trace:
            shape = (self.steps, self.samples, *step.neuron.shape)
            self.traces[step.neuron.id] = np.zeros(shape, np.int8), np.zeros(shape, np.int32)
            op.spikes, op.potentials = (a.ctypes.data for a in self.traces[step.neuron.id])
        return [*ops, op, *later]

    def layer_sums(self, layer: Layer, method: Method, inside: tuple[int, int]) -> OpStruct:
        """Return the operation that computes nothing but the sums of a layer."""
        op = self._op(Kind.LAYER, method, len(layer.codes), inside)
        self._attach_layer(op, layer, method)
        self._attach_outs(op, [self.sums(layer, method, inside)])
        return op

    def _op(self, kind: Kind, method: Method, channels: int, inside: tuple[int, int]) -> OpStruct:
        return OpStruct(
            kind=kind, method=method, steps=self.steps, samples=self.samples, out_channels=channels, oh=inside[0],
            ow=inside[1], padded=padded(channels), kh=1, kw=1, sh=1, sw=1, dh=1, dw=1,
        )  # fmt: skip

    def _attach_layer(self, op: OpStruct, layer: Layer, method: Method) -> None:
        packed = self.weights.of(layer, method)
        op.method, op.source = method, ctypes.pointer(self.wire(layer.signal, SOURCE[method]))
        _attach_window(op, layer)
        op.weights, op.correction = packed.weights.ctypes.data, packed.correction.ctypes.data
        op.planes, op.factor, op.offset, op.flush = packed.planes, packed.factor, packed.offset, packed.flush
        self._keep(packed)

    def _attach_terms(self, op: OpStruct, terms: list[tuple[WireStruct, Term]]) -> None:
        array = (TermStruct * len(terms))()
        for slot, (wire, term) in zip(array, terms, strict=True):
            slot.wire, slot.gain = ctypes.pointer(wire), self._rows(term.gain, op.out_channels)
        op.terms, op.n_terms = self._keep(array), len(terms)

    def _attach_outs(self, op: OpStruct, wires: list[WireStruct]) -> None:
        array = (WireStruct * len(wires))(*wires)
        op.outs, op.n_outs = self._keep(array), len(wires)

    def _convert(self, signal: Signal, source: Layout, wanted: Layout) -> OpStruct:
        op = self._op(Kind.CONVERT, Method.NONE, signal.channels, signal.inside)
        op.source = ctypes.pointer(self.wire(signal, source))
        self._attach_outs(op, [self.wire(signal, wanted)])
        return op

    def _pool(self, step: Pool, layout: Layout) -> OpStruct:
        op = self._op(Kind.POOL, Method.NONE, step.signal.channels, step.signal.inside)
        source = layout if layout != Layout.BYTES else direct_layout(step.source, samples=False)
        op.source = ctypes.pointer(self.wire(step.source, source))
        _attach_window(op, step)
        op.largest = 2 if step.counts else int(step.largest)
        self._attach_outs(op, [self.wire(step.signal, layout)])
        return op

    def _read_out(self, step: Out, terms: list[tuple[WireStruct, Term]]) -> OpStruct:
        op = self._op(Kind.READOUT, Method.NONE, step.channels, step.inside)
        self._attach_terms(op, terms)
        result = np.zeros((self.samples, *step.readout.shape), np.int64)
        self.results[step.readout.id] = result
        op.result, op.readout_bias = result.ctypes.data, self._rows(step.readout.bias, op.out_channels)
        return op

    def _unit(self, step: Fire, gain: Integers) -> UnitStruct:
        node = step.neuron
        low = -(2 ** (node.width - 1)) if node.width is not None else _LEAST
        lower = low if node.floor is None else max(low, node.floor)
        # In integers h > threshold is h >= threshold + 1.
        fire_at = node.threshold + (node.fire == "gt")
        # Channels that only fill a row up have parameters of 0 and so a potential of 0, far below what they fire at.
        channels = node.shape[0]
        return UnitStruct(
            gain=self._rows(gain, channels),
            bias=self._rows(node.bias, channels),
            fire_at=self._rows(fire_at, channels, fill=_MOST),
            threshold=self._rows(node.threshold, channels),
            initial=self._rows(node.initial[None], channels, steps=1),
            v_reset=self._rows(node.v_reset[None], channels, steps=1),
            retract=self._rows(node.retract[None], channels, steps=1, fill=_MOST),
            right_shift=node.right_shift,
            leak_numerator=node.leak.numerator,
            leak_shift=node.leak.shift,
            leak_after=node.leak_order == "after",
            leaks=(node.leak.numerator, node.leak.shift) != (1, 0),
            hard=node.reset == "hard",
            has_signs=node.signed,
            still=all(len(values) == 1 for values in (gain, node.bias, node.threshold)),
            lower=lower,
            upper=2 ** (node.width - 1) - 1 if node.width is not None else _MOST,
        )

    def _rows(self, values: Integers, channels: int, *, steps: int | None = None, fill: int = 0) -> int:
        """Spread parameters [1 or T, 1 or C] to int32 [T, padded C] and return their address; ``fill`` is beyond C."""
        rows = np.full((self.steps if steps is None else steps, padded(channels)), fill, np.int32)
        rows[:, :channels] = values[: len(rows)]
        self._keep(rows)
        return int(rows.ctypes.data)

    def _keep(self, thing: Any) -> Any:
        self.alive.append(thing)
        return thing


def run(ops: ctypes.Array[OpStruct], threads: int) -> None:
    """Run operations one after the other."""
    native = library()
    assert native is not None
    native.bitspike_engine_run(ops, len(ops), threads)


def layers_of(step: Fire | Out) -> list[Layer]:
    """Return the layers that a step reads."""
    return [t.source for t in step.terms if isinstance(t.source, Layer)]


def main_layer(step: Step) -> Layer | None:
    """Return the layer whose sums go straight into the neuron of a step: the one with most weights."""
    layers = layers_of(step) if isinstance(step, Fire) else []
    return max(layers, key=lambda layer: layer.codes.size, default=None)


def direct_layout(signal: Signal, *, samples: bool) -> Layout:
    """Return the layout in which a neuron, a pool or a read-out reads a signal itself."""
    if samples:
        return Layout.PLANES
    return Layout.BITS if Layout.BITS in signal.layouts else Layout.BYTES


def _written(outs: set[Layout], *, samples: bool) -> tuple[list[Layout], list[tuple[Layout, Layout]]]:
    """Return the layouts that a neuron writes itself, and those that are converted, from what to what."""
    # Neurons that run sample by sample write PLANES and nothing else; all others write no PLANES.
    if samples:
        return [Layout.PLANES], [(Layout.PLANES, layout) for layout in sorted(outs - {Layout.PLANES})]
    if Layout.PLANES in outs:
        return sorted(outs - {Layout.PLANES} | {Layout.BITS}), [(Layout.BITS, Layout.PLANES)]
    return sorted(outs), []


def inside_of(step: Fire | Out) -> tuple[int, int]:
    """Return the two spatial axes of what a step makes."""
    return step.signal.inside if isinstance(step, Fire) else step.inside


def _attach_window(op: OpStruct, thing: Layer | Pool) -> None:
    window = thing.window
    (op.kh, op.kw), (op.sh, op.sw), (op.ph, op.pw), (op.dh, op.dw) = (
        window.kernel, window.stride, window.padding, window.dilation,
    )  # fmt: skip


def _wire(
    memory: Memory, layout: Layout, timed: bool, channels: int, inside: tuple[int, int], border: tuple[int, int],
    units: int, low: int, lanes: int,
) -> WireStruct:  # fmt: skip
    return WireStruct(
        data=memory.ctypes.data, layout=layout, timed=timed, channels=channels, h=inside[0], w=inside[1],
        border_h=border[0], border_w=border[1], units=units, low=low, lanes=lanes,
    )  # fmt: skip


def _shape(wire: WireStruct) -> Shape:
    inside, border = (wire.h, wire.w), (wire.border_h, wire.border_w)
    return Layout(wire.layout), bool(wire.timed), wire.channels, inside, border, wire.units, wire.low, wire.lanes


def _borders(fused: Fused) -> dict[str, tuple[int, int]]:
    """Return the widest padding that any reader of a signal wants."""
    widest: dict[str, tuple[int, int]] = {}
    for step in fused.steps:
        if isinstance(step, Pool):
            readers = [(step.source, step.window)]
        else:
            readers = [(layer.signal, layer.window) for layer in layers_of(step)]
        # One border serves all readers: those that pad less begin further inside.
        for signal, window in readers:
            h, w = widest.get(signal.id, (0, 0))
            widest[signal.id] = max(h, window.padding[0]), max(w, window.padding[1])
    return widest
