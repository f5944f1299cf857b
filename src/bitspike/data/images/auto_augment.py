"""AutoAugment and Cutout: two augmentations that networks for CIFAR are often trained with."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError

PLACES = 2**24
"""Outcomes of the choice of a row or column, of which an image of H rows makes H ranges."""
Operation = Callable[[Tensor, int, list[float]], Tensor]
"""Of images, uint8 [N, C, H, W], the number of a magnitude, -9 to 9, and what comes in at a border."""


@checked
@dataclass(frozen=True)
class Cutout:
    """Blank out a square of every image, whose middle is any of its pixels: at a border less is seen of the square.

    Args:
        pixels: its side, at least 1; 16 is usual for CIFAR-10.

    Raises:
        ConstraintError: ``pixels`` is no whole number from 1.

    Source: DeVries and Taylor 2017, arXiv 1708.04552, section 3.2.

    Example:
        >>> image = torch.ones(1, 3, 3, 1, dtype=torch.uint8)
        >>> Cutout(2).apply(image, torch.tensor([[0, PLACES - 1]]), blank=(7,)).view(3, 3).tolist()
        [[1, 7, 7], [1, 1, 1], [1, 1, 1]]
    """

    pixels: int

    def __post_init__(self) -> None:
        if isinstance(self.pixels, bool) or not isinstance(self.pixels, int) or self.pixels < 1:
            raise ConstraintError(
                f"Cutout(pixels={self.pixels!r}): a whole number of at least 1 is needed", fix="Cutout(16)"
            )

    @property
    def choices(self) -> tuple[int, ...]:
        return PLACES, PLACES

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        rows, columns = (self._covered(chosen[:, axis], images.shape[1 + axis]) for axis in (0, 1))
        return torch.where((rows[:, :, None] & columns[:, None])[..., None], images.new_tensor(blank), images)

    def _covered(self, chosen: Tensor, side: int) -> Tensor:
        """Return which rows, or columns, the square covers: bool [N, side]."""
        first = (chosen * side // PLACES - self.pixels // 2)[:, None]
        places = torch.arange(side, device=chosen.device)
        return (places >= first) & (places < first + self.pixels)


@checked
@dataclass(frozen=True)
class AutoAugment:
    """Change every image by one of the 25 policies found for CIFAR-10: two operations, each with its probability.

    Operations, policies and the ten magnitudes are those of torchvision; all images that get the same operation are
    changed at once. What comes in at a border is the pixel that becomes input 0. For images of one or three channels.

    Source: Cubuk et al., CVPR 2019, arXiv 1805.09501, tables 7 and 6.

    Example:
        >>> image = torch.full((1, 4, 4, 3), 200, dtype=torch.uint8)
        >>> chosen = torch.tensor([[0, 0, 9, 0, 0]])  # the first policy: invert in 1 of 10, contrast in 2 of 10
        >>> int(AutoAugment().apply(image, chosen, blank=(0,))[0, 0, 0, 0])
        55
    """

    @property
    def choices(self) -> tuple[int, ...]:
        return len(_policies()), 10, 10, 2, 2

    def apply(self, images: Tensor, chosen: Tensor, *, blank: tuple[int, ...]) -> Tensor:
        channels = images.shape[3]
        if channels not in (1, 3):
            raise ConstraintError(
                f"AutoAugment changes colours, and these images have {channels} channels; allowed are 1 and 3",
                fix="Shift, Flip and Cutout, which change images of any channels",
            )
        fill = [float(b) for b in (blank if len(blank) == channels else blank * channels)]
        result = images.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)
        for policy in set(chosen[:, 0].tolist()):
            for number, (name, probability, magnitude) in enumerate(_policies()[policy]):
                does = (chosen[:, 0] == policy) & (chosen[:, 1 + number] < round(10 * probability))
                for sign in (1, -1):
                    where = torch.nonzero(does & (chosen[:, 3 + number] == (sign < 0)))[:, 0]
                    if len(where):
                        result[where] = _operations()[name](result[where], sign * (magnitude or 0), fill)
        return result.permute(0, 2, 3, 1)


@functools.cache
def _policies() -> list[tuple[tuple[str, float, int | None], ...]]:
    """Return the policies: of each two operations with probability and number of the magnitude."""
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    return list(AutoAugment(AutoAugmentPolicy.CIFAR10).policies)


def _functional() -> Any:
    """Return torchvision's operations of images. Importing them takes longer than torch itself, and few recipes do."""
    from torchvision.transforms import functional

    return functional


def _moved(images: Tensor, fill: list[float], **change: list[float]) -> Tensor:
    """Return images after an affine map: ``shear`` in degrees, around the corner, or ``translate`` in pixels."""
    center = [0, 0] if "shear" in change else None
    whole = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0]} | change
    moved: Tensor = _functional().affine(images, **whole, fill=fill, center=center)
    return moved


def _sheared(x: Tensor, m: int, fill: list[float], axis: int) -> Tensor:
    return _moved(x, fill, shear=_on(axis, math.degrees(math.atan(_part(m, 0.3)))))


def _shifted(x: Tensor, m: int, fill: list[float], axis: int) -> Tensor:
    return _moved(x, fill, translate=_on(axis, int(_part(m, 150 / 331 * x.shape[3 - axis]))))


def _on(axis: int, value: float) -> list[float]:
    return [value, 0.0] if axis == 0 else [0.0, value]


def _part(m: int, top: float) -> float:
    """Return the magnitude of a number, as torchvision rounds it.

    Example:
        >>> _part(-9, 30.0), _part(0, 30.0)
        (-30.0, 0.0)
    """
    return math.copysign(float(torch.linspace(0.0, top, 10)[abs(m)]), m)


@functools.cache
def _operations() -> dict[str, Operation]:
    """Return the operations by the names that policies have for them."""
    F = _functional()
    return {
        "ShearX": partial(_sheared, axis=0),
        "ShearY": partial(_sheared, axis=1),
        "TranslateX": partial(_shifted, axis=0),
        "TranslateY": partial(_shifted, axis=1),
        "Rotate": lambda x, m, fill: F.rotate(x, _part(m, 30.0), fill=fill),
        "Brightness": lambda x, m, _: F.adjust_brightness(x, 1.0 + _part(m, 0.9)),
        "Color": lambda x, m, _: F.adjust_saturation(x, 1.0 + _part(m, 0.9)),
        "Contrast": lambda x, m, _: F.adjust_contrast(x, 1.0 + _part(m, 0.9)),
        "Sharpness": lambda x, m, _: F.adjust_sharpness(x, 1.0 + _part(m, 0.9)),
        "Posterize": lambda x, m, _: F.posterize(x, 8 - round(abs(m) / 2.25)),
        "Solarize": lambda x, m, _: F.solarize(x, float(torch.linspace(255.0, 0.0, 10)[abs(m)])),
        "AutoContrast": lambda x, _, __: F.autocontrast(x),
        "Equalize": lambda x, _, __: F.equalize(x),
        "Invert": lambda x, _, __: F.invert(x),
    }
