"""What images and recordings of events share: what a pixel becomes, how many are held out, moves and mirrors."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

from bitspike.recipe.words.value import Pixel, Value

Portion = Annotated[int, Field(ge=0)] | Annotated[float, Field(gt=0, lt=1)]
"""Some of the samples: a whole number of them, or a fraction."""


class Split(Value):
    """How many samples there are, and how many of the training set are held out.

    ``validation`` samples are taken out of the training set, the ``validation_last`` ones or by class in proportion.
    ``limit`` keeps only so many training and so many test samples.
    """

    validation: Portion = 0.1
    validation_last: bool = False
    limit: PositiveInt | None = None


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


class Shift(Value):
    makes: ClassVar[str] = "bitspike.data:Shift"
    kind: Literal["shift"]
    pixels: PositiveInt
    fill: Pixel | tuple[Pixel, ...] | None = None


class Flip(Value):
    makes: ClassVar[str] = "bitspike.data:Flip"
    kind: Literal["flip"]
