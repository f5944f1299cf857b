"""Words of the command line and images that the journeys' tests share."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from bitspike.data import ImageSet, load

SMALL = ("model.width=0.25", "data.limit=120", "training.epochs=2", "expect=null")
"""Makes a second's work of the quickstart."""


def sets(*changes: str) -> list[str]:
    """Return changes as words of the command line."""
    return [word for change in changes for word in ("--set", change)]


def large_digits(split: str) -> ImageSet:
    """Return the packaged digits as 28x28 images from 0 to 255, as MNIST has them."""
    digits = load("digits", split)
    pixels = F.interpolate(digits.images.permute(0, 3, 1, 2).float() * (255 / 16), size=20, mode="bilinear")
    images = F.pad(pixels.round().clamp(0, 255), (4, 4, 4, 4)).to(torch.uint8).permute(0, 2, 3, 1)
    return ImageSet(images.contiguous(), digits.labels, digits.classes, "large digits")
