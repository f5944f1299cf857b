"""The residual networks for small images: the narrow ones of 6n + 2 layers, and a wide one of 18.

Sources: He et al., CVPR 2016, arXiv 1512.03385, section 4.2, with 1x1 convolutions where the shape changes, as in
Hu et al. 2023 (Fast-SNN), arXiv 2305.19868; ResNet-18 in the layout of Deng et al., ICLR 2022, arXiv 2202.11946.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import (
    Make,
    MakeEncoder,
    MakeNorm,
    Residual,
    initialize,
    named,
    norm_before,
    sides,
    stack,
    usual_neuron,
    widened,
)
from bitspike.nn import RateReadout, Repeat


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
    return _residual(
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
    return _residual(
        64,
        [(128, 3, 1), (256, 3, 2), (512, 2, 2)],
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


def _residual(
    stem: int,
    stages: Sequence[tuple[int, int, int]],
    *,
    steps: int | None,
    num_classes: int,
    in_channels: int,
    sides: tuple[int, int],
    neuron: Make,
    norm: MakeNorm | None,
    readout: Make,
    encoder: MakeEncoder,
    width: float,
) -> nn.Module:
    """Build a stem of so many channels, stages of (channels, blocks, stride of the first), mean, linear K."""

    def layer(inputs: int, out: int, kernel: int, stride: int, *, branches: int = 1) -> nn.Module:
        conv = nn.Conv2d(inputs, out, kernel, stride, padding=kernel // 2, bias=False)
        return stack(steps, conv=conv, norm=norm_before(neuron, norm, out, branches=branches))

    channels = widened(stem, width)
    layers: dict[str, nn.Module | None] = {"encoder": None if steps is None else encoder(steps)}
    layers["stem"], layers["stem_neuron"] = layer(in_channels, channels, 3, 1), neuron()
    blocks = [(out, first if place == 0 else 1) for out, per_stage, first in stages for place in range(per_stage)]
    height, columns = sides
    for number, (wide, stride) in enumerate(blocks, start=1):
        out = widened(wide, width)
        changes = stride > 1 or out != channels
        layers[f"block{number}"] = Residual(
            layer1=layer(channels, out, 3, stride),
            neuron1=neuron(),
            layer2=layer(out, out, 3, 1, branches=2),
            shortcut=layer(channels, out, 1, stride, branches=2) if changes else nn.Identity(),
            neuron2=neuron(),
        )
        channels, height, columns = out, height // stride, columns // stride
    pool = nn.AvgPool2d((height, columns))
    layers["head"] = stack(steps, pool=pool, flatten=nn.Flatten(), linear=nn.Linear(channels, num_classes))
    net = named(**layers, readout=None if steps is None else readout())
    initialize(net)
    return net
