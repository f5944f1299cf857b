"""The small values of a recipe, each a word (``kind``) and its numbers.

Every union is told apart by ``kind``, so an unknown word fails on load. The numbers bear the names that the arguments
of the Python objects have, which a test compares.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt


class Value(BaseModel):
    """Frozen, and closed: a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Share = Annotated[float, Field(ge=0, lt=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Pixel = Annotated[int, Field(ge=0, le=255)]


# Surrogate gradients ------------------------------------------------------------------------------------------------


class Rectangle(Value):
    kind: Literal["rectangle"]
    width: PositiveFloat = 1.0
    center: float = 0.0


class Triangle(Value):
    kind: Literal["triangle"]
    width: PositiveFloat = 1.0
    height: PositiveFloat | None = None
    center: float = 0.0


class ArcTan(Value):
    kind: Literal["arctan"]
    alpha: PositiveFloat = 2.0
    center: float = 0.0


class Sigmoid(Value):
    kind: Literal["sigmoid"]
    alpha: PositiveFloat = 4.0
    center: float = 0.0


class PiecewiseExponential(Value):
    kind: Literal["piecewise_exponential"]
    alpha: PositiveFloat = 2.0
    center: float = 0.0


Surrogate = Annotated[Rectangle | Triangle | ArcTan | Sigmoid | PiecewiseExponential, Field(discriminator="kind")]


# Neurons ------------------------------------------------------------------------------------------------------------


class _Neuron(Value):
    threshold: PositiveFloat = 1.0
    surrogate: Surrogate = ArcTan(kind="arctan")
    fire: Literal["ge", "gt"] = "ge"
    detach_reset: bool = False


class IF(_Neuron):
    kind: Literal["if"]
    reset: Literal["soft", "hard"] = "soft"
    v_reset: float = 0.0
    initial: float = 0.0


class LIF(_Neuron):
    kind: Literal["lif"]
    decay: Fraction = 0.5
    reset: Literal["soft", "hard"] = "soft"
    leak: Literal["before", "after"] = "before"
    decay_input: bool = False
    v_reset: float = 0.0
    initial: float = 0.0
    resolution: PositiveFloat | None = None


class PLIF(_Neuron):
    kind: Literal["plif"]
    tau: Annotated[float, Field(gt=1)] = 2.0
    reset: Literal["soft", "hard"] = "hard"
    leak: Literal["before", "after"] = "before"
    decay_input: bool = True
    detach_reset: bool = True
    v_reset: float = 0.0
    initial: float = 0.0


class SignedIF(_Neuron):
    kind: Literal["signed_if"]
    initial: float | None = None
    retract: NonNegativeFloat = 1e-3


Neuron = Annotated[IF | LIF | PLIF | SignedIF, Field(discriminator="kind")]


# Norms, encoders, read-outs -----------------------------------------------------------------------------------------


class BatchNorm(Value):
    kind: Literal["batch"]
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1


class ThresholdBatchNorm(Value):
    """``threshold: null`` takes the neuron's."""

    kind: Literal["threshold"]
    threshold: PositiveFloat | None = None
    alpha: PositiveFloat = 1.0
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1


class ShiftBatchNorm(Value):
    kind: Literal["shift"]
    gain: PositiveFloat = 1.0
    grid: PositiveFloat = 2**-8
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1


Norm = Annotated[BatchNorm | ThresholdBatchNorm | ShiftBatchNorm, Field(discriminator="kind")]


class Repeat(Value):
    kind: Literal["repeat"]


class BernoulliCoder(Value):
    kind: Literal["bernoulli"]
    divisor: PositiveFloat = 1.0


class RateCoder(Value):
    kind: Literal["rate"]


Encoder = Annotated[Repeat | BernoulliCoder | RateCoder, Field(discriminator="kind")]


class RateReadout(Value):
    kind: Literal["rate"]


class SumReadout(Value):
    kind: Literal["sum"]


Readout = Annotated[RateReadout | SumReadout, Field(discriminator="kind")]


# Augmentation -------------------------------------------------------------------------------------------------------


class Shift(Value):
    kind: Literal["shift"]
    pixels: PositiveInt
    fill: Pixel | tuple[Pixel, ...] | None = None


class Flip(Value):
    kind: Literal["flip"]


Augmentation = Annotated[Shift | Flip, Field(discriminator="kind")]


# Optimizers, schedules, losses, clipping ----------------------------------------------------------------------------


class SGD(Value):
    kind: Literal["sgd"]
    lr: PositiveFloat = 0.1
    momentum: Share = 0.9
    weight_decay: NonNegativeFloat = 0.0
    nesterov: bool = False


class AdamW(Value):
    kind: Literal["adamw"]
    lr: PositiveFloat = 1e-3
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01


Optimizer = Annotated[SGD | AdamW, Field(discriminator="kind")]


class Constant(Value):
    kind: Literal["constant"]
    warmup_epochs: NonNegativeFloat = 0.0


class Cosine(Value):
    kind: Literal["cosine"]
    warmup_epochs: NonNegativeFloat = 0.0
    floor: Fraction = 0.0


class Steps(Value):
    kind: Literal["steps"]
    warmup_epochs: NonNegativeFloat = 0.0
    milestones: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)]
    gain: Annotated[float, Field(gt=0, le=1)] = 0.1


Schedule = Annotated[Constant | Cosine | Steps, Field(discriminator="kind")]


class CrossEntropy(Value):
    kind: Literal["cross_entropy"]
    label_smoothing: Share = 0.0
    scale: PositiveFloat = 1.0


class MeanSquare(Value):
    kind: Literal["mean_square"]


Loss = Annotated[CrossEntropy | MeanSquare, Field(discriminator="kind")]


class ClipNorm(Value):
    kind: Literal["norm"]
    limit: PositiveFloat


class ClipValue(Value):
    kind: Literal["value"]
    limit: PositiveFloat


Clip = Annotated[ClipNorm | ClipValue, Field(discriminator="kind")]
