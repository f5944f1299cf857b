"""The residual networks for small images: the narrow ones of 6n + 2 layers, and wide ones of 18 and 19.

Sources: He et al., CVPR 2016, arXiv 1512.03385, section 4.2, with 1x1 convolutions where the shape changes, as in
Hu et al. 2023 (Fast-SNN), arXiv 2305.19868; the wide ones in the layout of Zheng et al., AAAI 2021, arXiv 2011.05280.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, sides, usual_neuron
from bitspike.models.spiking.residual import residual_network
from bitspike.models.spiking.stbp import stbp_lif
from bitspike.nn import RateReadout, Repeat, ThresholdBatchNorm

WIDE = ((128, 3, 1), (256, 3, 2), (512, 2, 2))
"""Stages of the wide networks: channels, blocks, stride of the first block."""


@checked
def resnet(
    *,
    depth: int = 20,
    steps: int | None = 4,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make | None = None,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build a ResNet of 6n + 2 layers: stem 16, three stages of n blocks with 16, 32, 64 channels, mean, linear K.

    A block is conv - norm - neuron - conv - norm, the shortcut added, neuron; the second and third stage start with a
    stride of 2 and a 1x1 convolution with a norm as shortcut. Only the last layer has a bias; its currents are the
    logits. One definition makes the spiking network and those without time, ``steps=None`` with ReLUs or with
    ``neuron=lambda: QuantReLU(bits=4)``: weights and norms have the same names in all three.

    Args, with those of :mod:`bitspike.models.spiking`:
        depth: 6n + 2 with n >= 1: 20, 32, 44, 56, 110 are the usual ones.
        steps: T, or None.
        image_size: multiples of 4.
        neuron: None for IF neurons, or for ReLUs where there are no steps.

    Example:
        >>> sum(p.numel() for p in resnet(depth=20, steps=None).parameters())
        272474
    """
    if depth < 8 or depth % 6 != 2:
        near = [max(8, depth - (depth - 2) % 6), max(8, depth + (2 - depth) % 6)]
        raise ConstraintError(
            f"resnet(depth={depth}): 6n + 2 layers are possible, n >= 1",
            fix=" or ".join(f"depth={d}" for d in sorted(set(near))),
        )
    n = (depth - 2) // 6
    return residual_network(
        16,
        [(16, n, 1), (32, n, 2), (64, n, 2)],
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("resnet", image_size, multiple=4),
        neuron=usual_neuron(neuron, steps),
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
    )


def resnet20(**arguments: Any) -> nn.Module:
    """Build ResNet-20; arguments as :func:`resnet`.

    Example:
        >>> len([m for m in resnet20(width=1 / 8).modules() if isinstance(m, nn.Conv2d)])
        21
    """
    return resnet(depth=20, **arguments)


@checked
def resnet18_cifar(
    *,
    steps: int | None = 4,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make | None = None,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build a ResNet-18 for small images: stem 64, 3, 3, 2 blocks of 128, 256, 512 channels, mean, linear K.

    It is wider than the ResNet-18 of ImageNet and has three stages, not four. The first block of every stage has a 1x1
    convolution with a norm as shortcut; those of the second and third stage stride by 2. Blocks, biases and the three
    networks of one definition are as in :func:`resnet`.

    Args, with those of :mod:`bitspike.models.spiking`:
        steps: T, or None.
        image_size: multiples of 4.
        neuron: None for IF neurons, or for ReLUs where there are no steps.

    Example:
        >>> sum(p.numel() for p in resnet18_cifar(steps=None).parameters())
        12502090

    Source: Deng et al., ICLR 2022, arXiv 2202.11946 (temporal efficient training), and Hu et al. 2023 (Fast-SNN).
    """
    return residual_network(
        64,
        WIDE,
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("resnet18_cifar", image_size, multiple=4),
        neuron=usual_neuron(neuron, steps),
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
    )


@checked
def resnet18(
    *,
    steps: int | None = 4,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make | None = None,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build the ResNet-18 of four stages: stem 64, two blocks each of 64, 128, 256, 512 channels, mean, linear K.

    The stem is a 3x3 convolution and nothing is pooled, as usual for small images. Blocks, biases and the three
    networks of one definition are as in :func:`resnet`.

    Args, with those of :mod:`bitspike.models.spiking`:
        steps: T, or None.
        image_size: multiples of 8.
        neuron: None for IF neurons, or for ReLUs where there are no steps.

    Example:
        >>> sum(p.numel() for p in resnet18(steps=None).parameters())
        11173962

    Source: He et al., CVPR 2016, arXiv 1512.03385, table 1.
    """
    return residual_network(
        64,
        [(64, 2, 1), (128, 2, 2), (256, 2, 2), (512, 2, 2)],
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("resnet18", image_size, multiple=8),
        neuron=usual_neuron(neuron, steps),
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
    )


@checked
def resnet19(
    *,
    steps: int = 2,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = stbp_lif,
    norm: MakeNorm | None = ThresholdBatchNorm,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    bias: bool = True,
    width: float = 1.0,
) -> nn.Module:
    """Build ResNet-19: stem 64, 3, 3, 2 blocks of 128, 256, 512 channels, mean, linear 256, linear K, all spiking.

    It is :func:`resnet18_cifar` with a hidden linear layer, and neurons after both linear layers: the output is the
    firing rate. The two branches of a block share the threshold: the norms before the sum have alpha = 1/sqrt(2).
    Convolutions have no bias.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 4.
        bias: give the linear layers a bias.

    Example:
        >>> sum(p.numel() for p in resnet19(width=1 / 16).parameters())
        50238

    Source: Zheng et al., AAAI 2021, arXiv 2011.05280; the repository STBP-train-and-compression calls it ResNet18.
    """
    return residual_network(
        64,
        WIDE,
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("resnet19", image_size, multiple=4),
        neuron=neuron,
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
        spiking_head=256,
        bias=bias,
    )
