"""What a conversion leaves behind: the graph it started from, what was calibrated, what each layer became."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from torch import Tensor, fx, nn

from bitspike.errors import ConstraintError
from bitspike.graph.built import LayerReport, Shifts
from bitspike.graph.cut import core_of, covers, replaced
from bitspike.graph.flow import moves
from bitspike.graph.host import host_work
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import rebuild, values
from bitspike.graph.settings import Settings
from bitspike.graph.spiking import build
from bitspike.ops.grids import Grid


@dataclass(frozen=True, eq=False)
class Conversion:
    """Everything that a spiking network was made from, and what each of its layers became.

    Args:
        graph: the folded float graph, whole.
        region: ids of the operations that became spikes.
        lambdas: by relu, the real value of a rate of 1 that was asked for, [1] or [C].
        grids: by entry of the region, the integer grid of its codes.
        settings: the choices.
        calibration: how lambdas were found, plain values.
        layers: what became of each relu and read-out.
        wires: by operation, the name of its node in the spiking network and the real value of one spike.
        shifts: corrections of biases and initial potentials, by relu.
        notes: warnings with their codes.
    """

    graph: Graph
    region: frozenset[str]
    lambdas: Mapping[str, Tensor]
    grids: Mapping[str, Grid]
    settings: Settings
    calibration: Mapping[str, Any] = field(default_factory=dict)
    layers: Mapping[str, LayerReport] = field(default_factory=dict)
    wires: Mapping[str, tuple[str, Tensor]] = field(default_factory=dict)
    shifts: Shifts = field(default_factory=Shifts)
    notes: tuple[str, ...] = ()

    @property
    def core(self) -> Graph:
        """The float graph of the region alone."""
        return core_of(self.graph, self.region)

    @property
    def reads_input(self) -> bool:
        """Whether what enters the spiking part are values of the network's own input, and nothing computed of them."""
        return all(holds_input(self.graph, op.id) for op in self.core if op.kind == "input")

    @property
    def host(self) -> tuple[str, ...]:
        """What stays real, in words, in the order of data flow; empty where everything became spikes."""
        return host_work(self.graph, self.region, self.grids)

    def entries(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return what enters the spiking part when the whole network gets ``inputs``."""
        names = [op.id for op in self.core if op.kind == "input"]
        found = values(self.graph, inputs, wanted=names)
        return tuple(found[name] for name in names)

    def build(self, **changes: Any) -> nn.Module:
        """Build the spiking network again, with some settings changed.

        Args:
            changes: of :class:`~bitspike.graph.settings.Settings`, such as ``steps=8`` or ``rounded=False``.

        Returns:
            the network; its ``conversion`` is a new one.
        """
        return replace(self, settings=replace(self.settings, **changes)).assemble()

    def assemble(self) -> nn.Module:
        """Return the network that users call: the spiking one, with what stays real around it where something does."""
        built = build(self.core, self.lambdas, self.grids, self.settings, self.shifts)
        notes = tuple(dict.fromkeys([*self.notes, *(n for layer in built.layers.values() for n in layer.notes)]))
        record = replace(self, layers=built.layers, wires=built.wires, notes=notes)
        network: nn.Module
        if covers(self.graph, self.region):
            network = built.network
        else:
            network = rebuild(replaced(self.graph, self.region, built.network))
        # A plain attribute, not a buffer: the record is no part of the weights.
        network.__dict__["conversion"] = record
        network.__dict__["spiking"] = built.network
        return network.eval()


def holds_input(graph: Graph, id: str) -> bool:
    """Tell whether an operation gives values of the network's input, moved or with a border around them."""
    op = graph[id]
    return op.kind == "input" or (moves(op) and holds_input(graph, op.inputs[0]))


def conversion_of(network: nn.Module) -> Conversion:
    """Return the record of a network that ``convert`` made.

    Raises:
        ConstraintError: it was not made by ``convert``.
    """
    found = network.__dict__.get("conversion")
    if not isinstance(found, Conversion):
        raise ConstraintError(
            f"{type(network).__name__} was not made by bs.convert", fix="bs.convert(model, example, calibrate=loader)"
        )
    return found


def spiking_part(network: nn.Module) -> fx.GraphModule:
    """Return the spiking part of a converted network: itself, or what stands between its real parts."""
    conversion_of(network)
    return cast(fx.GraphModule, network.__dict__["spiking"])
