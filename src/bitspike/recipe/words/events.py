"""Recordings of event cameras in the section ``data``: which ones, and how events become frames."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bitspike.recipe.words.pixels import Flip, Pixels, Shift
from bitspike.recipe.words.sequences import ByStep
from bitspike.recipe.words.value import Value


class ByNumber(Value):
    makes: ClassVar[str] = "bitspike.data:ByNumber"
    kind: Literal["by_number"]


class ByTime(Value):
    """``window`` is in microseconds; null divides the whole recording."""

    makes: ClassVar[str] = "bitspike.data:ByTime"
    kind: Literal["by_time"]
    window: PositiveInt | None = None


Framing = Annotated[ByNumber | ByTime, Field(discriminator="kind")]


class SomeFrames(Value):
    """Train on ``frames`` of all frames, drawn anew for every recording and epoch; ``of`` is ``model.steps``."""

    makes: ClassVar[str] = "bitspike.data:SomeFrames"
    kind: Literal["some_frames"]
    frames: PositiveInt
    of: PositiveInt


EventAugmentation = Annotated[Shift | Flip | SomeFrames, Field(discriminator="kind")]


class Events(ByStep):
    """Recordings to learn from, each as ``model.steps`` frames, which count the events of every pixel and polarity.

    An input is a count times ``pixels.scale``. ``most`` cuts counts to it; null cuts nothing, and the grid of the input
    is as wide as the counts are.
    """

    brings: ClassVar[str] = "recordings of events"
    frames: Framing = ByNumber(kind="by_number")
    most: Annotated[int, Field(ge=1, le=32767)] | None = None
    pixels: Pixels = Pixels(scale=1.0)
    augment: tuple[EventAugmentation, ...] = ()

    @model_validator(mode="after")
    def _counts_begin_at_zero(self) -> Self:
        if any(self.pixels.offset):
            raise ValueError(f"data.pixels.offset is {list(self.pixels.offset)}: a pixel without events is 0")
        return self


class _OnDisk(Events):
    """``root: null`` searches the usual places; ``cache: null`` keeps frames in the user's cache."""

    root: str | None = None
    cache: str | None = None


class DigitsEvents(Events):
    """The digits of the package before a simulated camera."""

    kind: Literal["digits_events"]


class NMNIST(_OnDisk):
    kind: Literal["nmnist"]


class CIFAR10DVS(_OnDisk):
    kind: Literal["cifar10_dvs"]


class DVSGesture(_OnDisk):
    kind: Literal["dvs_gesture"]


class EventFolder(_OnDisk):
    """Recordings in ROOT/{train,test}/<class>/<file>; ``size``, height and width, where the files do not tell it."""

    kind: Literal["event_folder"]
    root: str
    size: tuple[PositiveInt, PositiveInt] | None = None


AnyEvents = DigitsEvents | NMNIST | CIFAR10DVS | DVSGesture | EventFolder
