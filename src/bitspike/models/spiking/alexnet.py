"""The AlexNet for small images.

Source: Hu et al. 2023 (Fast-SNN), arXiv 2305.19868, after Krizhevsky et al., NeurIPS 2012.
"""

from __future__ import annotations

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, sides, usual_neuron
from bitspike.models.spiking.strided import Convolution, strided_network
from bitspike.nn import RateReadout, Repeat

CONVOLUTIONS = (Convolution(96), Convolution(256, 2), Convolution(384, 2), Convolution(384), Convolution(256, 2))


@checked
def alexnet_cifar(
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
    """Build the AlexNet for small images: 3x3 convolutions 96, 256, 384, 384, 256, linear 2048, linear K.

    The second, third and fifth convolution stride by 2 and nothing is pooled, which keeps the network convertible. A
    norm and a neuron stand after every layer but the last, whose currents are the logits and which alone has a bias.
    One definition makes the spiking network and those without time, ``steps=None`` with ReLUs or with
    ``neuron=lambda: QuantReLU(bits=4)``: weights and norms have the same names in all three.
    Initial weights are those of torch.

    Args, with those of :mod:`bitspike.models.spiking`:
        steps: T, or None.
        image_size: multiples of 8.
        neuron: None for IF neurons, or for ReLUs where there are no steps.

    Example:
        >>> net = alexnet_cifar(steps=None)
        >>> sum(p.numel() for p in net.parameters())
        11736298
    """
    return strided_network(
        CONVOLUTIONS,
        [2048],
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("alexnet_cifar", image_size, multiple=8),
        neuron=usual_neuron(neuron, steps),
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
    )
