"""Samples that bring what a network sees at every step: recordings of events, and images as sequences."""

from __future__ import annotations

from typing import ClassVar, Literal

from bitspike.recipe.words.pixels import Pixels, Split


class ByStep(Split):
    """Samples of ``model.steps`` frames, one for every step, which the encoder ``frames`` takes."""

    brings: ClassVar[str] = "frames"
    """What such a sample is called in messages."""


class ImageSequence(ByStep):
    """Images that are read a part at a time, as sequential MNIST is: ``model.steps`` parts of as many pixels each.

    As many steps as an image has rows show a row at each. ``of`` says which images, and ``root: null`` searches the
    usual places for them.
    """

    brings: ClassVar[str] = "images in parts"
    kind: Literal["sequence"]
    of: Literal["mnist", "digits", "cifar10", "cifar100"]
    pixels: Pixels = Pixels(scale=2**-8)
    augment: tuple[()] = ()
    root: str | None = None
    download: bool = False
