"""Build the spiking network of a graph: every relu becomes a neuron, everything in front of it its current.

The network is a ``torch.fx.GraphModule`` of :mod:`bitspike.nn` modules over [T, N, ...]. Spikes on its wires are 0 or 1
(-1 with ``SignedIF``); what a spike is worth is folded into the weights of the next layer before those are rounded. In
every neuron weights are codes times one power of two, and threshold, bias and initial potential are whole multiples
of a power of two: single precision computes them without rounding, and lowering has nothing left to round.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.build.records import Branch, Built, Charge, LayerReport, Shifts, Spikes
from bitspike.conversion.build.spike_values import carried, compact, is_by_channel, moved, movers, spread
from bitspike.conversion.build.units import Group, Weighted, codes_of, fit_group, shared_unit
from bitspike.conversion.settings import Settings
from bitspike.errors import ConversionError
from bitspike.graph.flow import entries, moves
from bitspike.graph.flow import spikes as spiking
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.plain import is_transposed, like
from bitspike.nn import (
    IF,
    BernoulliCoder,
    Burst,
    Codes,
    CountMaxPool,
    Gain,
    RateCoder,
    RateReadout,
    Repeat,
    SignedIF,
    SumPool,
    over_time,
)
from bitspike.ops.grids import Grid
from bitspike.weights.attach import attach
from bitspike.weights.schemes import FixedPoint

_ONE = "one value of a spike per layer: per_channel=False, and threshold rules without per_channel"


def build(
    graph: Graph,
    values: Mapping[str, Tensor],
    grids: Mapping[str, Grid],
    settings: Settings,
    shifts: Shifts | None = None,
) -> Built:
    """Build the spiking network of a folded graph.

    Args:
        graph: without norms and host operations; its outputs are spikes or read-outs.
        values: lambda by relu (and by ``add`` or average pool that becomes a neuron), [1] or [C].
        grids: by input, the integer grid of its codes; ignored for spike codings.
        settings: the choices.
        shifts: corrections.

    Raises:
        ConversionError: an operation has no place in a spiking network; all are named at once.
    """
    return _Builder(graph, values, grids, settings, shifts or Shifts()).run()


class _Builder:
    """One pass over one graph."""

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, Tensor],
        grids: Mapping[str, Grid],
        settings: Settings,
        shifts: Shifts,
    ) -> None:
        self.graph, self.values, self.grids, self.settings, self.shifts = graph, values, grids, settings, shifts
        self.ops = {op.id: op for op in graph}
        self.fx = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.spikes: dict[str, Spikes] = {}
        self.reports: dict[str, LayerReport] = {}
        self.charges: dict[str, Charge] = {}
        self.readouts: dict[str, fx.Node] = {}
        self.sending, self.entering = spiking(graph), entries(graph)
        self.first = {op.id for op in graph if op.kind in WEIGHTED and op.inputs[0] in self.entering}
        self.like = next((p.detach() for m in graph.modules.values() for p in m.parameters()), torch.zeros(()))

    def run(self) -> Built:
        for op in self.graph:
            self._visit(op)
        network = fx.GraphModule(self.modules, self.fx, class_name=f"Spiking{self.graph.model or 'Network'}")
        wires = {id: (s.node.name, s.value) for id, s in self.spikes.items()}
        return Built(network.to(self.like.device).eval(), self.reports, wires, self.charges)

    # ---- what becomes of an operation ------------------------------------------------------------------------------

    def _visit(self, op: Op) -> None:
        if op.kind == "input":
            self._input(op)
        elif op.kind == "output":
            self._output(op)
        elif op.kind == "relu":
            self._relu(op)
        elif op.kind == "add" and op.id in self.sending:
            self._neuron(op, op.id)
        elif all(i in self.spikes for i in op.inputs):
            self._spikes(op)

    def _input(self, op: Op) -> None:
        s, name = self.settings, op.name
        node = self.fx.placeholder(name)
        if s.coding == "events":
            self.spikes[op.id] = Spikes(node, torch.full((1,), s.input_value, dtype=torch.float64))
            return
        if s.coding in ("rate", "bernoulli"):
            coder = RateCoder(s.steps) if s.coding == "rate" else BernoulliCoder(s.steps)
            node = self._module(f"{name}_coder", coder, node)
            self.spikes[op.id] = Spikes(node, torch.ones(1, dtype=torch.float64))
            return
        grid = self.grids[op.id]
        node = self._module(f"{name}_codes", Codes(grid), node)
        node = self._module(f"{name}_repeat", Repeat(s.steps), node)
        value = torch.full((1,), grid.scale, dtype=torch.float64)
        if s.coding == "split":
            node = self._module(f"{name}_split", Gain(1 / s.steps), node)
        self.spikes[op.id] = Spikes(node, value)

    def _relu(self, op: Op) -> None:
        source = self.ops[op.inputs[0]]
        if source.id in self.spikes and source.id not in self.entering:  # rectified already
            self.spikes[op.id] = self.spikes[source.id]
        else:
            self._neuron(op, source.id)

    def _output(self, op: Op) -> None:
        results = [self._leave(self.ops[i]) for i in op.inputs]
        self.fx.output(results[0] if len(results) == 1 else tuple(results))

    def _leave(self, op: Op) -> fx.Node:
        if op.id in self.readouts:
            return self.readouts[op.id]
        if op.id in self.spikes:
            wire, name = self.spikes[op.id], f"{_word(op.id)}_rate"
            node, value = wire.node, wire.value
            gain = value.reshape(-1) if value.dim() == len(op.shape) and value.numel() == op.shape[0] else None
            gain = value.reshape(1) if value.numel() == 1 else gain
            if gain is None:
                raise self._refused(op, "leaves the network with a scale of its own per place", _ONE)
            scaled = Gain(float(gain[0]) if gain.numel() == 1 else gain.to(self.like.dtype))
            node = self._module(f"{name}_value", scaled, node)
            self.readouts[op.id] = self._module(name, RateReadout(), node)
        else:
            self.readouts[op.id] = self._readout(op)
        return self.readouts[op.id]

    def _spikes(self, op: Op) -> None:
        """Carry spikes through an operation that keeps them spikes."""
        sources = [self.spikes[i] for i in op.inputs]
        if op.kind == "concat":
            axes = len(op.shape)
            node = self.fx.call_function(torch.cat, ([s.node for s in sources],), {"dim": 2})
            shapes = [self.ops[i].shape for i in op.inputs]
            value = torch.cat([spread(s.value, shape) for s, shape in zip(sources, shapes, strict=True)], 0)
            self.spikes[op.id] = Spikes(node, compact(value, axes))
        elif moves(op):
            self.spikes[op.id] = self._move(op, sources[0], self.ops[op.inputs[0]].shape)
        elif op.kind == "avg_pool":
            self.spikes[op.id] = self._average(op, sources[0])
        elif op.kind == "max_pool":
            self.spikes[op.id] = self._max_pool(op, sources[0])
        elif op.kind == "upsample":
            what = f"{op.attrs['mode']} upsampling has no exact form on spikes"
            raise self._refused(op, what, "mode='nearest', or keep it outside")

    def _move(self, op: Op, wire: Spikes, shape: tuple[int, ...]) -> Spikes:
        return Spikes(self._emit_moves(op, wire.node, shape), carried(op, wire.value, shape))

    def _emit_moves(self, op: Op, node: fx.Node, shape: tuple[int, ...]) -> fx.Node:
        for module in movers(op, shape):
            node = self._module(_word(op.id), module, node)
        return node

    def _average(self, op: Op, wire: Spikes) -> Spikes:
        area = math.prod(op.attrs["kernel"])
        if self.settings.average_pool == "neuron":
            return self._pool_neuron(op, wire, area)
        pool = SumPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
        node = self._module(_word(op.id), pool, wire.node)
        if not is_by_channel(wire.value):
            raise self._refused(op, "averages spikes whose value differs from place to place", _ONE)
        return Spikes(node, wire.value / area)

    def _pool_neuron(self, op: Op, wire: Spikes, area: int) -> Spikes:
        """Fire once for every ``area`` spikes of a window: codes 1, threshold k_h * k_w, value as before."""
        pool = SumPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
        node = self._module(f"{_word(op.id)}_sum", pool, wire.node)
        if self.settings.schedule == "layerwise":
            node = self._module(f"{_word(op.id)}_burst", Burst(), node)
        initial = float(math.floor(area * self.settings.initial))
        node = self._module(_word(op.id), self._neuron_module(float(area), initial, 1.0), node)
        one = torch.ones(1, dtype=torch.float64)
        self.reports[op.id] = LayerReport(
            op.id, op.path, "pool", op.id, (), wire.value, wire.value, wire.value / area, (one * area).long(), 0, 0, {}
        )
        return Spikes(node, wire.value)

    def _max_pool(self, op: Op, wire: Spikes) -> Spikes:
        if not is_by_channel(wire.value):
            raise self._refused(op, "compares spikes whose value differs from place to place", _ONE)
        pool = CountMaxPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
        return Spikes(self._module(_word(op.id), pool, wire.node), wire.value)

    # ---- neurons ---------------------------------------------------------------------------------------------------

    def _branches(self, id: str, sign: int = 1, after: tuple[Op, ...] = ()) -> list[Branch]:
        """Return all ways into what ``id`` computes, back to weighted layers and spikes."""
        op = self.ops[id]
        if id in self.spikes:
            return [Branch(op, sign, after, weighted=False)]
        if op.kind in WEIGHTED:
            if op.inputs[0] not in self.spikes:
                raise self._refused(
                    op,
                    f"E103: reads {op.inputs[0]}, a signed value, where spikes are needed",
                    "a ReLU between the two layers, fine-tuned; or leave one of them out (exclude=...)",
                )
            return [Branch(op, sign, after, weighted=True)]
        if op.kind == "add":
            signs = op.attrs.get("signs", (1, 1))
            return [b for i, s in zip(op.inputs, signs, strict=True) for b in self._branches(i, sign * s, after)]
        if moves(op) or (op.kind == "avg_pool" and not any(op.attrs["padding"])):
            return self._branches(op.inputs[0], sign, (op, *after))
        raise self._refused(op, f"E106: {op.kind} of a signed value has no form on spikes", "a ReLU in front of it")

    def _neuron(self, op: Op, source: str) -> None:
        """Make the neuron that rectifies ``source``."""
        s, word = self.settings, _word(op.id)
        branches, wanted = self._branches(source), self._lambda(op)
        layers = [b for b in branches if b.weighted]
        skips = [b for b in branches if not b.weighted]
        charge = Charge(
            branches=tuple(layers),
            weighted=tuple(self._shifted(op.id, layers, [self._weighted(b, last=False) for b in layers])),
            factors=tuple(self._factor(b) for b in layers),
            skips=tuple(self._skip(b) for b in skips),
            wanted=wanted,
            per_channel=s.per_channel and not any(o.kind in ("reshape", "transpose") for b in layers for o in b.after),
        )
        self.charges[op.id] = charge
        group = fit_group(
            charge.weighted,
            charge.skips,
            wanted,
            per_channel=charge.per_channel,
            scale=s.scale,
            max_fraction_bits=s.max_fraction_bits,
            multiplier_bits=s.multiplier_bits,
            tolerance=s.tolerance,
            rounded=s.rounded,
        )
        exponent = max(0, math.ceil(math.log2(float(group.threshold.max())) - group.fraction_bits))
        # Where the input is parted over the steps, everything else is parted with it.
        parted = s.coding == "split" and any(b.op.inputs[0] in self.entering for b in layers)
        grain = 2.0**-exponent / (s.steps if parted else 1)
        currents = [self._current(b, i, group, grain, 2.0**-exponent) for i, b in enumerate(layers)]
        currents += [self._skip_current(op, b, i, group, grain) for i, b in enumerate(skips)]
        node = currents[0]
        for other in currents[1:]:
            node = self.fx.call_function(operator.add, (node, other))
        if s.schedule == "layerwise":
            node = self._module(f"{word}_burst", Burst(), node)
        step = grain * 2.0**-group.fraction_bits
        initial = (group.threshold.double() * s.initial).floor() * step
        if op.id in self.shifts.initial:
            shift = self.shifts.initial[op.id] / group.unit * 2.0**group.fraction_bits
            initial = initial + shift.round() * step
        threshold = group.threshold.double() * step
        node = self._module(word, self._neuron_module(_scalar(threshold), _scalar(initial), step), node)
        value = group.value if group.value.numel() == 1 else group.value.reshape(-1, *[1] * (len(op.shape) - 1))
        self.spikes[op.id] = Spikes(node, value)
        self._report(op, source, layers, wanted, group, exponent)

    def _shifted(self, id: str, layers: list[Branch], weighted: list[Weighted]) -> list[Weighted]:
        """Add the correction of a neuron's bias to that of its first layer."""
        if id not in self.shifts.bias or not layers:
            return weighted
        first, shift = weighted[0], self.shifts.bias[id]
        if len(shift) != len(first.bias):
            return weighted
        return [replace(first, bias=first.bias + shift / layers[0].area), *weighted[1:]]

    def _report(self, op: Op, source: str, layers: list[Branch], wanted: Tensor, group: Group, exponent: int) -> None:
        self.reports[op.id] = LayerReport(
            id=op.id, path=op.path, kind="neuron", source=source, weights=tuple(_word(b.op.id) for b in layers),
            wanted=wanted, value=group.value, unit=group.unit, threshold=group.threshold,
            fraction_bits=group.fraction_bits,
            exponent=exponent, inputs={_word(b.op.id): self.spikes[b.op.inputs[0]].value for b in layers},
            notes=tuple(f"{op.id}: {note}" for note in group.notes),
        )  # fmt: skip

    def _neuron_module(self, threshold: float | Tensor, initial: float | Tensor, step: float) -> nn.Module:
        s = self.settings
        if s.neuron is SignedIF:
            return SignedIF(threshold, fire=s.fire, initial=initial, retract=step)
        return IF(threshold, reset=s.reset, fire=s.fire, initial=initial)

    def _weighted(self, branch: Branch, *, last: bool) -> Weighted:
        """Return what one input spike adds, with the value of the input folded into the weights."""
        op, layer = branch.op, self.graph.module_of(branch.op)
        weight = self._weight(op)
        transposed, groups = is_transposed(layer), int(getattr(layer, "groups", 1))
        channels = weight.shape[1] * groups if transposed else weight.shape[0]
        bias = getattr(layer, "bias", None)
        real = torch.zeros(channels, dtype=torch.float64) if bias is None else bias.detach().double().cpu()
        bits = self.settings.bits_of(op.path, first=op.id in self.first, last=last)
        return Weighted(
            weight * self._factor(branch),
            real * branch.sign / branch.area,
            bits,
            axis=1 if transposed else 0,
            groups=groups if transposed else 1,
        )

    def _weight(self, op: Op) -> Tensor:
        """Return the weights of a layer in double precision, on the CPU: units and codes are worked out there."""
        return self.shifts.weights.get(op.id, cast(Tensor, self.graph.module_of(op).weight)).detach().double().cpu()

    def _factor(self, branch: Branch) -> Tensor:
        """Return what a weight is multiplied by to be the current of one input spike, broadcastable against weights."""
        op, layer = branch.op, self.graph.module_of(branch.op)
        value = self.spikes[op.inputs[0]].value
        groups = int(getattr(layer, "groups", 1))
        return self._input_values(op, value, self._weight(op), is_transposed(layer), groups) * branch.sign / branch.area

    def _input_values(self, op: Op, value: Tensor, weight: Tensor, transposed: bool, groups: int) -> Tensor:
        """Return the values of the input spikes so that they broadcast against the weight."""
        value = value.to(weight.device)
        if value.numel() == 1:
            return value.reshape(())
        if not is_by_channel(value):
            raise self._refused(op, "reads spikes whose value differs from place to place", _ONE)
        flat, kernel = value.reshape(-1), [1] * (weight.dim() - 2)
        if transposed:
            return flat.reshape(-1, 1, *kernel)
        if groups == 1:
            return flat.reshape(1, -1, *kernel)
        by_output = flat.reshape(groups, -1).repeat_interleave(weight.shape[0] // groups, 0)
        return by_output.reshape(*by_output.shape, *kernel)

    def _skip(self, branch: Branch) -> Tensor:
        """Return what one spike of a skip is worth where it meets the neuron, [1] or [C]."""
        value, shape = self.spikes[branch.op.id].value * branch.sign / branch.area, branch.op.shape
        for op in branch.after:
            value = moved(op, value, shape) if moves(op) else value
            shape = op.shape
        if not is_by_channel(value):
            raise self._refused(branch.op, "is a skip whose value differs from place to place", _ONE)
        return value.reshape(-1)

    def _current(self, branch: Branch, index: int, group: Group, grain: float, undivided: float) -> fx.Node:
        """Emit a weighted layer: codes times a power of two."""
        layer = self.graph.module_of(branch.op)
        step = undivided if branch.op.inputs[0] in self.entering else grain
        bias = group.biases[index].double() * grain * 2.0**-group.fraction_bits
        bits = self.settings.bits_of(branch.op.path, first=branch.op.id in self.first, last=False)
        many = group.multipliers[index]
        if many.numel() == 1 or bool((many == many[0]).all()):
            step *= float(many[0])
            made = self._layer(layer, group.codes[index].double() * step, bias, step, bits)
            node = self._module(_word(branch.op.id), made, self.spikes[branch.op.inputs[0]].node)
            return self._after(branch, node)
        raise self._refused(branch.op, "multipliers per channel have no place", "per_channel=False")

    def _layer(self, layer: nn.Module, weight: Tensor, bias: Tensor, step: float, bits: int) -> nn.Module:
        made = over_time(like(layer, weight, bias), bias=bool((bias != 0).any()))
        return attach(made, quantize=FixedPoint(step=step, bits=bits, balanced=True))

    def _after(self, branch: Branch, node: fx.Node) -> fx.Node:
        shape = branch.op.shape
        for op in branch.after:
            if op.kind == "avg_pool":
                pool = SumPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
                node = self._module(_word(op.id), pool, node)
            else:
                node = self._emit_moves(op, node, shape)
            shape = op.shape
        return node

    def _skip_current(self, op: Op, branch: Branch, index: int, group: Group, grain: float) -> fx.Node:
        gain = group.gains[index].double() * grain
        name = f"{_word(op.id)}_skip{index or ''}"
        made = Gain(float(gain[0]) if gain.numel() == 1 else gain.to(self.like.dtype))
        return self._module(name, made, self._after(branch, self.spikes[branch.op.id].node))

    def _readout(self, op: Op) -> fx.Node:
        """Emit a layer whose sum over time leaves the network as a real value: no neuron, real units."""
        branches = self._branches(op.id)
        if not all(b.weighted for b in branches):
            raise self._refused(op, "adds spikes to a current and leaves the network", "a ReLU behind it")
        weighted = [self._weighted(b, last=True) for b in branches]
        unit = shared_unit(weighted, [], per_channel=False, scale=self.settings.scale)
        strongest = max(float(w.bias.abs().max()) for w in weighted)
        # Beside a bias of more than 2**16 units the weights are nothing, and single precision cannot hold both.
        unit = _short(unit.clamp(min=strongest * 2.0**-16))
        largest = strongest / float(unit)
        bits = max(0, min(8, 15 - math.ceil(math.log2(max(1.0, largest)))))
        node: fx.Node | None = None
        for branch, w in zip(branches, weighted, strict=True):
            bias = (w.bias / unit * 2.0**bits).round() * unit / 2.0**bits
            layer = self._layer(self.graph.module_of(branch.op), codes_of(w, unit) * unit, bias, float(unit), w.bits)
            made = self._module(_word(branch.op.id), layer, self.spikes[branch.op.inputs[0]].node)
            made = self._after(branch, made)
            node = made if node is None else self.fx.call_function(operator.add, (node, made))
        assert node is not None
        empty = torch.zeros(0, dtype=torch.float64)
        self.reports[op.id] = LayerReport(
            op.id, op.path, "readout", op.id, tuple(_word(b.op.id) for b in branches), empty, empty, unit,
            empty.long(), bits, 0, {_word(b.op.id): self.spikes[b.op.inputs[0]].value for b in branches},
        )  # fmt: skip
        return self._module(f"{_word(op.id)}_readout", RateReadout(), node)

    # ---- small parts -----------------------------------------------------------------------------------------------

    def _lambda(self, op: Op) -> Tensor:
        if op.id not in self.values:
            raise self._refused(op, "has no calibrated value", "calibrate=...")
        return self.values[op.id].detach().double().cpu()

    def _module(self, name: str, module: nn.Module, source: fx.Node) -> fx.Node:
        word, number = name, 1
        while word in self.modules:
            number += 1
            word = f"{name}_{number}"
        self.modules[word] = module
        return self.fx.call_module(word, (source,))

    def _refused(self, op: Op, what: str, fix: str) -> ConversionError:
        return ConversionError(f"{op.where}: {what}", fix=fix)


def _word(id: str) -> str:
    return id.replace("#", "_")


def _short(unit: Tensor) -> Tensor:
    """Round a unit [1] up to 8 digits, so that its product with 16-bit integers is exact in single precision."""
    fraction, exponent = math.frexp(float(unit))
    return torch.full((1,), math.ldexp(math.ceil(fraction * 256) / 256, exponent), dtype=torch.float64)


def _scalar(values: Tensor) -> float | Tensor:
    """Return a single number as a float, several as a tensor [C] in single precision, which holds them exactly."""
    return float(values[0]) if values.numel() == 1 else values.float()
