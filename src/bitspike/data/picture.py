"""The first sample of a set as people see it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from bitspike.data.events.event_set import EventSet
from bitspike.data.images.images import Images


def picture(images: Images) -> npt.NDArray[np.uint8]:
    """Return the first image, its largest possible pixel as 255: uint8 [H, W] or [H, W, 3].

    Of a recording all frames are shown at once: red where pixels became brighter, blue where they became darker. An
    image that is read in parts is whole again.

    Example:
        >>> from bitspike.data import load
        >>> picture(load("digits", "test")).shape
        (8, 8)
    """
    pixels = images.first(1)[0].to(torch.int64)
    if isinstance(images, EventSet) and images.whole:
        pixels = pixels.reshape(*images.whole, -1)
    if pixels.dim() == 3:
        return (pixels * 255 // max(1, images.brightest())).to(torch.uint8).squeeze(-1).numpy()
    darker, brighter = (pixels.sum(0) * 255 // max(1, int(pixels.sum(0).max()))).unbind(-1)
    return torch.stack([brighter, torch.zeros_like(darker), darker], 2).to(torch.uint8).numpy()
