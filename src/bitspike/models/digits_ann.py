"""A small ordinary network for the 8x8 digits of the package, to be converted."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import widened


@checked
def digits_ann(*, num_classes: int = 10, in_channels: int = 1, width: float = 1.0) -> nn.Module:
    """Build conv 16 - ReLU - pool - conv 32 - ReLU - pool - linear, with batch norms, for images of 8x8.

    Args:
        num_classes: K.
        in_channels: C of the images.
        width: multiplies the channels.

    Shape: [N, C, 8, 8] to [N, K].

    Example:
        >>> sum(p.numel() for p in digits_ann().parameters())
        6138
    """
    first, second = widened(16, width), widened(32, width)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, first, 3, padding=1, bias=False),
            norm1=nn.BatchNorm2d(first),
            relu1=nn.ReLU(),
            pool1=nn.AvgPool2d(2),
            conv2=nn.Conv2d(first, second, 3, padding=1, bias=False),
            norm2=nn.BatchNorm2d(second),
            relu2=nn.ReLU(),
            pool2=nn.AvgPool2d(2),
            flatten=nn.Flatten(),
            linear=nn.Linear(second * 4, num_classes),
        )
    )
