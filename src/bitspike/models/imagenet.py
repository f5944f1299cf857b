"""AlexNet and VGG16 for ImageNet without max pooling: ordinary networks of ReLUs, to be quantized and converted.

Convolutions that stride take the place of the pools, so that a network becomes spiking as it is. Every layer but the
last has a batch norm and a ReLU and no bias. Parts are named layer1.conv, layer1.norm, neuron1, ..., layer6.linear,
layer6.norm, neuron6, ..., as in the spiking networks; what stands at neuron1 is a ReLU.

Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868, and its code, after Krizhevsky et al., NeurIPS 2012, and
Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, table 1, column D.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import initialize, sides
from bitspike.models.spiking.strided import Convolution, strided_network

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


@checked
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
        >>> net.layer6.linear
        Linear(in_features=16, out_features=256, bias=False)
    """
    sizes = sides("alexnet_imagenet", image_size, multiple=32, least=64)  # of 32 pixels the strides leave nothing
    return _network(ALEXNET, sizes, num_classes, in_channels, width)


@checked
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
        >>> net.layer14.linear
        Linear(in_features=32, out_features=256, bias=False)
    """
    sizes = sides("vgg16_imagenet", image_size, multiple=32)
    return _network(VGG16, sizes, num_classes, in_channels, width)


def _network(
    convolutions: Sequence[Convolution], sizes: tuple[int, int], num_classes: int, in_channels: int, width: float
) -> nn.Module:
    net = strided_network(
        convolutions,
        HIDDEN,
        steps=None,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sizes,
        neuron=nn.ReLU,
        norm=nn.BatchNorm2d,
        width=width,
    )
    initialize(net)
    return net
