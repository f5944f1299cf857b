"""A spiking network while it is built: what it is built of, and its nodes, modules and wires so far."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, fx, nn

from bitspike.conversion.branches import Branch
from bitspike.conversion.construct.records import LayerReport, Shifts, Spikes, module_name
from bitspike.conversion.construct.spike_values import movers
from bitspike.conversion.construct.units import Charge
from bitspike.conversion.fold.kept import Kept
from bitspike.conversion.settings import Settings
from bitspike.graph.flow import entries, origins
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.plain import like
from bitspike.nn import Gain, SumPool, timed_layer
from bitspike.ops.grids import Grid
from bitspike.weights.attach import attach
from bitspike.weights.schemes import FixedPoint

ONE_VALUE = "one value of a spike per layer: bs.convert(..., per_channel=False), and so in the threshold rule"
"""The way out where spikes of several values meet what needs them alike."""


class Draft:
    """A spiking network while it is built.

    Attributes:
        spikes: by operation, the wire that carries its value.
        reports, charges: by neuron, what it became and what it adds up.
        entering: ids of what enters, moved or pooled: codes that are the same at every step.
        first: ids of the weighted operations that read what enters.
        like: a parameter of the graph, for device and dtype.
        kept: by weighted operation, the codes that its weights are kept on.
    """

    def __init__(
        self,
        graph: Graph,
        values: Mapping[str, Tensor],
        grids: Mapping[str, Grid],
        settings: Settings,
        shifts: Shifts,
        kept: Mapping[str, Kept],
    ) -> None:
        self.graph, self.values, self.grids, self.settings, self.shifts = graph, values, grids, settings, shifts
        # Corrected weights are other weights.
        self.kept = {id: codes for id, codes in kept.items() if id not in shifts.weights}
        self.ops = {op.id: op for op in graph}
        self.fx = fx.Graph()
        self.modules: dict[str, nn.Module] = {}
        self.spikes: dict[str, Spikes] = {}
        self.reports: dict[str, LayerReport] = {}
        self.charges: dict[str, Charge] = {}
        self.entering = entries(graph)
        self.first = {op.id for op in graph if op.kind in WEIGHTED and op.inputs[0] in self.entering}
        self.like = next((p.detach() for m in graph.modules.values() for p in m.parameters()), torch.zeros(()))

    def reach(self, id: str) -> int:
        """Return the largest integer that a wire of spikes or codes carries in one step."""
        if id not in self.entering:
            return max((round(1 / share) for _, share in origins(self.graph, id)), default=1)
        spiking = self.settings.coding not in ("direct", "split")
        return 1 if spiking else max(max(abs(grid.low), abs(grid.high)) for grid in self.grids.values())

    def add(self, name: str, module: nn.Module, source: fx.Node) -> fx.Node:
        """Call a module on a node; a name that is taken gets a number."""
        free, number = name, 1
        while free in self.modules:
            number += 1
            free = f"{name}_{number}"
        self.modules[free] = module
        return self.fx.call_module(free, (source,))

    def add_moves(self, op: Op, node: fx.Node, shape: tuple[int, ...]) -> fx.Node:
        """Do to the spikes or currents of a node, ``shape`` each, what ``op`` does to values."""
        for module in movers(op, shape):
            node = self.add(module_name(op.id), module, node)
        return node

    def add_sum_pool(self, op: Op, node: fx.Node, name: str = "") -> fx.Node:
        """Sum the windows of an average pool: integers add up, and whoever reads the sum divides by the area."""
        pool = SumPool(op.attrs["kernel"], op.attrs["stride"], op.attrs["padding"])
        return self.add(name or module_name(op.id), pool, node)

    def add_rest_of(self, branch: Branch, node: fx.Node) -> fx.Node:
        """Do what lies between the operation of a branch and its neuron."""
        shape = branch.op.shape
        for op in branch.after:
            node = self.add_sum_pool(op, node) if op.kind == "avg_pool" else self.add_moves(op, node, shape)
            shape = op.shape
        return node

    def add_layer(
        self,
        branch: Branch,
        codes: Tensor,
        bias: Tensor,
        *,
        step: Tensor,
        bits: int,
        levels: tuple[int, ...] | None = None,
    ) -> fx.Node:
        """Call the layer of a branch with weights that are codes times a step; ``attach`` keeps them on that grid.

        Args:
            codes: whole numbers.
            bias: [C_out], in real values.
            step: [1], or [C_out]: then weights are the codes themselves, and a gain per channel and the bias follow.
            bits, levels: of the codes.
        """
        name, one = module_name(branch.op.id), len(step) == 1
        scale, own = (float(step), bias) if one else (1.0, torch.zeros_like(bias))
        # The fold gave every layer a bias; one of zeros is left out again.
        layer = timed_layer(
            like(self.graph.module_of(branch.op), codes.double() * scale, own), bias=bool((own != 0).any())
        )
        layer = attach(layer, quantize=FixedPoint(step=scale, bits=bits, balanced=True, codes=levels))
        node = self.add(name, layer, self.spikes[branch.op.inputs[0]].node)
        if not one:
            gain = Gain(step.to(self.like.dtype), bias.to(self.like.dtype) if bool((bias != 0).any()) else None)
            node = self.add(f"{name}_gain", gain, node)
        return self.add_rest_of(branch, node)

    def scalar_or_channels(self, values: Tensor, dtype: torch.dtype | None = None) -> float | Tensor:
        """Return one number as a float, several as a tensor [C] of a dtype, or else of the network's."""
        return float(values[0]) if values.numel() == 1 else values.to(dtype or self.like.dtype)
