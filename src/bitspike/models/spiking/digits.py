"""A small network for the 8x8 digits of the package."""

from __future__ import annotations

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, sides, timed, widened
from bitspike.nn import LIF, RateReadout, Repeat, ShiftBatchNorm


@checked
def digits_net(
    *,
    steps: int = 4,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 8,
    neuron: Make = LIF,
    norm: MakeNorm | None = ShiftBatchNorm,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build the digits net: conv 24 - neuron - pool - conv 48 - neuron - linear - read-out.

    Convolutions are 3x3 with padding 1, without a bias; the pool averages 2x2; the last layer does not spike, its
    currents are the logits. Every number of the defaults lies on a dyadic grid, so with quantized weights the network
    lowers to integers without any difference.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 2.

    Example:
        >>> net = digits_net()
        >>> sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        18264
    """
    height, columns = sides("digits_net", image_size, multiple=2)
    first, second = widened(24, width), widened(48, width)
    features = second * (height // 2) * (columns // 2)
    return named(
        encoder=encoder(steps),
        layer1=timed(
            conv=nn.Conv2d(in_channels, first, 3, padding=1, bias=False), norm=norm_before(neuron, norm, first)
        ),
        neuron1=neuron(),
        layer2=timed(
            pool=nn.AvgPool2d(2),
            conv=nn.Conv2d(first, second, 3, padding=1, bias=False),
            norm=norm_before(neuron, norm, second),
        ),
        neuron2=neuron(),
        layer3=timed(flatten=nn.Flatten(), linear=nn.Linear(features, num_classes, bias=False)),
        readout=readout(),
    )
