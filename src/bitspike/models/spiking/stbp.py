"""The plain networks of the STBP line of work.

Sources: the repository STBP-train-and-compression (MNISTNet, CifarNet), after Wu et al., AAAI 2019, arXiv 1809.05793;
the repository CBP-QSNN (seven convolutions), Yoo and Jeong, IEEE JETCAS 13(4), 2023.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, sides, timed, widened
from bitspike.models.spiking.strided import Convolution, strided_network
from bitspike.nn import LIF, RateReadout, Repeat, ThresholdBatchNorm
from bitspike.ops.surrogate import Rectangle


@checked
def stbp_lif(threshold: float = 0.4) -> LIF:
    """Make the neuron of these networks: decay 0.25, hard reset, fires strictly above the threshold.

    The surrogate is 1 within 0.5 of the threshold, and gradients pass through the reset.

    Example:
        >>> import torch
        >>> stbp_lif()(torch.tensor([[0.3], [0.3], [0.4]])).flatten().tolist()
        [0.0, 0.0, 1.0]
    """
    return LIF(decay=0.25, threshold=threshold, surrogate=Rectangle(width=1.0), reset="hard", fire="gt")


SEVEN = tuple(
    Convolution(n, stride) for n, stride in ((128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (1024, 1), (2048, 2))
)
"""The convolutions of :func:`conv7_net`; those of stride 2 stand where other networks pool."""


@checked
def mnist_net(
    *,
    steps: int = 2,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = 28,
    neuron: Make = stbp_lif,
    norm: MakeNorm | None = None,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    bias: bool = True,
    width: float = 1.0,
) -> nn.Module:
    """Build MNISTNet: conv 15 - pool - conv 40 - pool - linear 300 - linear K, a neuron after every layer and pool.

    Convolutions are 5x5 with padding 2, without a bias and, as published, without a norm; pools average 2x2; the output
    is the firing rate.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 4.
        bias: give the linear layers a bias.

    Example:
        >>> sum(p.numel() for p in mnist_net().parameters())
        606685
    """
    height, columns = sides("mnist_net", image_size, multiple=4)
    first, second, hidden = (widened(n, width) for n in (15, 40, 300))
    features = second * (height // 4) * (columns // 4)
    return named(
        encoder=encoder(steps),
        layer1=timed(
            conv=nn.Conv2d(in_channels, first, 5, padding=2, bias=False), norm=norm_before(neuron, norm, first)
        ),
        neuron1=neuron(),
        pool1=timed(pool=nn.AvgPool2d(2)),
        neuron2=neuron(),
        layer2=timed(conv=nn.Conv2d(first, second, 5, padding=2, bias=False), norm=norm_before(neuron, norm, second)),
        neuron3=neuron(),
        pool2=timed(pool=nn.AvgPool2d(2)),
        neuron4=neuron(),
        layer3=timed(flatten=nn.Flatten(), linear=nn.Linear(features, hidden, bias=bias)),
        neuron5=neuron(),
        layer4=timed(linear=nn.Linear(hidden, num_classes, bias=bias)),
        neuron6=neuron(),
        readout=readout(),
    )


@checked
def cifar_net(
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
    """Build CifarNet: conv 128, 256, pool, 512, pool, 1024, 512, linear 1024, 512, K, a neuron after each.

    Convolutions are 3x3 with padding 1, without a bias; pools average 2x2; the output is the firing rate.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 4.
        bias: give the linear layers a bias.

    Example:
        >>> sum(p.numel() for p in cifar_net(width=1 / 32).parameters())
        44414
    """
    height, columns = sides("cifar_net", image_size, multiple=4)
    layers: dict[str, nn.Module] = {"encoder": encoder(steps)}
    channels = in_channels
    for number, out in enumerate((128, 256, 512, 1024, 512), start=1):
        out = widened(out, width)
        layers[f"layer{number}"] = timed(
            conv=nn.Conv2d(channels, out, 3, padding=1, bias=False), norm=norm_before(neuron, norm, out)
        )
        layers[f"neuron{number}"] = neuron()
        if number in (2, 3):
            layers[f"pool{number}"] = timed(pool=nn.AvgPool2d(2))
            layers[f"pool{number}_neuron"] = neuron()
        channels = out
    features = channels * (height // 4) * (columns // 4)
    for number, out in enumerate((widened(1024, width), widened(512, width), num_classes), start=6):
        flatten = nn.Flatten() if number == 6 else None
        layers[f"layer{number}"] = timed(flatten=flatten, linear=nn.Linear(features, out, bias=bias))
        layers[f"neuron{number}"] = neuron()
        features = out
    return named(**layers, readout=readout())


@checked
def conv7_net(
    *,
    steps: int = 8,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = partial(stbp_lif, 0.5),
    norm: MakeNorm | None = None,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    bias: bool = True,
    width: float = 1.0,
) -> nn.Module:
    """Build 3x3 convolutions 128, 256, 256, 512, 512, 1024, 2048, then linear 1024, 512, K, a neuron after each.

    The second, fourth and seventh convolution stride by 2, and nothing is pooled; there is, as published, no norm. The
    output is the firing rate.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 8.
        bias: give all layers a bias.

    Example:
        >>> sum(p.numel() for p in conv7_net(width=1 / 32).parameters())
        61114
    """
    return strided_network(
        SEVEN,
        (1024, 512),
        steps=steps,
        num_classes=num_classes,
        in_channels=in_channels,
        sides=sides("conv7_net", image_size, multiple=8),
        neuron=neuron,
        norm=norm,
        readout=readout,
        encoder=encoder,
        width=width,
        bias=bias,
        last_fires=True,
    )
