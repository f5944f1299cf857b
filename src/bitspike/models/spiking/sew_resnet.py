"""The spike-element-wise residual networks for photos: SEW-ResNet-18 and -34.

Source: Fang et al., NeurIPS 2021, arXiv 2102.04159, section 4.1, in the layout of He et al., CVPR 2016, table 1.
"""

from __future__ import annotations

from torch import nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import (
    Make,
    MakeEncoder,
    MakeNorm,
    initialize,
    named,
    norm_before,
    sides,
    timed,
    widened,
)
from bitspike.models.spiking.sew import sew_block
from bitspike.nn import IF, RateReadout, Repeat
from bitspike.nn.element_wise import Connect

_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Blocks of each stage, by depth."""


@checked
def sew_if() -> IF:
    """Make the neuron of these networks: integrate-and-fire, hard reset to 0, which the gradient does not see.

    Example:
        >>> import torch
        >>> sew_if()(torch.tensor([[0.75], [0.5], [0.75]])).flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    return IF(reset="hard", detach_reset=True)


@checked
def sew_resnet(
    *,
    depth: int = 18,
    steps: int = 4,
    num_classes: int = 1000,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 224,
    neuron: Make = sew_if,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
    connect: Connect = "add",
    zero_init: bool = False,
) -> nn.Module:
    """Build a stem (7x7, stride 2, max pool), four stages of 64, 128, 256, 512 channels, mean, linear K.

    A stage but the first begins with a stride of 2, and the shortcut there is a 1x1 convolution, norm and neuron.
    Convolutions have no bias; the currents of the last layer are the logits.

    Args, with those of :mod:`bitspike.models.spiking`:
        depth: 18 or 34.
        image_size: multiples of 32.
        connect: how a block joins its branch and its shortcut: ``add``, ``and`` or ``iand``.
        zero_init: let every block begin as the identity, or as its shortcut where the shape changes.

    Example:
        >>> [sum(p.numel() for p in sew_resnet(depth=depth).parameters()) for depth in (18, 34)]
        [11689512, 21797672]
    """
    if depth not in _BLOCKS:
        raise ConstraintError(f"sew_resnet(depth={depth!r}): allowed are 18 and 34", fix="depth=18")
    height, columns = sides("sew_resnet", image_size, multiple=32)
    channels = widened(64, width)
    layers: dict[str, nn.Module] = {"encoder": encoder(steps)}
    layers["stem"] = timed(
        conv=nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False), norm=norm_before(neuron, norm, channels)
    )
    layers |= {"stem_neuron": neuron(), "stem_pool": timed(pool=nn.MaxPool2d(3, 2, 1))}
    blocks = [
        (64 << stage, 2 if stage and not place else 1) for stage in range(4) for place in range(_BLOCKS[depth][stage])
    ]
    for number, (wide, stride) in enumerate(blocks, start=1):
        out = widened(wide, width)
        layers[f"block{number}"] = sew_block(
            channels, out, neuron=neuron, norm=norm, connect=connect, stride=stride, zero_init=zero_init
        )
        channels = out
    pool = nn.AvgPool2d((height // 32, columns // 32))
    head = timed(pool=pool, flatten=nn.Flatten(), linear=nn.Linear(channels, num_classes))
    net = named(**layers, head=head, readout=readout())
    initialize(net, linear=False)
    return net
