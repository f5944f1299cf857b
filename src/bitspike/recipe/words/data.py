"""The section ``data``: which images, how many of them are held out, what a pixel becomes."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, PositiveFloat, PositiveInt, Tag

from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Pixel, Value

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


class Shift(Value):
    makes: ClassVar[str] = "bitspike.data:Shift"
    kind: Literal["shift"]
    pixels: PositiveInt
    fill: Pixel | tuple[Pixel, ...] | None = None


class Flip(Value):
    makes: ClassVar[str] = "bitspike.data:Flip"
    kind: Literal["flip"]


Augmentation = Annotated[Shift | Flip, Field(discriminator="kind")]


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


class OwnImages(Own, _Data):
    """Called with ``split``, which is ``train`` or ``test``, and the arguments; ``high_pixel`` is the largest pixel."""

    makes: ClassVar[str] = "bitspike.data:ImageSet"
    section: ClassVar[str] = "data"
    high_pixel: Pixel = 255
    pixels: AnyPixels = Pixels(scale=2**-8)


Data = Annotated[Digits | MNIST | CIFAR10 | CIFAR100 | Folder | OwnImages, Field(discriminator="kind")]
