"""The border that the host puts around an image, so that a layer may read it with its mean at the edges.

A convolution that pads a normalized image sees the mean around it, which is not the code 0 of a pixel. So it pads
nothing in integers, and the host gives it an image that is larger by the border.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bitspike.errors import PackageError
from bitspike.integer.arithmetic import Integers, Shape

KEY = "border"
"""Where a network's ``source`` holds it, as JSON."""


@dataclass(frozen=True)
class Border:
    """Codes around an image.

    Args:
        before, after: how many places of each axis after the channels.
        codes: one for each channel.
    """

    before: Shape
    after: Shape
    codes: tuple[int, ...]

    def image(self, shape: Shape) -> Shape:
        """Return the shape of the image in what a network reads, both channels first.

        Example:
            >>> Border((1, 1), (1, 1), (124, 116, 104)).image((3, 34, 34))
            (3, 32, 32)
        """
        sides = zip(shape[1:], self.before, self.after, strict=True)
        return shape[0], *(size - before - after for size, before, after in sides)

    def around(self, codes: Integers) -> Integers:
        """Return the codes of images [..., C, *places] with the border around each.

        Example:
            >>> Border((1,), (0,), (7, 9)).around(np.array([[1, 2], [3, 4]])).tolist()
            [[7, 1, 2], [9, 3, 4]]
        """
        places = len(self.before)
        shape = codes.shape[:-places] + tuple(
            size + before + after
            for size, before, after in zip(codes.shape[-places:], self.before, self.after, strict=True)
        )
        whole = np.empty(shape, codes.dtype)
        whole[...] = np.array(self.codes).reshape(-1, *[1] * places)
        sides = zip(self.before, codes.shape[-places:], strict=True)
        inside: tuple[Any, ...] = (..., *(slice(before, before + n) for before, n in sides))
        whole[inside] = codes
        return whole

    def said(self) -> dict[str, str]:
        """Return the entry of a network's ``source`` that holds it."""
        return {KEY: json.dumps(asdict(self))}


def border_in(source: Mapping[str, str], shape: Shape) -> Border | None:
    """Return the border that a network's ``source`` holds, around what it reads; None where there is none.

    Raises:
        PackageError: it holds something else, or a border that leaves no image.

    Example:
        >>> border_in(Border((1, 1), (1, 1), (124,)).said(), (1, 10, 10))
        Border(before=(1, 1), after=(1, 1), codes=(124,))
    """
    if KEY not in source:
        return None
    try:
        raw = json.loads(source[KEY])
        border = Border(**{name: tuple(raw[name]) for name in ("before", "after", "codes")})
        numbers = (*border.before, *border.after, *border.codes)
        sound = all(type(n) is int for n in numbers) and min(*border.before, *border.after) >= 0
        if sound and len(border.codes) == shape[0] and min(border.image(shape)) > 0:
            return border
    except (ValueError, TypeError, KeyError):
        pass
    raise PackageError(
        f"the network's source says a border of {source[KEY]!r}, which is none around {list(shape)}",
        fix="lower and save the network again",
    )
