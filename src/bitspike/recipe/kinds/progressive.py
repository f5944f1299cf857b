"""A recipe of kind ``progressive``: one network in stages of fewer and fewer bits, each of them made spiking."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from bitspike.recipe.any_recipe import AnyRecipe, Expect, best_needs_validation
from bitspike.recipe.kinds.convert import Measurement
from bitspike.recipe.words.models import Factory
from bitspike.recipe.words.published import Published
from bitspike.recipe.words.stages import (
    FLOAT,
    Quantization,
    Stage,
    StageTraining,
    Tuning,
    need_order,
    parent_in,
    stated,
)
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Value


class Spiking(Value):
    """How a stage becomes spiking. T is ``2**bits - 1``, that of a float stage ``float_steps``; weights that are floats
    get ``float_bits``. The other keys are options of ``bs.convert``; null leaves a choice to it.
    """

    neuron: Literal["if", "signed_if"] = "signed_if"
    input_bits: Annotated[int, Field(ge=2, le=16)] = 8
    samples: PositiveInt = 1024
    max_fraction_bits: NonNegativeInt | None = None
    multiplier_bits: NonNegativeInt | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    float_steps: PositiveInt = 15
    float_bits: Annotated[int, Field(ge=1, le=16)] = 8


class StageMeasurement(Measurement):
    """How images are run; ``mismatch`` validation images are used to compare spike counts with levels."""

    mismatch: PositiveInt = 256


class ProgressiveRecipe(AnyRecipe):
    """A network that learns with fewer and fewer bits: the sections say what its stages share, ``stages`` what differs.

    ``stage`` runs one of them alone, and ``init`` says where it starts: the folder of a run or a file of weights; null
    is the folder of its parent next to its own.
    """

    makes: ClassVar[str] = "bitspike.runs.kinds.progressive:Progressive"
    kind: Literal["progressive"]  # type: ignore[misc]
    stage: int | str | None = None
    init: str | None = None
    model: Factory
    quantize: Quantization = Quantization()
    training: StageTraining
    over_time: StageTraining | None = None
    tune: Tuning | None = None
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    convert: Spiking = Spiking()
    evaluation: StageMeasurement = StageMeasurement()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        need_order(self.stages)
        for place, stage in enumerate(self.stages):
            if not (1 <= stage.bits <= 8 or stage.bits == FLOAT):
                raise ValueError(
                    f"stages.{place}.bits is {stage.bits}; allowed are 1 to 8, and {FLOAT} for a float stage"
                )
            if stage.bits == FLOAT and place:
                raise ValueError(f"stages.{place}.bits is {FLOAT}: a float stage comes first, and starts from model")
            for section, name in ((stage.over_time_epochs, "over_time"), (stage.tune_epochs, "tune")):
                if section and getattr(self, name) is None:
                    raise ValueError(f"stages.{place}.{name}_epochs is {section}, and there is no section {name}")
            for name, training in self.trainings_of(stage).items():
                best_needs_validation(name, training, self.data)
        keys = [stage.key for stage in self.stages]
        if self.stage is not None and self.stage not in keys:
            raise ValueError(
                f"stage is {self.stage}; allowed are {', '.join(map(str, keys))}, and null for all of them"
            )
        if self.stage is None and self.init is not None:
            raise ValueError("init says where one stage starts, and stage is null: --set stage=BITS")
        return self

    @property
    def chosen(self) -> Stage:
        """The stage that is run; of all of them the last, whose network is that of the run."""
        return next((s for s in self.stages if s.key == self.stage), self.stages[-1])

    @property
    def parent(self) -> Stage | None:
        """The stage that the chosen one starts from; None where it starts from ``model``."""
        return parent_in(self.stages, self.chosen)

    def trainings_of(self, stage: Stage) -> dict[str, Training]:
        """Return the sections of epochs of a stage, with what it says itself."""
        sections: dict[str, Training] = {}
        own = {"lr": stage.lr, "weight_decay": stage.weight_decay}
        optimizer = self.training.optimizer.model_copy(update=stated(own))
        changes = {"optimizer": optimizer, **stated({"epochs": stage.epochs, "schedule": stage.schedule})}
        if stage.epochs != 0:
            sections["training"] = self.training.model_copy(update=changes)
        if self.over_time is not None and stage.over_time_epochs != 0 and stage.bits != FLOAT:
            sections["over_time"] = self.over_time.model_copy(update=stated({"epochs": stage.over_time_epochs}))
        return sections

    @property
    def tuning(self) -> Tuning | None:
        """How the spiking network of the chosen stage is tuned, layer by layer."""
        stage = self.chosen
        if self.tune is None or stage.tune_epochs == 0 or stage.bits == FLOAT:
            return None
        return self.tune.model_copy(update=stated({"epochs": stage.tune_epochs}))

    @property
    def parts(self) -> dict[str, AnyRecipe]:
        if self.stage is not None:
            return {}
        return {s.folder: self.model_copy(update={"stage": s.key}) for s in self.stages}

    @property
    def place(self) -> str:
        return self.name if self.stage is None else f"{self.name}/{self.chosen.folder}"

    @property
    def promised(self) -> Expect | None:
        own = self.chosen.expect
        if own is not None:
            return Expect(test_accuracy=own)
        return self.expect if self.chosen is self.stages[-1] else None

    @property
    def compared(self) -> Published | None:
        return self.published if self.chosen is self.stages[-1] else None

    @property
    def network(self) -> str:
        return self.model.factory.partition(":")[2]

    @property
    def steps(self) -> int:
        bits = self.chosen.bits
        return self.convert.float_steps if bits == FLOAT else 2**bits - 1

    @property
    def bits(self) -> int:
        """Bits of a weight of the chosen stage between the first and the last layer; the most where they differ."""
        weights, bits = self.chosen.weights or self.quantize.weights, self.chosen.bits
        if bits == FLOAT or weights is None:
            return bits
        choices = weights.values() if isinstance(weights, dict) else [weights]
        return max(FLOAT if isinstance(choice, str) else choice.bits for choice in choices)

    @property
    def trainings(self) -> dict[str, Training]:
        return self.trainings_of(self.chosen)

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        return self.evaluation.device
