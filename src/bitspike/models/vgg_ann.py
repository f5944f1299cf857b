"""An ordinary VGG11 for small images, to be converted."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from bitspike.models.spiking.blocks import initialize, sides, widened

LAYERS = ((64, 1), (128, 2), (256, 2), (256, 1), (512, 2), (512, 1), (512, 2), (512, 1))
"""Channels and stride of the convolutions: configuration A, the first layer after each pool strides in its place."""


def vgg11_ann(
    *, num_classes: int = 10, in_channels: int = 3, image_size: int | tuple[int, int] = 32, width: float = 1.0
) -> nn.Module:
    """Build eight 3x3 convolutions of 64 to 512 channels, each with a batch norm and a ReLU, and a linear layer.

    Strided convolutions replace the pools: few chips support max pooling of spikes, and an average pool before a 3x3
    convolution acts like a 6x6 kernel on the chip. One linear layer replaces the three of the original, as is usual for
    images of 32x32.

    Args:
        num_classes: K.
        in_channels: C of the images.
        image_size: height and width, multiples of 16.
        width: multiplies the channels.

    Shape: [N, C, H, W] to [N, K].

    Raises:
        ConstraintError: the image size does not fit, or a value is not allowed.

    Example:
        >>> sum(p.numel() for p in vgg11_ann().parameters())
        9243722

    Source: Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, table 1, column A.
    """
    height, columns = sides("vgg11_ann", image_size, multiple=16)
    layers: list[tuple[str, nn.Module]] = []
    channels = in_channels
    for number, (out, stride) in enumerate(LAYERS, start=1):
        out = widened(out, width)
        layers += [
            (f"conv{number}", nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)),
            (f"norm{number}", nn.BatchNorm2d(out)),
            (f"relu{number}", nn.ReLU()),
        ]
        channels = out
    layers += [
        ("flatten", nn.Flatten()),
        ("linear", nn.Linear(channels * (height // 16) * (columns // 16), num_classes)),
    ]
    net = nn.Sequential(OrderedDict(layers))
    initialize(net)
    return net
