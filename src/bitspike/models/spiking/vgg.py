"""VGG-like networks of 3x3 convolutions.

Sources: VGG9 of Kim and Panda, Frontiers in Neuroscience 15 (2021), arXiv 2010.01729; VGG11 of Hu et al. 2023
(Fast-SNN), arXiv 2305.19868.
"""

from __future__ import annotations

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import (
    Make,
    MakeEncoder,
    MakeNorm,
    initialize,
    named,
    norm_before,
    sides,
    timed,
    usual_neuron,
    widened,
)
from bitspike.models.spiking.pooled import average_pool, pooled_convolutions
from bitspike.models.spiking.strided import Convolution, strided_network
from bitspike.nn import LIF, RateReadout, Repeat, ThresholdBatchNorm

STAGES_9 = ((64, 64), (128, 128), (256, 256, 256))
"""Channels of the convolutions of VGG9; a pool after every stage."""

CONVOLUTIONS_11 = tuple(
    Convolution(channels, stride)
    for channels, stride in ((64, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 2), (512, 1), (512, 2))
)
"""The convolutions of VGG11; every second one strides by 2."""


@checked
def vgg9(
    *,
    steps: int = 4,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = LIF,
    norm: MakeNorm | None = ThresholdBatchNorm,
    pool: Make = average_pool,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build VGG9: conv 64, 64, pool, 128, 128, pool, 256, 256, 256, pool, linear 1024, linear K.

    Convolutions are 3x3 with padding 1. No layer has a bias. A norm and a neuron stand after every layer but the last,
    whose currents are the logits. Pools average spikes.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 8.
        pool: makes each of the 3 pools, which halve height and width.

    Example:
        >>> net = vgg9(width=1 / 16)
        >>> sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        23900
    """
    height, columns = sides("vgg9", image_size, multiple=2 ** len(STAGES_9))
    layers, channels = pooled_convolutions(
        STAGES_9, in_channels=in_channels, neuron=neuron, norm=norm, pool=pool, width=width
    )
    features = channels * (height // 8) * (columns // 8)
    hidden = widened(1024, width)
    layers["layer8"] = timed(
        pool=pool(),
        flatten=nn.Flatten(),
        linear=nn.Linear(features, hidden, bias=False),
        norm=norm_before(neuron, norm, hidden, flat=True),
    )
    layers["neuron8"] = neuron()
    layers["layer9"] = timed(linear=nn.Linear(hidden, num_classes, bias=False))
    return named(encoder=encoder(steps), **layers, readout=readout())


@checked
def vgg11(
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
    """Build VGG11: eight 3x3 convolutions, 64 to 512 channels, linear 4096, 4096, K; every second one strides by 2.

    Nothing is pooled, which keeps the network convertible. A norm and a neuron stand after every layer but the last,
    whose currents are the logits and which alone has a bias. One definition makes the spiking network and those
    without time, ``steps=None`` with ReLUs or with ``neuron=lambda: QuantReLU(bits=4)``: weights and norms have
    the same names in all three, and the clip of ``neuron5`` belongs to what stands at ``neuron5`` elsewhere.

    Args, with those of :mod:`bitspike.models.spiking`:
        steps: T, or None.
        image_size: multiples of 16.
        neuron: None for IF neurons, or for ReLUs where there are no steps.

    Example:
        >>> net = vgg11(steps=None, width=1 / 16)
        >>> sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        136972
    """
    net = strided_network(
        CONVOLUTIONS_11,
        [4096, 4096],
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("vgg11", image_size, multiple=16),
        neuron=usual_neuron(neuron, steps),
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
    )
    initialize(net)
    return net
