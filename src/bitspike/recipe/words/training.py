"""The sections of epochs: how many, and by which optimizer, schedule, loss and gradient clip."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from bitspike.recipe.words.value import Fraction, Share, Value


class SGD(Value):
    unnamed: ClassVar[tuple[str, ...]] = ("decay_norms",)
    makes: ClassVar[str] = "bitspike.train.optimizers:SGD"
    kind: Literal["sgd"]
    lr: PositiveFloat = 0.1
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 0.0
    nesterov: bool = False
    decay_norms: bool = False


class AdamW(Value):
    unnamed: ClassVar[tuple[str, ...]] = ("decay_norms",)
    makes: ClassVar[str] = "bitspike.train.optimizers:AdamW"
    kind: Literal["adamw"]
    lr: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    decay_norms: bool = False


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]


class Constant(Value):
    makes: ClassVar[str] = "bitspike.train.schedules:Constant"
    kind: Literal["constant"]
    warmup_epochs: NonNegativeFloat = 0.0


class Cosine(Value):
    makes: ClassVar[str] = "bitspike.train.schedules:Cosine"
    kind: Literal["cosine"]
    warmup_epochs: NonNegativeFloat = 0.0
    floor: Fraction = 0.0


class Steps(Value):
    makes: ClassVar[str] = "bitspike.train.schedules:Steps"
    kind: Literal["steps"]
    warmup_epochs: NonNegativeFloat = 0.0
    milestones: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    gain: Annotated[float, Field(gt=0, le=1)] = 0.1


Schedule = Annotated[Constant | Cosine | Steps, Field(discriminator="kind")]


class CrossEntropy(Value):
    makes: ClassVar[str] = "bitspike.tasks.losses:CrossEntropy"
    kind: Literal["cross_entropy"]
    label_smoothing: Share = 0.0
    scale: PositiveFloat = 1.0


class MeanSquare(Value):
    makes: ClassVar[str] = "bitspike.tasks.losses:MeanSquare"
    kind: Literal["mean_square"]


class SpikeTrains(Value):
    """The kernel loss of TSSL-BP, on the currents of the last synapse at every step."""

    makes: ClassVar[str] = "bitspike.tasks.spike_trains:SpikeTrains"
    kind: Literal["spike_trains"]
    synapse_decay: Annotated[float, Field(ge=0, lt=1)] = 2 / 3
    passes: PositiveInt = 2
    scale: PositiveFloat = 1.0


Loss = Annotated[CrossEntropy | MeanSquare | SpikeTrains, Field(discriminator="kind")]


class ClipNorm(Value):
    makes: ClassVar[str] = "bitspike.train.optimizers:ClipNorm"
    kind: Literal["norm"]
    limit: PositiveFloat


class ClipValue(Value):
    makes: ClassVar[str] = "bitspike.train.optimizers:ClipValue"
    kind: Literal["value"]
    limit: PositiveFloat


Clip = Annotated[ClipNorm | ClipValue, Field(discriminator="kind")]


class EMA(Value):
    makes: ClassVar[str] = "bitspike.train.average:EMA"
    decay: Annotated[float, Field(gt=0, lt=1)] = 0.999


class Training(Value):
    """The arguments of ``bs.fit``. The batch is that of all processes together.

    ``average`` keeps the moving average of the weights. Files do not name it where it is null, so those that are older
    than the word stay as they are.
    """

    unnamed: ClassVar[tuple[str, ...]] = ("average",)

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
    average: EMA | None = None
