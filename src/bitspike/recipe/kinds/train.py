"""A recipe of kind ``train``: a network of the package, trained as a spiking network from the start."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from bitspike.recipe.any_recipe import AnyRecipe, Evaluation, Expect, best_needs_validation
from bitspike.recipe.words.events import SomeFrames
from bitspike.recipe.words.layers import Frames, Norm
from bitspike.recipe.words.models import Model
from bitspike.recipe.words.neurons import Neuron
from bitspike.recipe.words.pixels import Normalization
from bitspike.recipe.words.published import Published
from bitspike.recipe.words.sequences import ByStep
from bitspike.recipe.words.stages import need_order, parent_in
from bitspike.recipe.words.train_stages import TaughtTraining, TrainStage, resolved
from bitspike.recipe.words.value import Value
from bitspike.recipe.words.weights import Weights


class Lowering(Value):
    """How fine the integers are; see ``bs.Precision``."""

    tolerance: PositiveFloat = 2.0**-12
    fraction_bits: Annotated[int, Field(ge=0)] | None = None
    max_fraction_bits: Annotated[int, Field(ge=0)] = 20
    leak_bits: Annotated[int, Field(ge=1, le=24)] = 8
    float_bits: Annotated[int, Field(ge=2, le=24)] = 16


class TrainMeasurement(Evaluation):
    """How images are run. ``proof`` test images are proven and compared with the integers; null proves all."""

    unnamed: ClassVar[tuple[str, ...]] = ("proof",)

    proof: PositiveInt | None = None


class TrainRecipe(AnyRecipe):
    """A network of the package, trained: of which data, how, and what it should reach.

    With ``stages`` it is trained several times, from floats to fewer and fewer bits for instance; each stage is a run
    in a folder of its own and starts from the weights of its parent. ``stage`` runs one of them alone. ``init`` says
    where a training starts instead: the folder of a run, or a file of weights; null are new weights, or those of the
    parent.
    """

    makes: ClassVar[str] = "bitspike.runs.kinds.train:Trained"
    kind: ClassVar[str] = "train"
    """A recipe that says no kind is of this one."""
    takes_frames: ClassVar[bool] = True
    steps_key: ClassVar[str] = "model.steps"
    unnamed: ClassVar[tuple[str, ...]] = (*AnyRecipe.unnamed, "stage", "init", "stages")

    stage: str | None = None
    init: str | None = None
    model: Model
    neuron: Neuron
    norm: Norm | None = None
    weights: Weights | None = None
    training: TaughtTraining
    stages: tuple[TrainStage, ...] | None = None
    lowering: Lowering = Lowering()
    evaluation: TrainMeasurement = TrainMeasurement()

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Any) -> Any:
        """Take off the usual kind, and put what the chosen stage says into the sections."""
        if not isinstance(values, dict):
            return values
        values = {key: value for key, value in values.items() if (key, value) != ("kind", cls.kind)}
        if values.get("stage") is None:
            return values
        own = {"stage": values["stage"], "init": values.get("init")}
        try:
            whole = cls.model_validate({**values, "stage": None, "init": None})
        except ValidationError:  # what is wrong is said of these values
            return values
        return resolved(whole.model_dump(mode="json"), own["stage"]) | own if whole.stages else values

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        best_needs_validation("training", self.training, self.data)
        pixels, random = self.data.pixels, self.model.encoder.kind == "bernoulli"
        if isinstance(pixels, Normalization) and (pixels.folded or not random):
            raise ValueError(
                "data.pixels: a recipe of kind train needs scale and offset; mean and std are for kind: convert, and "
                "with folded: false for model.encoder: {kind: bernoulli}, which makes spikes of any values"
            )
        self._has_frames_where_data_do()
        self._stages_fit_together()
        return self

    def _has_frames_where_data_do(self) -> None:
        by_step, framed = isinstance(self.data, ByStep), isinstance(self.model.encoder, Frames)
        if by_step != framed:
            kinds = f"data.kind is {self.data.kind!r} and model.encoder.kind {self.model.encoder.kind!r}"
            way = (
                f"{self.data.brings} need {{kind: frames}}"
                if isinstance(self.data, ByStep)
                else "frames are for recordings and sequences, and images need a coder"
            )
            raise ValueError(f"{kinds}: {way}")
        for word in self.data.augment:
            if isinstance(word, SomeFrames) and not word.frames < word.of == self.steps:
                raise ValueError(
                    f"data.augment has some_frames: {word.frames} of {word.of}; of is model.steps, {self.steps}, and "
                    "frames are fewer"
                )

    def _stages_fit_together(self) -> None:
        stages, names = self.stages or (), [stage.name for stage in self.stages or ()]
        if self.stages == ():
            raise ValueError("stages is empty: name one or more, or null for one training")
        need_order(stages)
        if self.stage is not None and self.stage not in names:
            known = f"allowed are {', '.join(names)}, and null for all of them" if names else "the recipe has no stages"
            raise ValueError(f"stage is {self.stage!r}; {known}")
        if stages and self.stage is None and self.init is not None:
            raise ValueError("init says where one stage starts, and stage is null: --set stage=NAME")
        if self.training.distill is not None and not stages and self.init is None:
            raise ValueError("training.distill needs a network to learn from: init, or stages")
        if self.stage is None and stages:
            values = self.model_dump(mode="json")
            for name in names:
                training = TaughtTraining.model_validate(resolved(values, name)["training"])
                best_needs_validation("training", training, self.data)

    @property
    def parent(self) -> TrainStage | None:
        """The stage that the chosen one starts from; None where it starts from new weights, or is no stage."""
        if self.stage is None or not self.stages or self.chosen is None:
            return None
        return parent_in(self.stages, self.chosen)

    def at(self, stage: TrainStage) -> TrainRecipe:
        """Return the recipe of one of its stages."""
        return type(self).model_validate({**self.model_dump(mode="json"), "init": None, "stage": stage.name})

    @property
    def parts(self) -> dict[str, AnyRecipe]:
        if self.stage is not None:
            return {}
        return {stage.name: self.at(stage) for stage in self.stages or ()}

    @property
    def chosen(self) -> TrainStage | None:
        """The stage that is run; of all of them the last, whose network is that of the run; None without stages."""
        if not self.stages:
            return None
        return next((s for s in self.stages if s.name == self.stage), self.stages[-1])

    @property
    def _is_last(self) -> bool:
        return not self.stages or self.chosen is self.stages[-1]

    @property
    def promised(self) -> Expect | None:
        own = None if self.chosen is None else self.chosen.expect
        if own is not None:
            return Expect(test_accuracy=own)
        return self.expect if self._is_last else None

    @property
    def compared(self) -> Published | None:
        own = None if self.chosen is None else self.chosen.published
        return own or (self.published if self._is_last else None)

    @property
    def place(self) -> str:
        return self.name if self.stage is None else f"{self.name}/{self.stage}"

    @property
    def network(self) -> str:
        return self.model.kind

    @property
    def steps(self) -> int:
        return self.model.steps

    @property
    def bits(self) -> int:
        if self.stages and self.stage is None:
            return self.at(self.stages[-1]).bits
        return 32 if self.weights is None else self.weights.quantize.bits

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        return self.training.device
