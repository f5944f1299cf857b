"""A run of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import nn

from bitspike.recipe import Recipe
from bitspike.runs.build import words as b
from bitspike.runs.by_step import Prefixes
from bitspike.runs.kinds.way import Batches, Made, with_steps
from bitspike.runs.stages import Clock
from bitspike.train import Evaluation, by_step


@dataclass(eq=False)
class Trained:
    """A network of the package, trained as a spiking network from the start."""

    recipe: Recipe
    data: b.Data

    @property
    def steps(self) -> int:
        return self.recipe.model.steps

    def start(self, *, weights: bool = True) -> nn.Module:
        del weights
        return b.build_model(self.recipe, self.data.train)

    def trained(self, model: nn.Module, section: str) -> nn.Module:
        del section
        return model

    def beside(self, model: nn.Module, test: Batches, clock: Clock) -> dict[str, float | None]:
        del model, test, clock
        return {}

    def decoded(self, model: nn.Module) -> None:
        del model

    def finish(self, model: nn.Module) -> Made:
        return Made(model, self.data.grid, b.build_precision(self.recipe))

    def watched(self, made: Made) -> AbstractContextManager[Prefixes | None]:
        del made
        return nullcontext()

    def by_step(
        self, made: Made, test: Batches, tested: Evaluation, heard: list[float] | None
    ) -> Sequence[float | None]:
        del heard
        return by_step(made.network, test, seed=self.recipe.seed, final=tested)

    def at_steps(self, made: Made, steps: int) -> AbstractContextManager[nn.Module]:
        return with_steps(made.network, steps)
