"""What the kinds of recipes do differently on the way from images to a spiking network; the rest is one journey."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from bitspike.conversion.result import Conversion, spiking_part
from bitspike.lowering.fit_neuron import Precision
from bitspike.nn import set_steps
from bitspike.ops.grids import Grid
from bitspike.runs.by_step import Prefixes
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Made:
    """A spiking network and what its integers need.

    Args:
        network: takes images [N, C, H, W], returns logits [N, K].
        grid: integer grid of what enters it, where the network does not hold it itself.
        precision: how fine the integers are.
        record: of its conversion, where it was converted.
    """

    network: nn.Module
    grid: Grid | None = None
    precision: Precision | None = None
    record: Conversion | None = None

    @property
    def core(self) -> nn.Module:
        """What is lowered: the network, or the spiking part of one that is converted in part."""
        return self.network if self.record is None else spiking_part(self.network)

    @property
    def partial(self) -> bool:
        """Whether some of the network stayed real."""
        return self.core is not self.network

    def enter(self, x: Tensor) -> Tensor:
        """Return what enters the core when the network gets ``x``."""
        if not self.partial:
            return x
        assert self.record is not None
        with torch.no_grad():
            return self.record.packed(x)

    def entered(self, batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches as the core takes them."""
        for x, y in batches:
            yield self.enter(x), y


class Way(Protocol):
    """From the words of a recipe to its spiking network.

    ``start`` gives what is trained, where something is; ``finish`` makes it spike.
    """

    @property
    def steps(self) -> int:
        """T."""
        ...

    def start(self, *, weights: bool = True) -> nn.Module:
        """Build what is trained or converted; ``weights=False`` where the weights come from elsewhere."""
        ...

    def trained(self, model: nn.Module, section: str) -> nn.Module:
        """Return what a section of the recipe trains; it shares its weights with the network that was started."""
        ...

    def decoded(self, model: nn.Module) -> nn.Module | None:
        """Return an ordinary network whose weights were trained as codes, with the values of these; None of others."""
        ...

    def beside(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        """Measure what the spiking network is compared with, by its name in the report."""
        ...

    def finish(self, model: nn.Module) -> Made:
        """Make the spiking network of what was built and trained."""
        ...

    def watched(self, made: Made) -> AbstractContextManager[Prefixes | None]:
        """Return what listens while the network is measured, to tell the accuracy of fewer steps afterwards."""
        ...

    def by_step(
        self, made: Made, test: Batches, tested: Evaluation, heard: list[float] | None
    ) -> Sequence[float | None]:
        """Return the accuracy when the network takes 1, 2, ..., T steps; None where it was not asked for."""
        ...

    def at_steps(self, made: Made, steps: int) -> AbstractContextManager[nn.Module]:
        """Yield the network as it runs so many steps."""
        ...


@contextmanager
def with_steps(network: nn.Module, steps: int) -> Iterator[nn.Module]:
    """Yield a network that runs so many steps inside the block."""
    with set_steps(network, steps):
        yield network
