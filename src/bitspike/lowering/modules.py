"""What a module becomes in integers: nodes, or new scales and offsets of a wire."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from bitspike.errors import LoweringError
from bitspike.integer.nodes import (
    Burst,
    CountMaxPool,
    MaxPool,
    Pad,
    Readout,
    Reals,
    Reshape,
    SumPool,
    Weighted,
    window_shape,
)
from bitspike.integer.nodes import Neuron as NeuronNode
from bitspike.lowering.arrangements import MODULES, arrangement, carried
from bitspike.lowering.builder import Builder
from bitspike.lowering.fit_neuron import Precision, fit_neuron, fit_readout
from bitspike.lowering.layers import Window, convolution, linear, norm_affine, pool, transposed_convolution
from bitspike.lowering.wires import Branch, Wire, finite
from bitspike.nn import Burst as BurstModule
from bitspike.nn import (
    Codes,
    Encoder,
    Gain,
    Neuron,
    OverTime,
    RateReadout,
    Repeat,
    SumReadout,
    TimeDistributed,
)
from bitspike.nn import CountMaxPool as CountMaxPoolModule
from bitspike.nn import SumPool as SumPoolModule
from bitspike.nn.norms.base import NORMS
from bitspike.ops.grids import Grid
from bitspike.weights.path import path_of

_IGNORED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)
_TIMED = (Gain, BurstModule, SumPoolModule, CountMaxPoolModule, OverTime, *MODULES)


class Modules:
    """Turns modules into nodes of a network under construction, one call after the other.

    Args:
        made: receives the nodes and notes.
        grids: of what the inputs send, by node.
        precision: tolerances and widths.
    """

    def __init__(self, made: Builder, grids: Mapping[str, Grid], precision: Precision) -> None:
        self.made, self.grids, self.precision = made, grids, precision

    def __call__(self, path: str, module: nn.Module, wire: Any) -> Any:
        """Return what leaves a module: a wire, or a read-out.

        Raises:
            LoweringError: the integer form has no such module, or not behind what it gets.
        """
        if isinstance(module, _IGNORED):
            return wire
        if not isinstance(wire, Wire):
            raise LoweringError(
                f"{path}: {type(module).__name__} stands behind the read-out; the integer form ends there",
                fix="keep it outside the model that is lowered",
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
        if isinstance(module, _TIMED):
            _need_time(path, module, wire)
            return self._timed(path, module, wire)
        if wire.timed and isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (2, -1):
            return self.flatten(path, wire)
        if wire.timed:
            raise LoweringError(
                f"{path}: {type(module).__name__} gets a tensor with a time axis",
                fix=f"bs.TimeDistributed({type(module).__name__}(...)) carries it over time, which is the first axis: "
                "bs.Repeat(steps=T) makes it of [N, ...], or the input brings it as [T, N, ...]",
            )
        return self._layer(path, module, wire)

    def _timed(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        """Take a module that is made for [T, N, ...]."""
        if isinstance(module, OverTime):
            return self._layer(path, module, wire)
        if isinstance(module, Gain):
            gain = torch.as_tensor(module.gain, dtype=torch.float64).reshape(-1).cpu().numpy()
            return wire.affine(gain, np.zeros(1))
        if isinstance(module, BurstModule):
            return self._burst(path, wire)
        if isinstance(module, SumPoolModule | CountMaxPoolModule):
            return self._window(path, module, wire)
        return self._arranged(path, module, wire)

    def _burst(self, path: str, wire: Wire) -> Wire:
        return replace(wire, branches=self.made.each(Burst, path, wire, wire.shape), burst=True)

    def _window(self, path: str, module: SumPoolModule | CountMaxPoolModule, wire: Wire) -> Wire:
        inside, dims = wire.shape[1:], len(module.kernel)
        if len(inside) != dims:
            raise LoweringError(f"{path}: {type(module).__name__} of {dims} axes gets {list(wire.shape)} per sample")
        shape = (wire.shape[0], *window_shape(inside, module.kernel, module.stride, module.padding, (1,) * dims))
        window = Window(module.kernel, module.stride, module.padding, shape, largest=False)
        if isinstance(module, SumPoolModule):
            made = self._pool(path, wire, window, divided=False)
            return replace(made, offset=wire.offset * window.area)
        if wire.offset.any() or len(wire.branches) > 1 or not (wire.branches[0].scale > 0).all():
            raise LoweringError(
                f"{path}: counts of spikes are compared, and what arrives is no plain spike wire",
                fix="put the pool behind a neuron",
            )
        places: dict[str, Any] = {"kernel": module.kernel, "stride": module.stride, "padding": module.padding}
        return replace(wire, branches=self.made.each(CountMaxPool, path, wire, shape, **places), shape=shape)

    def _arranged(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        kind, shape, more = arrangement(module, wire.shape, path)

        def along(values: Reals) -> Reals:
            found = carried(values, module, wire.shape, shape)
            if found is None:
                raise LoweringError(f"{path}: {module!r} mixes channels of different scales", fix="one scale for all")
            return found

        offset = along(wire.offset)
        if kind is Pad and offset.any():
            raise LoweringError(f"{path}: pads real values with an offset", fix="put a neuron in front of it")
        branches = self.made.each(kind, path, wire, shape, along, **more)
        return replace(wire, branches=branches, offset=offset, shape=shape)

    def _codes(self, path: str, module: Codes, wire: Wire) -> Wire:
        entry = wire.branches[0].node
        if len(wire.branches) > 1 or entry not in self.grids or not wire.plain:
            raise LoweringError(f"{path}: only the model's input can be put on a grid", fix="bs.nn.Codes in front")
        if module.grid != self.grids[entry]:
            raise LoweringError(f"{path}: has the grid {module.grid}, and the input the grid {self.grids[entry]}")
        return replace(wire, branches=(Branch(entry, np.ones(1)),))

    def _encoder(self, path: str, module: Encoder, wire: Wire) -> Wire:
        if wire.timed:
            raise LoweringError(f"{path}: {type(module).__name__} gets a tensor that has a time axis already")
        if not isinstance(module, Repeat) and (wire.branches[0].node not in self.grids or not wire.plain):
            raise LoweringError(
                f"{path}: {type(module).__name__} stands behind other layers; only the model's input can be coded",
                fix=f"{type(module).__name__} in front, or bs.Repeat(steps={self.made.steps}) in its place",
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
            gain, shift = norm_affine(module, path)
            if len(gain) not in (1, wire.shape[0]):
                raise LoweringError(f"{path}: norms {len(gain)} channels and gets {list(wire.shape)} per sample")
            return wire.affine(gain, shift)
        if isinstance(module, nn.Flatten):
            if (module.start_dim, module.end_dim) != (1, -1):
                raise LoweringError(
                    f"{path}: Flatten({module.start_dim}, {module.end_dim}) mixes samples; (1, -1) is needed"
                )
            return self.flatten(path, wire)
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            return self._weighted(path, module, wire, transposed_convolution)
        if isinstance(module, nn.modules.conv._ConvNd):
            return self._weighted(path, module, wire, convolution)
        if isinstance(module, nn.Linear):
            return self._weighted(path, module, wire, linear)
        window = pool(module, wire.shape, path)
        if window is None:
            raise LoweringError(
                f"{path}: the integer form has no {type(module).__name__}",
                fix="layers it holds: Conv1d/2d/3d, Linear, batch norms, AvgPool, AdaptiveAvgPool, MaxPool, Flatten, "
                "Dropout, and the neurons and read-outs of bitspike",
            )
        return self._pool(path, self.made.rising(path, wire) if window.largest else wire, window)

    def _pool(self, path: str, wire: Wire, window: Window, *, divided: bool = True) -> Wire:
        if any(window.padding) and wire.offset.any():
            raise LoweringError(
                f"{path}: a padded pool behind a batch norm or bias; pool without padding, or before it"
            )
        kind, area = (MaxPool, 1) if window.largest else (SumPool, window.area if divided else 1)
        places: dict[str, Any] = {"kernel": window.kernel, "stride": window.stride, "padding": window.padding}
        branches = self.made.each(kind, path, wire, window.shape, lambda scale: scale / area, **places)
        return replace(wire, branches=branches, shape=window.shape)

    def _weighted(self, path: str, module: nn.Module, wire: Wire, build: Callable[..., Any]) -> Wire:
        wire = self.made.plain(path, wire)
        (branch,) = wire.branches
        node = build(
            module, id=self.made.id(path), path=path, call=self.made.call(path), source=branch.node,
            shape=wire.shape, scale=float(branch.scale.flat[0]), float_bits=self.precision.float_bits,
        )  # fmt: skip
        if node.weight.scheme == "float":
            self.made.notes.append(f"{path}: weights without a scheme became codes of {node.weight.bits} bits")
        found = path_of(module)
        if found is not None and found[0].vary is not None:
            self.made.notes.append(f"{path}: the variation of its devices was left out")
        bias = getattr(module, "bias", None)
        offset = np.zeros(1) if bias is None else finite(bias.detach().double().cpu().numpy(), f"{path}: the bias")
        return replace(self.made.wire(node, node.scale, timed=wire.timed), offset=offset)

    def flatten(self, path: str, wire: Wire) -> Wire:
        """Return a wire whose samples have one axis."""
        if len(wire.shape) == 1:
            return wire
        size = math.prod(wire.shape)

        def spread(values: Reals) -> Reals:
            return values if len(values) == 1 else np.repeat(values, size // wire.shape[0])

        branches = self.made.each(Reshape, path, wire, (size,), spread)
        return replace(wire, branches=branches, offset=spread(wire.offset), shape=(size,))

    def _neuron(self, path: str, module: Neuron, wire: Wire) -> Wire:
        _need_time(path, module, wire)
        fitted = fit_neuron(wire, module, steps=self.made.steps, precision=self.precision, path=path)
        self.made.notes.extend(fitted.notes)
        node = NeuronNode(
            id=self.made.id(path), path=path, call=self.made.call(path), sources=tuple(b.node for b in wire.branches),
            shape=wire.shape, **fitted.arguments,
        )  # fmt: skip
        return self.made.wire(node, np.ones(1), timed=True)

    def _readout(self, path: str, module: nn.Module, wire: Wire) -> Readout:
        _need_time(path, module, wire)
        rates = not any(isinstance(n, Weighted) for n in self.made.nodes if n.id in {b.node for b in wire.branches})
        gains, bias, unit, notes = fit_readout(wire, precision=self.precision, path=path, rates=rates)
        self.made.notes.extend(notes)
        scale = unit / self.made.steps if isinstance(module, RateReadout) else unit
        node = Readout(
            id=self.made.id(path), path=path, call=self.made.call(path), sources=tuple(b.node for b in wire.branches),
            shape=wire.shape, scale=scale, gains=gains, bias=bias,
        )  # fmt: skip
        self.made.add(node)
        return node


def _need_time(path: str, module: nn.Module, wire: Wire) -> None:
    if not wire.timed:
        raise LoweringError(
            f"{path}: {type(module).__name__} gets a tensor without a time axis",
            fix="bs.Repeat(steps=...) in front of it",
        )
