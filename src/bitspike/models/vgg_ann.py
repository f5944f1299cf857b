"""Ordinary VGG11 and VGG16 for small images, to be converted."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import initialize, sides, widened

LAYERS = ((64, 1), (128, 2), (256, 2), (256, 1), (512, 2), (512, 1), (512, 2), (512, 1))
"""Channels and stride of the convolutions: configuration A, the first layer after each pool strides in its place."""


@checked
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


VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of the convolutions before each average pool: configuration D."""


@checked
def vgg16_ann(
    *,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    width: float = 1.0,
    norm: bool = False,
    dropout: float = 0.25,
) -> nn.Module:
    """Build the VGG16 of SNN calibration: thirteen 3x3 convolutions, 2x2 average pools and one linear layer.

    The originals make of each average pool a convolution with fixed weights and a ReLU, which changes nothing since
    what it pools is not negative; ``average_pool="neuron"`` of ``bs.convert`` makes it a neuron as they do.

    Args:
        num_classes: K.
        in_channels: C of the images.
        image_size: height and width, multiples of 32.
        width: multiplies the channels.
        norm: a batch norm after every convolution; without it a dropout after every ReLU.
        dropout: what it drops of the activations, in [0, 1).

    Shape: [N, C, H, W] to [N, K].

    Raises:
        ConstraintError: the image size does not fit, or a value is not allowed.

    Example:
        >>> net = vgg16_ann(num_classes=100)
        >>> sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        14761664

    Source: Li et al., ICML 2021, arXiv 2106.06984, and its code; Simonyan and Zisserman, ICLR 2015, column D.
    """
    height, columns = sides("vgg16_ann", image_size, multiple=32)
    layers: list[tuple[str, nn.Module]] = []
    channels = in_channels
    for stage, widths in enumerate(VGG16, start=1):
        for number, out in enumerate(widths, start=1):
            name, out = f"{stage}_{number}", widened(out, width)
            layers.append((f"conv{name}", nn.Conv2d(channels, out, 3, padding=1)))
            layers += [(f"norm{name}", nn.BatchNorm2d(out))] if norm else []
            layers.append((f"relu{name}", nn.ReLU()))
            layers += [] if norm else [(f"dropout{name}", nn.Dropout(dropout))]
            channels = out
        layers.append((f"pool{stage}", nn.AvgPool2d(2)))
    linear = nn.Linear(channels * (height // 32) * (columns // 32), num_classes)
    net = nn.Sequential(OrderedDict([*layers, ("flatten", nn.Flatten()), ("linear", linear)]))
    initialize(net)
    nn.init.normal_(linear.weight, std=1 / linear.in_features)
    return net
