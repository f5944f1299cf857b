"""Measure a spiking network layer by layer and find what its neurons lack: the corrections of ``graph.correct``."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from bitspike.errors import ConversionError
from bitspike.graph.conversion import Conversion
from bitspike.graph.correct import bias_delta, correct, potential_delta
from bitspike.graph.feed import feed
from bitspike.graph.rebuild import values
from bitspike.graph.spiking import LayerReport, Shifts, build

Kind = Literal["bias", "potential"]
"""What is corrected: the bias of every step, or the potential before the first one."""


@torch.no_grad()
def find_shifts(conversion: Conversion, batches: Any, *, kind: Kind, samples: int = 256, passes: int = 2) -> Shifts:
    """Find the corrections of all neurons in one walk through the network.

    Every layer is measured with the corrected spikes of the layers before it, against the float network's activation,
    clipped as the neuron clips. A correction that makes the layer's squared error larger is not taken.

    Args:
        conversion: of a network without corrections.
        batches: training data, as for the calibration.
        kind: what to correct.
        samples: how many to measure on, at least 256 for reliable means.
        passes: how often each layer is corrected and measured again.

    Returns:
        by relu, the corrections in real units.
    """
    inputs = list(feed(conversion.graph, batches, samples=samples))
    joined = tuple(torch.cat(parts)[:samples] for parts in zip(*inputs, strict=True))
    entries = conversion.entries(*joined)
    core = conversion.core
    built = build(core, conversion.lambdas, conversion.grids, conversion.settings)
    neurons = {id.replace("#", "_"): r for id, r in built.layers.items() if r.kind == "neuron"}
    wanted = values(core, entries, wanted=[r.source for r in neurons.values()])
    walk = _Walk(built.network, neurons, wanted, conversion.settings.steps, kind, passes)
    walk.run(*entries)
    return Shifts(bias=walk.found) if kind == "bias" else Shifts(initial=walk.found)


class _Walk(fx.Interpreter):
    """Runs a spiking network once, and corrects each neuron when its current is there."""

    def __init__(
        self,
        network: fx.GraphModule,
        neurons: dict[str, LayerReport],
        wanted: dict[str, Tensor],
        steps: int,
        kind: Kind,
        passes: int,
    ) -> None:
        super().__init__(network)
        self.neurons, self.wanted, self.steps, self.kind, self.passes = neurons, wanted, steps, kind, passes
        self.found: dict[str, Tensor] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        report = self.neurons.get(str(target))
        if report is None:
            return super().call_module(target, args, kwargs)
        layer = _Layer(self.submodules_of(target), report, args[0], self.wanted.pop(report.source), self.steps)
        delta = bias_delta if self.kind == "bias" else partial(potential_delta, steps=self.steps)
        layer.kind = self.kind
        correct([layer], delta, passes=self.passes)
        if bool(layer.shift.any()):
            self.found[report.id] = layer.shift
        return layer.spikes()

    def submodules_of(self, target: Any) -> nn.Module:
        return self.module.get_submodule(str(target))


class _Layer:
    """One neuron with the current that reaches it."""

    def __init__(self, neuron: nn.Module, report: LayerReport, current: Tensor, source: Tensor, steps: int) -> None:
        value = report.value.to(source)
        top = value if value.numel() == 1 else value.view(-1, *[1] * (source.dim() - 2))
        if source.shape != current.shape[1:]:
            raise ConversionError(f"{report.id}: measures {list(source.shape)} against {list(current.shape[1:])}")
        self.id, self.report, self.neuron, self.current, self.steps = report.id, report, neuron, current, steps
        self.wanted, self.top = torch.minimum(source.clamp(min=0), top), top
        self.shift = torch.zeros(source.shape[1], dtype=torch.float64)
        self.kind: Kind = "bias"

    def spikes(self) -> Tensor:
        """Run the neuron with the shift as it stands."""
        real = 2.0**-self.report.exponent / self.report.unit
        added = (self.shift * real).to(self.current).view(-1, *[1] * (self.current.dim() - 3))
        current = self.current
        if self.kind == "bias":
            current = current + added
        elif bool(self.shift.any()):  # given with the first current, it is there before the first comparison too
            current = current.clone()
            current[0] += added
        return self.neuron(current)  # type: ignore[no-any-return]

    def reference(self) -> Tensor:
        return self.wanted

    def decoded(self) -> Tensor:
        return self.spikes().mean(0) * self.top

    def read(self) -> Tensor:
        return self.shift

    def write(self, value: Tensor) -> None:
        self.shift = value.clone()
