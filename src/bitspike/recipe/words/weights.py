"""The weight path of a recipe: schemes and the rules of their scales, each a word (``kind``) and its numbers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveFloat, Tag

from bitspike.recipe.words.devices import GroupLasso, Variation
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Value

Bits = Annotated[int, Field(ge=1, le=8)]


# Scale rules --------------------------------------------------------------------------------------------------------


class Max(Value):
    makes: ClassVar[str] = "bitspike.weights.scales:Max"
    kind: Literal["max"]
    factor: PositiveFloat = 1.0


class MeanAbs(Value):
    makes: ClassVar[str] = "bitspike.weights.scales:MeanAbs"
    kind: Literal["mean_abs"]
    factor: PositiveFloat = 1.0


class Percentile(Value):
    makes: ClassVar[str] = "bitspike.weights.scales:Percentile"
    kind: Literal["percentile"]
    p: Annotated[float, Field(gt=0, le=100)] = 99.9


class MSE(Value):
    makes: ClassVar[str] = "bitspike.weights.scales:MSE"
    kind: Literal["mse"]
    candidates: Annotated[int, Field(ge=2)] = 50
    smallest: Annotated[float, Field(gt=0, lt=1)] = 0.1


class Constant(Value):
    makes: ClassVar[str] = "bitspike.weights.scales:Constant"
    kind: Literal["constant"]
    value: PositiveFloat


Rule = Annotated[Max | MeanAbs | Percentile | MSE | Constant, Field(discriminator="kind")]


class Dyadic(Value):
    """Round the step of ``rule`` to a power of two."""

    makes: ClassVar[str] = "bitspike.weights.scales:Dyadic"
    kind: Literal["dyadic"]
    rule: Rule = Max(kind="max")


class Coded(Value):
    """Keep the codes of weights that were trained as codes; ``rule`` is for those that were not."""

    makes: ClassVar[str] = "bitspike.weights.scales:Coded"
    kind: Literal["coded"]
    rule: Rule = Max(kind="max")
    tolerance: Annotated[float, Field(gt=0, lt=0.5)] = 1e-3


Scale = Annotated[Max | MeanAbs | Percentile | MSE | Constant | Dyadic | Coded, Field(discriminator="kind")]


# Schemes ------------------------------------------------------------------------------------------------------------


class Uniform(Value):
    makes: ClassVar[str] = "bitspike.weights:Uniform"
    kind: Literal["uniform"]
    bits: Bits
    per_channel: bool = False
    scale: Scale = Max(kind="max")
    clip_gradient: bool = False


class Midrise(Value):
    makes: ClassVar[str] = "bitspike.weights:Midrise"
    kind: Literal["midrise"]
    bits: Bits
    clamp: bool = True


class DoReFa(Value):
    makes: ClassVar[str] = "bitspike.weights:DoReFa"
    kind: Literal["dorefa"]
    bits: Bits


class Ternary(Value):
    makes: ClassVar[str] = "bitspike.weights:Ternary"
    bits: ClassVar[int] = 2
    kind: Literal["ternary"]
    threshold: Scale = MeanAbs(kind="mean_abs", factor=0.7)
    per_channel: bool = False
    scale: Scale = MeanAbs(kind="mean_abs")
    window: PositiveFloat | None = None


class Binary(Value):
    makes: ClassVar[str] = "bitspike.weights:Binary"
    bits: ClassVar[int] = 1
    kind: Literal["binary"]
    per_channel: bool = False
    scale: Scale = MeanAbs(kind="mean_abs")


class PowerOfTwo(Value):
    makes: ClassVar[str] = "bitspike.weights:PowerOfTwo"
    kind: Literal["power_of_two"]
    bits: Bits
    per_channel: bool = False
    scale: Scale = Max(kind="max")


class APoT(Value):
    makes: ClassVar[str] = "bitspike.weights:APoT"
    kind: Literal["apot"]
    bits: Bits
    per_channel: bool = False
    scale: Scale = Max(kind="max")
    normalize: bool = False
    eps: PositiveFloat = 1e-8
    clip_gradient: bool = False


class LearnedClip(Value):
    """Normalized weights within a clip that each layer trains."""

    makes: ClassVar[str] = "bitspike.weights:LearnedClip"
    kind: Literal["learned_clip"]
    bits: Annotated[int, Field(ge=2, le=8)]
    grid: Literal["apot", "uniform"] = "apot"
    clip: Annotated[float, Field(ge=2**-10, allow_inf_nan=False)] = 3.0
    normalize: bool = True
    gradient: Literal["pass", "clip"] = "pass"
    statistics: Literal["constant", "trained"] = "constant"


class Constrained(Value):
    """Constrained backpropagation: weights, trained already, move onto ``levels`` and end there."""

    makes: ClassVar[str] = "bitspike.weights:Constrained"
    kind: Literal["constrained"]
    levels: Annotated[tuple[int, ...], Field(min_length=2)] = (-1, 1)
    per_channel: bool = False
    scale: Scale = MeanAbs(kind="mean_abs")
    multiplier_lr: PositiveFloat = 1e-3
    patience: Annotated[int, Field(ge=1)] = 20
    closings: Annotated[int, Field(ge=1)] = 1
    late_lr: Annotated[float, Field(gt=0, le=1)] = 0.1
    limit: PositiveFloat | None = None

    @property
    def bits(self) -> int:
        """Bits that tell the levels apart."""
        return (len(self.levels) - 1).bit_length()


class FixedPoint(Value):
    makes: ClassVar[str] = "bitspike.weights:FixedPoint"
    kind: Literal["fixed_point"]
    step: PositiveFloat
    bits: Annotated[int, Field(ge=1, le=24)] = 16


class OwnScheme(Own):
    """Called with the bits and the arguments."""

    makes: ClassVar[str] = "bitspike.weights:Scheme"
    section: ClassVar[str] = "weights.quantize"
    bits: Bits

    @property
    def added(self) -> dict[str, Any]:
        """The bits of a code."""
        return {"bits": self.bits}


_Schemes = Uniform | Midrise | DoReFa | Ternary | Binary | PowerOfTwo | APoT | FixedPoint | OwnScheme
Scheme = Annotated[_Schemes, Field(discriminator="kind")]
Quantizer = Annotated[_Schemes | LearnedClip | Constrained, Field(discriminator="kind")]
"""What a weight can be given; a bias has no clip to learn, and no level to be drawn to."""


def _which_end(value: Any) -> str:
    return "float" if isinstance(value, str) else "scheme"


End = Annotated[
    Annotated[Quantizer, Tag("scheme")] | Annotated[Literal["float"], Tag("float")], Discriminator(_which_end)
]
"""What the layers at one end of a network get."""


class SRAM(Value):
    """Exact bits that recover what varies. ``start`` is where they begin: ``rram``, ``zero``, ``xavier``, or the folder
    of a run, or a file of weights.
    """

    makes: ClassVar[str] = "bitspike.weights:SRAM"
    unnamed: ClassVar[tuple[str, ...]] = ("quantize", "halve")

    bits: Literal[1, 2, 3, 4, 5, 6, 7, 8, 32]
    shift: Annotated[int, Field(ge=-16, le=16)] = 0
    start: str = "rram"
    quantize: Scheme | None = None
    halve: bool | None = None
    seed: NonNegativeInt = 0


class Weights(Value):
    """The arguments of ``bs.attach``; patterns are over the names of the model's layers, as in file names.

    ``first`` is for the layers that read what enters, ``last`` for those whose results no other layer reads: a scheme
    of their own, or ``float``; null gives them that of all layers. ``vary``, ``recover`` and ``prune`` put the weights
    that are quantized into memory devices; null, or left out, does not.
    """

    unnamed: ClassVar[tuple[str, ...]] = ("first", "last", "vary", "recover", "prune")

    quantize: Quantizer
    first: End | None = None
    last: End | None = None
    vary: Variation | None = None
    recover: SRAM | None = None
    prune: GroupLasso | None = None
    bias: Scheme | None = None
    include: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    skip: tuple[str, ...] = ()
