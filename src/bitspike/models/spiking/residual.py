"""What the residual networks are put together from: a stem, stages of basic blocks, a mean, linear layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bitspike.models.spiking.blocks import (
    Make,
    MakeEncoder,
    MakeNorm,
    Residual,
    initialize,
    named,
    norm_before,
    stack,
    widened,
)


def residual_network(
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
    spiking_head: int | None = None,
    bias: bool = True,
) -> nn.Module:
    """Build a stem of so many channels, stages of (channels, blocks, stride of the first), mean, linear K.

    Args, with those of :mod:`bitspike.models.spiking`:
        spiking_head: features of a hidden linear layer; it and the last one have neurons, and their initial weights are
            those of torch. None for a last layer whose currents are the logits.
        bias: give the linear layers a bias.
    """

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
    hidden = num_classes if spiking_head is None else widened(spiking_head, width)
    layers["head"] = stack(steps, pool=pool, flatten=nn.Flatten(), linear=nn.Linear(channels, hidden, bias=bias))
    if spiking_head is not None:
        layers["head_neuron"] = neuron()
        layers["head2"] = stack(steps, linear=nn.Linear(hidden, num_classes, bias=bias))
        layers["head2_neuron"] = neuron()
    net = named(**layers, readout=None if steps is None else readout())
    initialize(net, linear=spiking_head is None)
    return net
