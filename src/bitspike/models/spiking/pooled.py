"""What the VGG networks with pools begin with: stages of 3x3 convolutions, a pool between one stage and the next."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bitspike.models.spiking.blocks import Make, MakeNorm, norm_before, timed, widened


def average_pool() -> nn.AvgPool2d:
    """Make the pool of these networks: the mean over 2x2."""
    return nn.AvgPool2d(2)


def pooled_convolutions(
    stages: Sequence[Sequence[int]],
    *,
    in_channels: int,
    neuron: Make,
    norm: MakeNorm | None,
    pool: Make,
    width: float,
    bias: bool = False,
) -> tuple[dict[str, nn.Module], int]:
    """Return the layers of some stages, layer1, neuron1, layer2, ... over time, and the channels of the last one.

    A pool is the first thing in the first layer of every stage but the first; that after the last stage is the
    caller's.

    Args, with those of :mod:`bitspike.models.spiking`:
        stages: channels of the convolutions of each stage, before ``width``.
        bias: give the convolutions a bias.

    Example:
        >>> layers, channels = pooled_convolutions(
        ...     [[8], [16, 16]], in_channels=3, neuron=nn.ReLU, norm=None, pool=average_pool, width=0.5
        ... )
        >>> list(layers), channels, [name for name, _ in layers["layer2"].named_children()]
        (['layer1', 'neuron1', 'layer2', 'neuron2', 'layer3', 'neuron3'], 8, ['pool', 'conv'])
    """
    layers: dict[str, nn.Module] = {}
    channels, number = in_channels, 0
    for stage, outs in enumerate(stages):
        for place, out in enumerate(outs):
            out, number = widened(out, width), number + 1
            layers[f"layer{number}"] = timed(
                pool=pool() if stage > 0 and place == 0 else None,
                conv=nn.Conv2d(channels, out, 3, padding=1, bias=bias),
                norm=norm_before(neuron, norm, out),
            )
            layers[f"neuron{number}"] = neuron()
            channels = out
    return layers, channels
