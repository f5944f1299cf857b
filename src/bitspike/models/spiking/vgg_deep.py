"""The VGG networks of 11 to 19 layers with average pools, trained directly.

Source: Simonyan and Zisserman, ICLR 2015, arXiv 1409.1556, configurations A, B, D and E; as spiking networks with
threshold-dependent norms in the repository STBP-train-and-compression, after Zheng et al., AAAI 2021, arXiv 2011.05280.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import (
    Make,
    MakeEncoder,
    MakeNorm,
    initialize,
    named,
    sides,
    timed,
    widened,
)
from bitspike.models.spiking.pooled import average_pool, pooled_convolutions
from bitspike.models.spiking.stbp import stbp_lif
from bitspike.nn import RateReadout, Repeat, ThresholdBatchNorm

CHANNELS = (64, 128, 256, 512, 512)
"""Of the convolutions of each stage; a pool after every stage."""
CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""How many convolutions the stages have, by the number of layers."""
HIDDEN = 512


@checked
def vgg(
    *,
    depth: int = 19,
    steps: int = 2,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = stbp_lif,
    norm: MakeNorm | None = ThresholdBatchNorm,
    pool: Make = average_pool,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    bias: bool = True,
    width: float = 1.0,
) -> nn.Module:
    """Build a VGG network: five stages of 3x3 convolutions, 64 to 512 channels, a pool after each, three linear layers.

    A neuron stands after every layer and after the last pool; the output is the firing rate. Convolutions have a norm,
    or a bias where there are no norms, since a norm takes away what a bias adds.

    Args, with those of :mod:`bitspike.models.spiking`:
        depth: 11, 13, 16 or 19 layers.
        image_size: multiples of 32.
        pool: makes each of the 5 pools, which halve height and width.
        bias: give the linear layers a bias.

    Raises:
        ConstraintError: there is no such depth, or the image size does not fit.

    Example:
        >>> sum(p.numel() for p in vgg(depth=19, width=1 / 16).parameters())
        81430
    """
    if depth not in CONVOLUTIONS:
        near = min(CONVOLUTIONS, key=lambda known: abs(known - depth))
        raise ConstraintError(
            f"vgg(depth={depth}): allowed are {', '.join(map(str, CONVOLUTIONS))}", fix=f"depth={near}"
        )
    height, columns = sides("vgg", image_size, multiple=2 ** len(CHANNELS))
    counts = CONVOLUTIONS[depth]
    layers, channels = pooled_convolutions(
        [(out,) * count for out, count in zip(CHANNELS, counts, strict=True)],
        in_channels=in_channels,
        neuron=neuron,
        norm=norm,
        pool=pool,
        width=width,
        bias=norm is None,
    )
    layers["pool"], layers["pool_neuron"] = timed(pool=pool(), flatten=nn.Flatten()), neuron()
    features, hidden = channels * (height // 32) * (columns // 32), widened(HIDDEN, width)
    for number, out in enumerate((hidden, hidden, num_classes), start=sum(counts) + 1):
        layers[f"layer{number}"] = timed(linear=nn.Linear(features, out, bias=bias))
        layers[f"neuron{number}"] = neuron()
        features = out
    net = named(encoder=encoder(steps), **layers, readout=readout())
    initialize(net, linear=False)
    return net


def vgg19(**arguments: Any) -> nn.Module:
    """Build VGG19; arguments as :func:`vgg`.

    Example:
        >>> len([m for m in vgg19(width=1 / 16).modules() if isinstance(m, nn.Conv2d)])
        16
    """
    return vgg(depth=19, **arguments)
