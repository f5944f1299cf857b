"""What kinds of runs that convert a network have in common: they measure it, convert it, and say what was chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bitspike.conversion.result import conversion_of
from bitspike.data import Batches
from bitspike.devices import choose_device
from bitspike.integer.network import IntegerNetwork
from bitspike.ops.grids import Grid
from bitspike.runs.kinds.kind import Kind, SpikingNetwork
from bitspike.train import Evaluation, History, evaluate


class Converting(Kind):
    """A kind of run whose spiking network is made by a conversion, after everything is trained."""

    finishing: ClassVar[str] = "convert"

    def on_pixels(self, spiking: Callable[[Grid | None], nn.Module], *, whole: bool = True) -> nn.Module:
        """Convert with the grid of the pixels where the integers read pixels, else with a grid of what they read.

        ``whole`` says that no part of the network is left to the host by the recipe.
        """
        grid = self.data.grid if whole else None
        network = spiking(grid)
        if grid is not None and not conversion_of(network).reads_input:
            # The host computes the input of the integers from pixels, such as their normalization: another grid.
            network = spiking(None)
        return network

    def validation(self, network: nn.Module, history: History | None) -> float | None:
        """Measure the spiking network; what was trained before the conversion was another one."""
        images = self.data.validation
        return None if images is None else self.accuracy(network, self.data.batches(images))

    def stops_anywhere(self, spiking: SpikingNetwork) -> bool:
        # Of a partial network, the host's layers follow.
        return not spiking.partial

    def by_step(self, spiking: SpikingNetwork, test: Batches, tested: Evaluation) -> Sequence[float | None]:
        if tested.by_step is not None:
            return tested.by_step
        if not getattr(self.recipe.evaluation, "by_step", True):
            return [*[None] * (self.recipe.steps - 1), tested.accuracy]
        accuracies: list[float | None] = []
        for steps in range(1, self.recipe.steps):
            with self.at_steps(spiking, steps) as network:
                accuracies.append(self.accuracy(network, test))
        return [*accuracies, tested.accuracy]

    def accuracy(self, network: nn.Module, batches: Batches) -> float:
        """Measure a network on the device of the recipe."""
        with self.placed(network):
            return evaluate(network, batches, seed=self.recipe.seed, task=self.data.test.task).accuracy

    @contextmanager
    def placed(self, network: nn.Module) -> Iterator[None]:
        """Keep a network on the device of the recipe for a block; it returns to where it was."""
        home = next((p.device for p in [*network.parameters(), *network.buffers()]), torch.device("cpu"))
        network.to(choose_device(self.recipe.device))
        try:
            yield
        finally:
            network.to(home)

    def example(self) -> Tensor:
        """Return two test images as the network takes them."""
        return self.data.pixels.to_input(self.data.test.first(2))


def described(spiking: SpikingNetwork) -> dict[str, Any]:
    """Return the choices of a conversion and what came of them, as plain values."""
    record = spiking.record
    assert record is not None
    return {
        "settings": record.settings.to_dict(),
        "calibration": dict(record.calibration),
        "correction": dict(record.correction),
        "neurons": sum(layer.kind != "readout" for layer in record.layers.values()),
        "partial": spiking.partial,
        "host": list(record.host),
    }


def origins(spiking: nn.Module, net: IntegerNetwork) -> dict[str, str]:
    """Return by layer of the integers the module of the original network."""
    words = {op.id.replace(".", "_").replace("#", "_"): op.path for op in conversion_of(spiking).graph}
    return {node.path: words.get(node.path.replace(".", "_").replace("#", "_"), node.path) for node in net.weighted}
