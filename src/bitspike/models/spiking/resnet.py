"""The narrow residual networks for small images, of 6n + 2 layers.

Source: He et al., CVPR 2016, arXiv 1512.03385, section 4.2, with 1x1 convolutions where the shape changes, as in
Hu et al. 2023 (Fast-SNN), arXiv 2305.19868.
"""

from __future__ import annotations

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
    widened,
)
from bitspike.nn import IF, RateReadout, Repeat


def resnet(
    *,
    depth: int = 20,
    steps: int | None = 4,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = IF,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
) -> nn.Module:
    """Build a ResNet of 6n + 2 layers: stem 16, three stages of n blocks with 16, 32, 64 channels, mean, linear K.

    A block is conv - norm - neuron - conv - norm, the shortcut added, neuron; the second and third stage start with a
    stride of 2 and a 1x1 convolution with a norm as shortcut. Only the last layer has a bias; its currents are the
    logits. One definition makes the spiking network and those without time, ``steps=None`` with ``neuron=nn.ReLU`` or
    ``neuron=lambda: QuantReLU(bits=4)``: weights and norms have the same names in all three.

    Args, with those of :mod:`bitspike.models.spiking`:
        depth: 6n + 2 with n >= 1: 20, 32, 44, 56, 110 are the usual ones.
        steps: T, or None.
        image_size: multiples of 4.

    Example:
        >>> sum(p.numel() for p in resnet(depth=20, steps=None, neuron=nn.ReLU).parameters())
        272474
    """
    if depth < 8 or depth % 6 != 2:
        near = [max(8, depth - (depth - 2) % 6), max(8, depth + (2 - depth) % 6)]
        raise ConstraintError(
            f"resnet(depth={depth}): 6n + 2 layers are possible, n >= 1",
            fix=" or ".join(f"depth={d}" for d in sorted(set(near))),
        )
    height, columns = sides("resnet", image_size, multiple=4)

    def layer(inputs: int, out: int, kernel: int, stride: int, *, branches: int = 1) -> nn.Module:
        conv = nn.Conv2d(inputs, out, kernel, stride, padding=kernel // 2, bias=False)
        return stack(steps, conv=conv, norm=norm_before(neuron, norm, out, branches=branches))

    channels = widened(16, width)
    layers: dict[str, nn.Module | None] = {"encoder": None if steps is None else encoder(steps)}
    layers["stem"], layers["stem_neuron"] = layer(in_channels, channels, 3, 1), neuron()
    per_stage = (depth - 2) // 6
    for number in range(3 * per_stage):
        stage, place = divmod(number, per_stage)
        out, stride = widened(16 * 2**stage, width), 2 if stage > 0 and place == 0 else 1
        changes = stride > 1 or out != channels
        layers[f"block{number + 1}"] = Residual(
            layer1=layer(channels, out, 3, stride),
            neuron1=neuron(),
            layer2=layer(out, out, 3, 1, branches=2),
            shortcut=layer(channels, out, 1, stride, branches=2) if changes else nn.Identity(),
            neuron2=neuron(),
        )
        channels = out
    pool = nn.AvgPool2d((height // 4, columns // 4))
    layers["head"] = stack(steps, pool=pool, flatten=nn.Flatten(), linear=nn.Linear(channels, num_classes))
    net = named(**layers, readout=None if steps is None else readout())
    initialize(net)
    return net


def resnet20(**arguments: Any) -> nn.Module:
    """Build ResNet-20; arguments as :func:`resnet`.

    Example:
        >>> len([m for m in resnet20(width=1 / 8).modules() if isinstance(m, nn.Conv2d)])
        21
    """
    return resnet(depth=20, **arguments)
