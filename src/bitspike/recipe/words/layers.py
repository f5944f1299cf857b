"""The norms, encoders and read-outs of a recipe."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat

from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Fraction, Value


class _Norm(Value):
    def for_layer(self, channels: int, threshold: float, steps: int, branches: int) -> dict[str, Any]:
        """Return what a recipe does not say: what depends on the layer, the neuron after it and the branches added."""
        return {"channels": channels}


class BatchNorm(_Norm):
    makes: ClassVar[str] = "torch.nn:BatchNorm2d"
    kind: Literal["batch"]
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1

    def for_layer(self, channels: int, threshold: float, steps: int, branches: int) -> dict[str, Any]:
        """As of every norm, by the name that torch gives it."""
        return {"num_features": channels}


class ThresholdBatchNorm(_Norm):
    """``threshold: null`` takes the neuron's; ``alpha: shared`` is 1/sqrt(n) on each of n branches that are added."""

    makes: ClassVar[str] = "bitspike.nn:ThresholdBatchNorm"
    kind: Literal["threshold"]
    threshold: PositiveFloat | None = None
    alpha: PositiveFloat | Literal["shared"] = 1.0
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1

    def for_layer(self, channels: int, threshold: float, steps: int, branches: int) -> dict[str, Any]:
        """As of every norm, and the threshold, and the share of a branch."""
        alpha = branches**-0.5 if self.alpha == "shared" else self.alpha
        return {"channels": channels, "threshold": self.threshold or threshold, "alpha": alpha}


class ShiftBatchNorm(_Norm):
    makes: ClassVar[str] = "bitspike.nn:ShiftBatchNorm"
    kind: Literal["shift"]
    gain: PositiveFloat = 1.0
    grid: PositiveFloat = 2**-8
    eps: PositiveFloat = 1e-5
    momentum: Fraction = 0.1


class BatchNormThroughTime(_Norm):
    """A batch norm for every step of the model."""

    makes: ClassVar[str] = "bitspike.nn:BatchNormThroughTime"
    kind: Literal["bntt"]
    eps: PositiveFloat = 1e-4
    momentum: Fraction = 0.1
    grid: PositiveFloat | None = None

    def for_layer(self, channels: int, threshold: float, steps: int, branches: int) -> dict[str, Any]:
        """As of every norm, and the steps."""
        return {"channels": channels, "steps": steps}


class OwnNorm(Own, _Norm):
    makes: ClassVar[str] = "torch.nn:Module"
    section: ClassVar[str] = "norm"


Norm = Annotated[
    BatchNorm | ThresholdBatchNorm | ShiftBatchNorm | BatchNormThroughTime | OwnNorm, Field(discriminator="kind")
]


class Repeat(Value):
    makes: ClassVar[str] = "bitspike.nn:Repeat"
    kind: Literal["repeat"]


class BernoulliCoder(Value):
    makes: ClassVar[str] = "bitspike.nn:BernoulliCoder"
    kind: Literal["bernoulli"]
    divisor: PositiveFloat = 1.0


class RateCoder(Value):
    makes: ClassVar[str] = "bitspike.nn:RateCoder"
    kind: Literal["rate"]


class Frames(Value):
    """For recordings of events and for sequences, which bring a frame for every step."""

    makes: ClassVar[str] = "bitspike.nn:Frames"
    kind: Literal["frames"]


Encoder = Annotated[Repeat | BernoulliCoder | RateCoder | Frames, Field(discriminator="kind")]


class RateReadout(Value):
    makes: ClassVar[str] = "bitspike.nn:RateReadout"
    kind: Literal["rate"]


class SumReadout(Value):
    makes: ClassVar[str] = "bitspike.nn:SumReadout"
    kind: Literal["sum"]


Readout = Annotated[RateReadout | SumReadout, Field(discriminator="kind")]
