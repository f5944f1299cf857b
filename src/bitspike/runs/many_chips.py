"""The accuracy of one network on many chips: by the integers of each where it has any, by torch elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from bitspike.errors import LoweringError
from bitspike.integer.codes import counted_codes
from bitspike.integer.engine import Engine
from bitspike.integer.values import decode
from bitspike.lowering.chips import Chips
from bitspike.lowering.fit_neuron import Precision
from bitspike.ops.entering import Clipped
from bitspike.ops.grids import Grid
from bitspike.tasks.batches import pairs
from bitspike.tasks.task import Task
from bitspike.train import evaluate
from bitspike.train.adapt import adapt
from bitspike.train.evaluate import Batches
from bitspike.weights import on_chip


@dataclass(frozen=True, eq=False)
class ManyChips:
    """A network and the data on which each of its chips is measured.

    Args:
        model: has layers with variation.
        batches: pairs of inputs and labels, read once for every chip.
        task: says which answers are right.
        resolution: the bits with which cells are read; None leaves their levels as real numbers.
        seed: of random coders in the network; all chips see the same spikes.
        grid, precision: as :func:`bitspike.lowering.lower.lower` takes them.
        integers: whether the network may be lowered; False runs all chips by torch.
        adapting: batches with which the norms of every chip are measured again, by :func:`bitspike.train.adapt.adapt`.
    """

    model: nn.Module
    batches: Batches
    task: Task
    resolution: int | None
    seed: int = 0
    grid: Grid | None = None
    precision: Precision | None = None
    integers: bool = True
    adapting: Batches | None = None

    @cached_property
    def lowered(self) -> Chips | str:
        """The integers of the chips, or why there are none."""
        if not self.integers:
            return "integers were not wanted"
        if self.resolution is None:
            return "levels that are read as real numbers have no codes"
        if self.adapting is not None:
            return "the norms of every chip are its own"
        x, _ = next(iter(pairs(self.batches)))
        try:
            chips = Chips.of(self.model, x[:1], grid=self.grid, precision=self.precision, resolution=self.resolution)
        except LoweringError as error:
            return error.message.splitlines()[0]
        return chips if len(chips.net.outputs) == 1 else "it has more than one read-out"

    @property
    def by(self) -> str:
        """What the chips run by: ``integers`` or ``torch``."""
        return "integers" if isinstance(self.lowered, Chips) else "torch"

    @property
    def reason(self) -> str:
        """Why they do not run by integers; empty where they do."""
        return "" if isinstance(self.lowered, Chips) else self.lowered

    def accuracies(self, seeds: Sequence[int]) -> Iterator[tuple[int, float]]:
        """Yield the accuracy of the chip of every seed."""
        if isinstance(self.lowered, Chips):
            for seed, engine in self.lowered.engines(iter(seeds)):
                yield seed, self._by_integers(engine)
        else:
            for seed in seeds:
                yield seed, self._by_torch(seed)

    def _by_integers(self, engine: Engine) -> float:
        score, clipped = self.task.score(), Clipped()
        (output,) = engine.net.outputs
        for number, (x, y) in enumerate(pairs(self.batches)):
            codes = counted_codes(engine.net, x, clipped, generator=torch.Generator().manual_seed(self.seed + number))
            reals = decode(output, engine.predict(codes)[output.id])
            score.add(torch.from_numpy(reals).float(), y)
        assert score.value is not None, "labels of the task give a score"
        return score.value

    def _by_torch(self, seed: int) -> float:
        before = {} if self.adapting is None else _statistics(self.model)
        try:
            with on_chip(self.model, seed, resolution=self.resolution), parametrize.cached(), torch.no_grad():
                if self.adapting is not None:
                    adapt(self.model, self.adapting, seed=self.seed)
                return evaluate(self.model, self.batches, seed=self.seed, task=self.task).accuracy
        finally:
            for name, value in before.items():
                self.model.get_buffer(name).copy_(value)


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.named_buffers() if not name.endswith(".noise")}
