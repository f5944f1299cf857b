"""What a recipe may say: the tree of its keys, each with its type and its range."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, PositiveInt, Tag, model_validator

from bitspike.recipe.words.value import (
    Augmentation,
    Clip,
    CrossEntropy,
    Encoder,
    Fraction,
    Loss,
    Neuron,
    Norm,
    Optimizer,
    Pixel,
    RateReadout,
    Readout,
    Repeat,
    Schedule,
    Value,
)
from bitspike.recipe.words.weights import Weights

Held = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]
"""Images held out: a whole number, or a fraction."""


class Pixels(Value):
    """The input of a pixel: ``(pixel - offset) * scale``, one offset for all channels or one for each."""

    scale: PositiveFloat
    offset: Annotated[tuple[Pixel, ...], Field(min_length=1)] = (0,)


class Normalization(Value):
    """The input of a pixel: ``(pixel / high - mean) / std``, high being the set's largest pixel; for conversions.

    ``folded`` makes it a part of the network, which is folded into the first layer: its integers read pixels. Without,
    the host normalizes, and the integers read what comes out on a grid of ``convert.input_bits``.
    """

    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    std: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    folded: bool = True


def _which_pixels(value: Any) -> str:
    normal = isinstance(value, Normalization) or (isinstance(value, dict) and bool({"mean", "std"} & set(value)))
    return "normalization" if normal else "grid"


AnyPixels = Annotated[
    Annotated[Pixels, Tag("grid")] | Annotated[Normalization, Tag("normalization")], Discriminator(_which_pixels)
]


class _Data(Value):
    """Images to learn from.

    ``validation`` images are taken out of the training set, the ``validation_last`` ones or by class in proportion.
    ``limit`` keeps only so many training and so many test images. ``root: null`` searches the usual places.
    """

    validation: Held = 0.1
    validation_last: bool = False
    limit: PositiveInt | None = None
    pixels: AnyPixels
    augment: tuple[Augmentation, ...] = ()


class _OnDisk(_Data):
    root: str | None = None
    download: bool = False


class Digits(_Data):
    kind: Literal["digits"]
    pixels: AnyPixels = Pixels(scale=1 / 16)


class MNIST(_OnDisk):
    kind: Literal["mnist"]
    pixels: AnyPixels = Pixels(scale=2**-8)


class CIFAR10(_OnDisk):
    kind: Literal["cifar10"]
    pixels: AnyPixels = Pixels(scale=2**-6, offset=(125, 123, 114))


class CIFAR100(_OnDisk):
    kind: Literal["cifar100"]
    pixels: AnyPixels = Pixels(scale=2**-6, offset=(125, 123, 114))


class Folder(_Data):
    kind: Literal["folder"]
    root: str
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    channels: Literal[1, 3] | None = None
    pixels: AnyPixels = Pixels(scale=2**-8)


Data = Annotated[Digits | MNIST | CIFAR10 | CIFAR100 | Folder, Field(discriminator="kind")]


class Repair(Value):
    """A change of one layer that makes it fit a chip, made to the new network; ``bitspike fit`` writes these.

    ``groups`` parts a convolution into so many groups, ``split`` its input channels into ``parts`` partial sums, and
    ``prune`` keeps the input channels ``keep``.
    """

    kind: Literal["groups", "split", "prune"]
    path: str
    groups: PositiveInt = 1
    parts: PositiveInt = 1
    keep: tuple[NonNegativeInt, ...] = ()
    source_shape: tuple[PositiveInt, ...] = ()


class _Model(Value):
    """A model of the package; the numbers of classes and channels and the image size come from the data."""

    steps: PositiveInt
    width: PositiveFloat = 1.0
    encoder: Encoder = Repeat(kind="repeat")
    readout: Readout = RateReadout(kind="rate")
    repairs: tuple[Repair, ...] = ()


class DigitsNet(_Model):
    kind: Literal["digits_net"]


class MNISTNet(_Model):
    kind: Literal["mnist_net"]
    bias: bool = True


class CifarNet(_Model):
    kind: Literal["cifar_net"]
    bias: bool = True


class VGG9(_Model):
    kind: Literal["vgg9"]


class VGG11(_Model):
    kind: Literal["vgg11"]


class ResNet(_Model):
    """``depth`` is 6n + 2: 20, 32, 44, 56 or 110, for instance."""

    kind: Literal["resnet"]
    depth: Annotated[int, Field(ge=8)] = 20


Model = Annotated[DigitsNet | MNISTNet | CifarNet | VGG9 | VGG11 | ResNet, Field(discriminator="kind")]


class Training(Value):
    """What ``bs.fit`` is told. The batch is that of all processes together."""

    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss = CrossEntropy(kind="cross_entropy")
    clip_gradient: Clip | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    keep: Literal["best", "last"] = "best"
    tensorboard: bool = False


class Lowering(Value):
    """How fine the integers are; see ``bs.Precision``."""

    tolerance: PositiveFloat = 2.0**-12
    fraction_bits: Annotated[int, Field(ge=0)] | None = None
    max_fraction_bits: Annotated[int, Field(ge=0)] = 20
    leak_bits: Annotated[int, Field(ge=1, le=24)] = 8
    float_bits: Annotated[int, Field(ge=2, le=24)] = 16


class Evaluation(Value):
    """How validation and test images are run."""

    batch_size: PositiveInt = 250


class Paper(Value):
    """Where the method was published."""

    title: str
    authors: str
    venue: str
    url: str | None = None


class Published(Value):
    """The figure that was published, as a fraction, with its source and setting."""

    value: Fraction
    source: str
    setting: str


class Expect(Value):
    """The figure that this recipe promises, as a fraction; a run below it fails."""

    test_accuracy: Fraction


class Experiment(Value):
    """What every recipe says: its name and question, the paper and its figure, the promise, seed and data."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    question: str
    paper: Paper | None = None
    published: Published | None = None
    expect: Expect | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data


def best_needs_validation(section: str, training: Training, data: _Data) -> None:
    """Raise ValueError where the best epoch is to be kept and no images are held out to tell it."""
    if training.keep == "best" and not data.validation:
        raise ValueError(f"{section}.keep is 'best' and data.validation is 0: hold images out, or keep: last")
    if training.schedule.warmup_epochs > training.epochs:
        raise ValueError(
            f"{section}.schedule.warmup_epochs is {training.schedule.warmup_epochs:g}, "
            f"longer than the {training.epochs} {section}.epochs"
        )


class Recipe(Experiment):
    """A network of the package, trained: of which data, how, and what it should reach."""

    kind: ClassVar[Literal["train"]] = "train"
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
        if isinstance(self.data.pixels, Normalization):
            raise ValueError(
                "data.pixels: what is trained on a grid needs scale and offset; mean and std are for kind: convert"
            )
        return self

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        """Where the network is trained and measured."""
        return self.training.device
