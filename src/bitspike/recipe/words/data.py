"""The section ``data``: which images, images in parts (:mod:`.sequences`) or recordings of events (:mod:`.events`)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from bitspike.recipe.words.events import AnyEvents
from bitspike.recipe.words.own import Own
from bitspike.recipe.words.pixels import AnyPixels, Flip, Normalization, Pixels, Shift, Split
from bitspike.recipe.words.sequences import ImageSequence
from bitspike.recipe.words.value import Pixel, Value


class RandomCrop(Value):
    """A random box of a photo, while it is read: of kind ``imagenet`` only, and the first augmentation there."""

    makes: ClassVar[str] = "bitspike.data:RandomCrop"
    kind: Literal["random_crop"]
    area: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (0.1, 1.0)
    aspect: tuple[PositiveFloat, PositiveFloat] = (0.8, 1.25)


class AutoAugment(Value):
    """The policies of CIFAR-10."""

    makes: ClassVar[str] = "bitspike.data:AutoAugment"
    kind: Literal["auto_augment"]


class Cutout(Value):
    makes: ClassVar[str] = "bitspike.data:Cutout"
    kind: Literal["cutout"]
    pixels: PositiveInt


Augmentation = Annotated[Shift | Flip | RandomCrop | AutoAugment | Cutout, Field(discriminator="kind")]


class _Data(Split):
    """Images to learn from; ``root: null`` searches the usual places."""

    pixels: AnyPixels
    augment: tuple[Augmentation, ...] = ()

    @model_validator(mode="after")
    def _crops_photos(self) -> Self:
        places = [n for n, word in enumerate(self.augment) if isinstance(word, RandomCrop)]
        if places and not isinstance(self, ImageNet):
            raise ValueError("data.augment has random_crop, which cuts photos while they are read: kind: imagenet does")
        if places not in ([], [0]):
            raise ValueError(f"data.augment.{places[-1]} is random_crop, which comes first and once")
        return self


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


class TinyImageNet(_Data):
    """Photos of 64x64 pixels; its validation photos are the test images."""

    kind: Literal["tiny_imagenet"]
    root: str | None = None
    pixels: AnyPixels = Pixels(scale=2**-6, offset=(122, 114, 101))


class Folder(_Data):
    kind: Literal["folder"]
    root: str
    size: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    channels: Literal[1, 3] | None = None
    pixels: AnyPixels = Pixels(scale=2**-8)


class ImageNet(_Data):
    """Photos in ROOT/{train,val}/<class>/<file>, read from disk when they are needed; any set of large images.

    Training takes random boxes where ``augment`` begins with ``random_crop``; everything else takes the middle, the
    shorter side resized to ``resize`` first (null: 8/7 of ``size``). ``reader: auto`` is DALI where it is installed and
    there is a CUDA device, else simplejpeg where it is installed, else Pillow. ``workers`` are threads of each process;
    null is one for each core.
    """

    kind: Literal["imagenet"]
    root: str
    size: PositiveInt = 224
    resize: PositiveInt | None = None
    channels: Literal[1, 3] = 3
    reader: Literal["auto", "dali", "simplejpeg", "pillow"] = "auto"
    workers: NonNegativeInt | None = None
    pixels: AnyPixels = Normalization(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    augment: tuple[Augmentation, ...] = (RandomCrop(kind="random_crop"), Flip(kind="flip"))

    @model_validator(mode="after")
    def _middle_fits(self) -> Self:
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"data.resize is {self.resize}, shorter than data.size {self.size}: the middle is cut out")
        return self


class OwnImages(Own, _Data):
    """Called with ``split``, which is ``train`` or ``test``, and the arguments; ``high_pixel`` is the largest pixel."""

    makes: ClassVar[str] = "bitspike.data:ImageSet"
    section: ClassVar[str] = "data"
    high_pixel: Pixel = 255
    pixels: AnyPixels = Pixels(scale=2**-8)


Data = Annotated[
    Digits | MNIST | CIFAR10 | CIFAR100 | TinyImageNet | Folder | ImageNet | OwnImages | ImageSequence | AnyEvents,
    Field(discriminator="kind"),
]


def set_of(data: Data) -> str:
    """Return the name of the set that samples come from: the kind of the data, and of images in parts which images.

    Example:
        >>> from bitspike.recipe.words.sequences import ImageSequence
        >>> set_of(ImageSequence(kind="sequence", of="mnist"))
        'mnist'
    """
    return data.of if isinstance(data, ImageSequence) else data.kind
