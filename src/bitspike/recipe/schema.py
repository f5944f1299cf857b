"""What a recipe may say: the tree of its keys, each with its type and its range."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from bitspike.recipe.values import (
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
from bitspike.recipe.weights import Weights

Held = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]
"""Images held out: a whole number, or a fraction."""


class Pixels(Value):
    """The input of a pixel: ``(pixel - offset) * scale``, one offset for all channels or one for each."""

    scale: PositiveFloat
    offset: Annotated[tuple[Pixel, ...], Field(min_length=1)] = (0,)


class _Data(Value):
    """Images to learn from.

    ``validation`` images are taken out of the training set, the ``validation_last`` ones or by class in proportion.
    ``limit`` keeps only so many training and so many test images. ``root: null`` searches the usual places.
    """

    validation: Held = 0.1
    validation_last: bool = False
    limit: PositiveInt | None = None
    pixels: Pixels
    augment: tuple[Augmentation, ...] = ()


class _OnDisk(_Data):
    root: str | None = None
    download: bool = False


class Digits(_Data):
    kind: Literal["digits"]
    pixels: Pixels = Pixels(scale=1 / 16)


class MNIST(_OnDisk):
    kind: Literal["mnist"]
    pixels: Pixels = Pixels(scale=2**-8)


class CIFAR10(_OnDisk):
    kind: Literal["cifar10"]
    pixels: Pixels = Pixels(scale=2**-6, offset=(125, 123, 114))


class CIFAR100(_OnDisk):
    kind: Literal["cifar100"]
    pixels: Pixels = Pixels(scale=2**-6, offset=(125, 123, 114))


class Folder(_Data):
    kind: Literal["folder"]
    root: str
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    channels: Literal[1, 3] | None = None
    pixels: Pixels = Pixels(scale=2**-8)


Data = Annotated[Digits | MNIST | CIFAR10 | CIFAR100 | Folder, Field(discriminator="kind")]


class _Model(Value):
    """A model of the package; the numbers of classes and channels and the image size come from the data."""

    steps: PositiveInt
    width: PositiveFloat = 1.0
    encoder: Encoder = Repeat(kind="repeat")
    readout: Readout = RateReadout(kind="rate")


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


class Recipe(Value):
    """One experiment, complete: what is asked, of which data and network, trained how, and what it should reach."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    question: str
    paper: Paper | None = None
    published: Published | None = None
    expect: Expect | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data
    model: Model
    neuron: Neuron
    norm: Norm | None = None
    weights: Weights | None = None
    training: Training
    lowering: Lowering = Lowering()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.training.keep == "best" and not self.data.validation:
            raise ValueError("training.keep is 'best' and data.validation is 0: hold images out, or keep: last")
        if self.training.schedule.warmup_epochs > self.training.epochs:
            raise ValueError(
                f"training.schedule.warmup_epochs is {self.training.schedule.warmup_epochs:g}, "
                f"longer than the {self.training.epochs} training.epochs"
            )
        return self
