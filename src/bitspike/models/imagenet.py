"""AlexNet and VGG16 for ImageNet without max pooling: ordinary networks of ReLUs, to be quantized and converted.

Convolutions that stride take the place of the pools, so that a network becomes spiking as it is. Every layer but the
last has a batch norm and a ReLU and no bias. Parts are named conv1, norm1, relu1, ..., linear1, norm6, relu6, ...,
linear, in the order of the network.

Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868, and its code, after Krizhevsky et al., NeurIPS 2012, and
Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, table 1, column D.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from bitspike.models.spiking.blocks import initialize, sides, widened


class Convolution(NamedTuple):
    """A convolution: its channels, and kernel, stride and padding in pixels."""

    channels: int
    stride: int = 1
    kernel: int = 3
    padding: int = 1

    def side(self, pixels: int) -> int:
        """Return how many pixels come out along a side of so many."""
        return (pixels + 2 * self.padding - self.kernel) // self.stride + 1


ALEXNET = (
    Convolution(64, 4, kernel=11, padding=2),
    Convolution(192, 2, kernel=5),
    Convolution(384, 2, padding=0),
    Convolution(256),
    Convolution(256, 2, padding=0),
)
VGG16 = tuple(
    Convolution(channels, stride)
    for channels, strides in ((64, (1, 2)), (128, (1, 2)), (256, (1, 1, 2)), (512, (1, 1, 2)), (512, (1, 1, 2)))
    for stride in strides
)
HIDDEN = (4096, 4096)
"""Widths of the linear layers before the last."""


def alexnet_imagenet(
    *, num_classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, width: float = 1.0
) -> nn.Module:
    """Build five convolutions (64 of 11x11, 192 of 5x5, then 384, 256, 256 of 3x3) and linear layers 4096, 4096, K.

    Four of the convolutions stride: by 4, 2, 2 and 2. From 224x224 pixels 256 x 6 x 6 = 9216 values reach the linear
    layers. Of multiples of 32 every stride but the first reads all pixels that there are.

    Args:
        num_classes: K.
        in_channels: C of the images.
        image_size: height and width, multiples of 32 from 64 on.
        width: multiplies the channels and the hidden linear layers.

    Shape: [N, C, H, W] to [N, K].

    Raises:
        ConstraintError: the image size does not fit, or a value is not allowed.

    Example:
        >>> net = alexnet_imagenet(image_size=64, width=1 / 16, num_classes=10)
        >>> net.linear1
        Linear(in_features=16, out_features=256, bias=False)
    """
    sizes = sides("alexnet_imagenet", image_size, multiple=32, least=64)  # of 32 pixels the strides leave nothing
    return _network(ALEXNET, sizes, num_classes, in_channels, width)


def vgg16_imagenet(
    *, num_classes: int = 1000, in_channels: int = 3, image_size: int | tuple[int, int] = 224, width: float = 1.0
) -> nn.Module:
    """Build thirteen 3x3 convolutions (64, 128, 256, 512, 512 channels) and linear layers 4096, 4096, K.

    The last convolution of each of the five blocks strides by 2. From 224x224 pixels 512 x 7 x 7 = 25088 values reach
    the linear layers.

    Args:
        num_classes: K.
        in_channels: C of the images.
        image_size: height and width, multiples of 32.
        width: multiplies the channels and the hidden linear layers.

    Shape: [N, C, H, W] to [N, K].

    Raises:
        ConstraintError: the image size does not fit, or a value is not allowed.

    Example:
        >>> net = vgg16_imagenet(image_size=32, width=1 / 16, num_classes=10)
        >>> net.linear1
        Linear(in_features=32, out_features=256, bias=False)
    """
    sizes = sides("vgg16_imagenet", image_size, multiple=32)
    return _network(VGG16, sizes, num_classes, in_channels, width)


def _network(
    convolutions: Sequence[Convolution], sizes: tuple[int, int], num_classes: int, in_channels: int, width: float
) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    height, columns = sizes
    channels = in_channels
    for number, wanted in enumerate(convolutions, start=1):
        out = widened(wanted.channels, width)
        layers[f"conv{number}"] = nn.Conv2d(
            channels, out, wanted.kernel, wanted.stride, padding=wanted.padding, bias=False
        )
        layers[f"norm{number}"] = nn.BatchNorm2d(out)
        layers[f"relu{number}"] = nn.ReLU()
        channels, height, columns = out, wanted.side(height), wanted.side(columns)
    layers["flatten"] = nn.Flatten()
    values = channels * height * columns
    for number, wide in enumerate(HIDDEN, start=1):
        out, place = widened(wide, width), len(convolutions) + number
        layers[f"linear{number}"] = nn.Linear(values, out, bias=False)
        layers[f"norm{place}"] = nn.BatchNorm1d(out)
        layers[f"relu{place}"] = nn.ReLU()
        values = out
    layers["linear"] = nn.Linear(values, num_classes)
    net = nn.Sequential(layers)
    initialize(net)
    return net
