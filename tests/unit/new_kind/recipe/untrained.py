"""A kind of recipe for tests: a network of the package as its initial weights make it."""

from __future__ import annotations

from typing import ClassVar, Literal

from bitspike.recipe.any_recipe import AnyRecipe, Evaluation
from bitspike.recipe.kinds.train import Lowering
from bitspike.recipe.words.models import Model
from bitspike.recipe.words.neurons import Neuron


class UntrainedRecipe(AnyRecipe):
    """A network that nothing trains."""

    makes: ClassVar[str] = "bitspike.runs.kinds.untrained:Untrained"
    kind: Literal["untrained"]  # type: ignore[misc]
    model: Model
    neuron: Neuron
    norm: None = None
    weights: None = None
    lowering: Lowering = Lowering()
    evaluation: Evaluation = Evaluation()

    @property
    def network(self) -> str:
        return self.model.kind

    @property
    def steps(self) -> int:
        return self.model.steps

    @property
    def bits(self) -> int:
        return 32

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        return "cpu"
