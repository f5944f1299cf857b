"""The stages of recipes: what all have in common, and what those of a progressive one say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Discriminator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Tag

from bitspike.recipe.words.training import Schedule, Training
from bitspike.recipe.words.value import Fraction, Share, Value
from bitspike.recipe.words.weights import Quantizer

FLOAT = 32
"""The bits of a stage whose network is not quantized."""


class Distillation(Value):
    makes: ClassVar[str] = "bitspike.train.distill:Distillation"
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: PositiveFloat = 4.0


class StageTraining(Training):
    """Epochs of a stage. With ``distill`` it learns from the network that it starts from too, if that is trained."""

    unnamed: ClassVar[tuple[str, ...]] = ()

    distill: Distillation | None = None


def _which_weights(value: Any) -> str:
    if isinstance(value, str):
        return "float"
    return "scheme" if isinstance(value, Value) or (isinstance(value, dict) and "kind" in value) else "patterns"


AnyWeights = Annotated[
    Annotated[Quantizer, Tag("scheme")]
    | Annotated[Literal["float"], Tag("float")]
    | Annotated[dict[str, Quantizer | Literal["float"]], Tag("patterns")],
    Discriminator(_which_weights),
]
"""One scheme, ``float``, or both by patterns over the names of layers."""


class Quantization(Value):
    """The arguments of ``bs.quantize``; ``weights: null`` learns a clip for codes of the stage's bits.

    ``calibrate`` is a number of training images: the clips of activations start where the error of their levels is
    least on these, in every stage anew. Null starts them at ``clip``, and later stages at what the one before learned.
    """

    weights: AnyWeights | None = None
    first_bits: Annotated[int, Field(ge=1, le=32)] | None = 8
    last_bits: Annotated[int, Field(ge=1, le=32)] | None = 8
    clip: Annotated[float, Field(ge=2.0**-10)] = 6.0
    calibrate: PositiveInt | None = None
    include: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()


class AnyStage(Value):
    """One stage of a recipe, which starts from the weights of an earlier one, its ``parent``."""

    # Declared by each kind of stage, whose order is that of the keys in files.
    if TYPE_CHECKING:
        name: str | None
        parent: int | str | None

    keys: ClassVar[str] = "names"
    """What ``key`` may be."""
    instead_of: ClassVar[Mapping[str, str]] = {
        "training.epochs": "epochs",
        "training.schedule": "schedule",
        "training.optimizer.lr": "lr",
        "training.optimizer.weight_decay": "weight_decay",
    }
    """By the key of a section, what a stage may say instead of it."""

    @property
    def key(self) -> int | str:
        """What chooses the stage."""
        assert self.name is not None
        return self.name

    @property
    def folder(self) -> str:
        """The name of the folder of its run."""
        return str(self.key)

    @property
    def called(self) -> str:
        """The stage in a sentence."""
        return f"stage {self.name}"

    @property
    def called_next(self) -> str:
        """The stage in a sentence that speaks of another one already."""
        return self.called


S = TypeVar("S", bound=AnyStage)


def need_order(stages: Sequence[AnyStage]) -> None:
    """Raise ValueError unless every stage has a key of its own and the key of an earlier one for parent."""
    keys = [stage.key for stage in stages]
    for place, stage in enumerate(stages):
        earlier = keys[:place]
        if stage.key in earlier:
            what, way = ("name", "") if stage.name is not None else ("bits", ", or a name")
            raise ValueError(
                f"stages.{place}.{what} is {stage.key!r}, which an earlier stage has; each has its own{way}"
            )
        if stage.parent is not None and stage.parent not in earlier:
            raise ValueError(
                f"stages.{place}.parent is {stage.parent!r}; allowed are the {stage.keys} of earlier stages "
                f"({', '.join(map(str, earlier)) or 'none'}), and null"
            )


def parent_in(stages: Sequence[S], stage: S) -> S | None:
    """Return the stage that another one starts from: its parent, or the one before; None for the first."""
    if stage.parent is not None:
        return next(other for other in stages if other.key == stage.parent)
    place = [other.key for other in stages].index(stage.key)
    return stages[place - 1] if place else None


def stated(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage says itself: the values that are not None."""
    return {key: value for key, value in values.items() if value is not None}


class Stage(AnyStage):
    """One number of bits. What a stage does not say is that of the sections; files leave it out.

    Stages of the same bits have a ``name``, by which they are chosen. ``parent`` names the one that it starts from, by
    its name or else its bits: the one before in the list where it is null. The first stage starts from ``model``.
    Zero epochs are none; ``over_time_epochs`` and ``tune_epochs`` are of the sections ``over_time`` and ``tune``.
    ``expect`` is the test accuracy that the stage promises.
    """

    unnamed: ClassVar[tuple[str, ...]] = (
        *("name", "parent", "weights", "epochs", "lr", "weight_decay", "schedule"),
        *("over_time_epochs", "tune_epochs", "expect"),
    )

    keys: ClassVar[str] = "names or bits"
    instead_of: ClassVar[Mapping[str, str]] = {
        "quantize.weights": "weights",
        **AnyStage.instead_of,
        "over_time.epochs": "over_time_epochs",
        "tune.epochs": "tune_epochs",
    }

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9._-]*$")] | None = None
    bits: int
    parent: int | str | None = None
    weights: AnyWeights | None = None
    epochs: NonNegativeInt | None = None
    lr: PositiveFloat | None = None
    weight_decay: NonNegativeFloat | None = None
    schedule: Schedule | None = None
    over_time_epochs: NonNegativeInt | None = None
    tune_epochs: NonNegativeInt | None = None
    expect: Fraction | None = None

    @property
    def key(self) -> int | str:
        """What chooses the stage: its name, or its bits."""
        return self.bits if self.name is None else self.name

    @property
    def folder(self) -> str:
        """As of every stage; of bits ``2bit``."""
        return f"{self.bits}bit" if self.name is None else self.name

    @property
    def called(self) -> str:
        """As of every stage."""
        return f"the stage of {self.bits} bits" if self.name is None else f"the stage {self.name}"

    @property
    def called_next(self) -> str:
        """As of every stage."""
        return f"that of {self.bits} bits" if self.name is None else self.called


class Tuning(Value):
    """The arguments of ``bs.tune_layers``: one layer after the other learns, in time, what the quantized one answers.

    ``samples`` training images are used, null is all; they are not augmented. Validation images judge every epoch.
    """

    epochs: PositiveInt = 1
    samples: PositiveInt | None = None
    batch_size: PositiveInt = 128
    learning_rate: PositiveFloat = 1e-3
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 1e-4
    force: bool = False
    ends: bool = False
    include: tuple[str, ...] = ("*",)
    skip: tuple[str, ...] = ()
