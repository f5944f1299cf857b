"""What a module becomes in integers: nodes, or new scales and offsets of a wire."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bitspike.errors import LoweringError
from bitspike.integer import nodes
from bitspike.integer.nodes import Reals
from bitspike.lowering.arrangements import MODULES, arrangement, carried
from bitspike.lowering.builder import Builder
from bitspike.lowering.element_wise import joined
from bitspike.lowering.fit_neuron import Precision, fit_neuron, fit_readout
from bitspike.lowering.layers import Window, norm_affine, pool, weighted
from bitspike.lowering.synapses import synapse
from bitspike.lowering.wires import Summand, Wire, finite
from bitspike.nn import (
    Burst,
    Codes,
    CountMaxPool,
    Encoder,
    Gain,
    Neuron,
    OverTime,
    RateReadout,
    Repeat,
    SpikeElementWise,
    SteadyDropout,
    SumPool,
    SumReadout,
    Synapse,
    TimeDistributed,
    TimeLast,
)
from bitspike.nn.norms.base import NORMS, AffineNorm, changes_by_step
from bitspike.ops.grids import Grid
from bitspike.weights.path import path_of

_IGNORED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity, SteadyDropout)
_TIMED = (Gain, Burst, Synapse, SumPool, CountMaxPool, OverTime, *MODULES)


class Modules:
    """Turns modules into nodes of a network under construction, one call after the other.

    Args:
        builder: receives the nodes and notes.
        grids: of what the inputs send, by node.
        precision: tolerances and widths.
    """

    def __init__(self, builder: Builder, grids: Mapping[str, Grid], precision: Precision) -> None:
        self.builder, self.grids, self.precision = builder, grids, precision

    def __call__(self, path: str, module: nn.Module, wire: Any) -> Any:
        """Return what leaves a module: a wire, or a read-out.

        Raises:
            LoweringError: the integer form has no such module, or not after what it gets.
        """
        if isinstance(module, _IGNORED):
            return wire
        if not isinstance(wire, Wire):
            raise LoweringError(
                f"{path}: {type(module).__name__} comes after the read-out; the integer form ends there",
                fix="keep it outside the model that is lowered",
            )
        if isinstance(module, TimeLast):
            return self._time_last(path, module, wire)
        if wire.last:
            raise LoweringError(
                f"{path}: {type(module).__name__} gets a tensor whose time is the last axis",
                fix=f"bs.nn.TimeLast({type(module).__name__}(...)) around it",
            )
        if isinstance(module, Codes):
            return self._codes(path, module, wire)
        if isinstance(module, Encoder):
            return self._encoder(path, module, wire)
        if isinstance(module, Neuron):
            return self._neuron(path, module, wire)
        if isinstance(module, RateReadout | SumReadout):
            return self._readout(path, module, wire)
        if isinstance(module, TimeDistributed):
            return self._distributed(path, module, wire)
        if isinstance(module, _TIMED) or changes_by_step(module):
            _need_time(path, module, wire)
            return self._timed(path, module, wire)
        # Flatten(2) of [T, N, C, ...] is what Flatten(1) is without the time axis.
        if wire.timed and isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (2, -1):
            return self.flatten(path, wire)
        if wire.timed:
            raise LoweringError(
                f"{path}: {type(module).__name__} gets a tensor with a time axis",
                fix=f"bs.TimeDistributed({type(module).__name__}(...)) carries it over time, which is the first axis: "
                "bs.Repeat(steps=T) makes it of [N, ...], or the input brings it as [T, N, ...]",
            )
        return self._layer(path, module, wire)

    def joined(self, path: str, module: SpikeElementWise, branch: Any, shortcut: Any) -> Wire:
        """Return what leaves a join of a branch and its shortcut: one node, whoever reads it."""
        wire, neuron = joined(path, module, branch, shortcut, self.builder.is_binary)
        _need_time(path, module, wire)
        return self.builder.plain(path, wire) if neuron is None else self._neuron(path, neuron, wire)

    def _time_last(self, path: str, module: TimeLast, wire: Wire) -> Any:
        """Take layers that stand in code with time last: to a wire it is the same whichever axis time is."""
        if wire.timed and not wire.last:
            raise LoweringError(
                f"{path}: TimeLast gets a tensor whose time is the first axis",
                fix="the layers without TimeLast around them, or bs.nn.TimeFirst around the whole network",
            )
        result: Any = replace(wire, last=False)
        for name, layer in module.named_children():
            result = self(f"{path}.{name}", layer, result)
        return replace(result, last=True) if isinstance(result, Wire) else result

    def _timed(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        """Take a module that is made for [T, N, ...]."""
        if isinstance(module, OverTime | AffineNorm):
            return self._layer(path, module, wire)
        if isinstance(module, Gain):
            gain = torch.as_tensor(module.gain, dtype=torch.float64).reshape(-1).cpu().numpy()
            shift = np.zeros(1) if module.shift is None else module.shift.double().cpu().numpy()
            return wire.affine(gain, shift)
        if isinstance(module, Burst):
            return replace(self.builder.each(nodes.Burst, path, wire), burst=True)
        if isinstance(module, Synapse):
            return synapse(self.builder, self.precision, path, module, wire)
        if isinstance(module, SumPool | CountMaxPool):
            return self._window(path, module, wire)
        return self._arranged(path, module, wire)

    def _window(self, path: str, module: SumPool | CountMaxPool, wire: Wire) -> Wire:
        dims = len(module.kernel)
        if len(wire.shape) != 1 + dims:
            raise LoweringError(
                f"{path}: {type(module).__name__} of {dims} axes gets {list(wire.shape)} per sample",
                fix=f"a kernel of {len(wire.shape) - 1} axes",
            )
        window = Window(module.kernel, module.stride, module.padding)
        if isinstance(module, SumPool):
            # A sum adds the offset once for each place; `_pool` refuses an offset where places are padded.
            pooled = self._pool(path, wire, window, divided=False)
            return replace(pooled, offset=wire.offset * window.area)
        if wire.offset.any() or len(wire.summands) > 1 or not (wire.summands[0].scale > 0).all():
            raise LoweringError(
                f"{path}: CountMaxPool needs spikes; its input is a weighted sum or carries a bias",
                fix="place it after a neuron",
            )
        return self.builder.each(
            nodes.CountMaxPool, path, wire, kernel=module.kernel, stride=module.stride, padding=module.padding
        )

    def _arranged(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        kind, fields = arrangement(module)
        bare = self.builder.shape_after(kind, path, wire.shape, **fields)

        def along(values: Reals) -> Reals:
            moved = carried(values, module, wire.shape, bare)
            if moved is None:
                raise LoweringError(
                    f"{path}: {module!r} mixes channels of different scales",
                    fix="one scale for all channels before it: a neuron, or a scheme with per_channel=False",
                )
            return moved

        self.builder.need_one_scale(path, wire)
        offset = along(wire.offset)
        if kind is nodes.Pad and offset.any():
            raise LoweringError(f"{path}: pads real values with an offset", fix="put a neuron before it")
        return replace(self.builder.each(kind, path, wire, along, **fields), offset=offset)

    def _codes(self, path: str, module: Codes, wire: Wire) -> Wire:
        entry = wire.summands[0].node
        if len(wire.summands) > 1 or entry not in self.grids or not wire.plain:
            raise LoweringError(
                f"{path}: only the model's input can be put on a grid", fix="bs.nn.Codes before all other layers"
            )
        if module.grid != self.grids[entry]:
            raise LoweringError(
                f"{path}: has the grid {module.grid}, and the input the grid {self.grids[entry]}",
                fix="lower(model, example) without grid=, which takes the grid of the module",
            )
        # From here on the real values are the codes themselves, so one integer is worth 1.
        return replace(wire, summands=(Summand(entry, np.ones(1)),))

    def _encoder(self, path: str, module: Encoder, wire: Wire) -> Wire:
        if wire.timed:
            raise LoweringError(
                f"{path}: {type(module).__name__} gets a tensor that has a time axis already",
                fix="one encoder, before all other layers",
            )
        if not isinstance(module, Repeat) and (wire.summands[0].node not in self.grids or not wire.plain):
            raise LoweringError(
                f"{path}: {type(module).__name__} comes after other layers; only the model's input can be coded",
                fix=f"the coder before all other layers, or bs.Repeat(steps={self.builder.steps}) in its place",
            )
        return replace(wire, timed=True)

    def _distributed(self, path: str, module: nn.Sequential, wire: Wire) -> Wire:
        _need_time(path, module, wire)
        for name, layer in module.named_children():
            inner = f"{path}.{name}"
            wire = (
                self._distributed(inner, layer, wire)
                if type(layer) is nn.Sequential
                else self._layer(inner, layer, wire)
            )
        return wire

    def _layer(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        if isinstance(module, _IGNORED):
            return wire
        if isinstance(module, NORMS):
            gain, shift = norm_affine(module, path, self.builder.steps)
            if gain.shape[-1] not in (1, wire.shape[0]):
                raise LoweringError(
                    f"{path}: norms {gain.shape[-1]} channels and gets {list(wire.shape)} per sample",
                    fix=f"{type(module).__name__}({wire.shape[0]})",
                )
            if gain.ndim > 1 and wire.burst:
                raise LoweringError(
                    f"{path}: {type(module).__name__} has gains for each step, and its whole input arrives at the "
                    "first one (after bs.nn.Burst)",
                    fix="bs.nn.Burst() taken out, or a norm of one gain per channel",
                )
            return wire.affine(gain, shift)
        if isinstance(module, nn.Flatten):
            if (module.start_dim, module.end_dim) != (1, -1):
                raise LoweringError(
                    f"{path}: Flatten({module.start_dim}, {module.end_dim}) mixes samples or leaves axes",
                    fix="nn.Flatten(1, -1)",
                )
            return self.flatten(path, wire)
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            return self._weighted(path, module, wire)
        window = pool(module, wire.shape, path)
        if window is None:
            raise LoweringError(
                f"{path}: the integer form has no {type(module).__name__}",
                fix="layers it holds: Conv1d/2d/3d, Linear, batch norms, AvgPool, AdaptiveAvgPool, MaxPool, Flatten, "
                "Dropout, and the neurons and read-outs of bitspike",
            )
        # The largest integer is the largest real value only where integers grow with what they are worth.
        return self._pool(path, self.builder.rising(path, wire) if window.largest else wire, window)

    def _pool(self, path: str, wire: Wire, window: Window, *, divided: bool = True) -> Wire:
        # A padded place counts nothing in a maximum, and 0 in a sum.
        if any(window.padding) and wire.offset.any() and not window.largest:
            raise LoweringError(
                f"{path}: a padded pool of sums after a batch norm or bias: padded places would lack the offset",
                fix="padding=0, or the pool before the norm",
            )
        # A sum is the average times the number of values: the division goes into what one integer is worth.
        kind, area = (nodes.MaxPool, 1) if window.largest else (nodes.SumPool, window.area if divided else 1)
        return self.builder.each(
            kind, path, wire, lambda scale: scale / area, kernel=window.kernel, stride=window.stride,
            padding=window.padding,
        )  # fmt: skip

    def _weighted(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        wire = self.builder.plain(path, wire)
        (summand,) = wire.summands
        scale, bits = float(summand.scale.flat[0]), self.precision.float_bits
        node = weighted(module, head=self.builder.head(path, wire), scale=scale, float_bits=bits)
        attached = path_of(module)
        if node.weight.scheme == "float":
            why = "weights without a scheme" if attached is None or not attached[0].freezes else _NO_GRID
            self.builder.notes.append(f"{path}: {why} became codes of {node.weight.bits} bits")
        if attached is not None and attached[0].vary is not None and not attached[0].on_chip:
            self.builder.notes.append(f"{path}: the variation of its devices was left out")
        bias = getattr(module, "bias", None)
        offset = np.zeros(1) if bias is None else finite(bias.detach().double().cpu().numpy(), f"{path}: the bias")
        return replace(self.builder.wire(node, node.scale, timed=wire.timed), offset=offset)

    def flatten(self, path: str, wire: Wire) -> Wire:
        """Return a wire whose samples have one axis."""
        if len(wire.shape) == 1:
            return wire
        self.builder.need_one_scale(path, wire)
        size = math.prod(wire.shape)

        def spread(values: Reals) -> Reals:
            return values if len(values) == 1 else np.repeat(values, size // wire.shape[0])

        return replace(self.builder.each(nodes.Reshape, path, wire, spread, shape=(size,)), offset=spread(wire.offset))

    def _neuron(self, path: str, module: Neuron, wire: Wire) -> Wire:
        _need_time(path, module, wire)
        fitted = fit_neuron(wire, module, steps=self.builder.steps, precision=self.precision, path=path)
        self.builder.notes.extend(fitted.notes)
        node = fitted.kind(**self.builder.head(path, wire), **fitted.arguments)
        if fitted.exact:
            self.builder.exact.append(node.id)
        if module.membrane is not None and not module.membrane.saturate:
            self.builder.proven[node.id] = module.membrane.bits
        return self.builder.wire(node, np.ones(1), timed=True)

    def _readout(self, path: str, module: nn.Module, wire: Wire) -> nodes.Readout:
        _need_time(path, module, wire)
        rates = not any(isinstance(n, nodes.Weighted) for n in self.builder.nodes if n.id in wire.sources)
        gains, bias, unit, notes = fit_readout(wire, precision=self.precision, path=path, rates=rates)
        self.builder.notes.extend(notes)
        # A rate is the sum over T steps with the T-th part of its unit.
        scale = unit / self.builder.steps if isinstance(module, RateReadout) else unit
        node = nodes.Readout(**self.builder.head(path, wire), scale=scale, gains=gains, bias=bias)
        self.builder.add(node)
        return node


_NO_GRID = "weights of RRAM and SRAM, whose scales have no unit in common,"


def _need_time(path: str, module: nn.Module, wire: Wire) -> None:
    if not wire.timed:
        raise LoweringError(
            f"{path}: {type(module).__name__} gets a tensor without a time axis",
            fix="bs.Repeat(steps=...) before it",
        )
