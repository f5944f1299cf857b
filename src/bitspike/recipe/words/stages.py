"""The stages of a progressive recipe: what they have in common, and what each says for itself."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

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


class Stage(Value):
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
        """The name of the folder of its run."""
        return f"{self.bits}bit" if self.name is None else self.name

    @property
    def called(self) -> str:
        """The stage in a sentence."""
        return f"the stage of {self.bits} bits" if self.name is None else f"the stage {self.name}"


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
