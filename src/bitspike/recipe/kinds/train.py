"""A recipe of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from bitspike.recipe.any_recipe import AnyRecipe, Evaluation, best_needs_validation
from bitspike.recipe.words.data import Normalization
from bitspike.recipe.words.layers import Norm
from bitspike.recipe.words.models import Model
from bitspike.recipe.words.neurons import Neuron
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Value
from bitspike.recipe.words.weights import Weights


class Lowering(Value):
    """How fine the integers are; see ``bs.Precision``."""

    tolerance: PositiveFloat = 2.0**-12
    fraction_bits: Annotated[int, Field(ge=0)] | None = None
    max_fraction_bits: Annotated[int, Field(ge=0)] = 20
    leak_bits: Annotated[int, Field(ge=1, le=24)] = 8
    float_bits: Annotated[int, Field(ge=2, le=24)] = 16


class TrainRecipe(AnyRecipe):
    """A network of the package, trained: of which data, how, and what it should reach."""

    makes: ClassVar[str] = "bitspike.runs.kinds.train:Trained"
    kind: ClassVar[str] = "train"
    """A recipe that says no kind is of this one."""

    model: Model
    neuron: Neuron
    norm: Norm | None = None
    weights: Weights | None = None
    training: Training
    lowering: Lowering = Lowering()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="before")
    @classmethod
    def _without_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") == cls.kind:
            return {key: value for key, value in values.items() if key != "kind"}
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        best_needs_validation("training", self.training, self.data)
        pixels, random = self.data.pixels, self.model.encoder.kind == "bernoulli"
        if isinstance(pixels, Normalization) and (pixels.folded or not random):
            raise ValueError(
                "data.pixels: a recipe of kind train needs scale and offset; mean and std are for kind: convert, and "
                "with folded: false for model.encoder: {kind: bernoulli}, which makes spikes of any values"
            )
        return self

    @property
    def network(self) -> str:
        return self.model.kind

    @property
    def steps(self) -> int:
        return self.model.steps

    @property
    def bits(self) -> int:
        return 32 if self.weights is None else self.weights.quantize.bits

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        return self.training.device
