"""What AlexNet and the VGG networks without pools are put together from: strided convolutions, then linear layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, stack, widened
from bitspike.nn import RateReadout, Repeat


class Convolution(NamedTuple):
    """A convolution: its output channels, and its geometry in pixels."""

    channels: int
    stride: int = 1
    kernel: int = 3
    padding: int = 1

    def after(self, side: int) -> int:
        """Return the height or width of the output for that of the input.

        Example:
            >>> Convolution(64, stride=4, kernel=11, padding=2).after(224)
            55
        """
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def strided_network(
    convolutions: Sequence[Convolution],
    hidden: Sequence[int],
    *,
    steps: int | None,
    num_classes: int,
    in_channels: int,
    sides: tuple[int, int],
    neuron: Make,
    norm: MakeNorm | None,
    width: float,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Repeat,
    bias: bool = False,
    last_fires: bool = False,
) -> nn.Module:
    """Build convolutions, hidden linear layers and a last one, with a norm and a neuron after every layer but the last.

    Unless ``bias`` or ``last_fires`` says otherwise, only the last layer has a bias, and its currents are the logits.
    No norm stands after it. Layers are called layer1, layer2, ... and what follows
    them neuron1, neuron2, ..., over time (``steps``) and without (None) alike. Weights are those torch draws.

    Args:
        convolutions: from the image on; ``width`` multiplies their channels.
        hidden: features of the hidden linear layers, before ``width``.
        sides: height and width of the images.
        bias: give every layer a bias.
        last_fires: put a neuron after the last layer too, whose spikes are read out then.

    The other arguments are those of :mod:`bitspike.models.spiking`.

    Example:
        >>> net = strided_network(
        ...     [Convolution(8, stride=2)], [16], steps=None, num_classes=3, in_channels=1, sides=(4, 4),
        ...     neuron=nn.ReLU, norm=None, width=1.0,
        ... )
        >>> [tuple(weight.shape) for weight in net.parameters()]
        [(8, 1, 3, 3), (16, 32), (3, 16), (3,)]
    """
    layers: dict[str, nn.Module | None] = {"encoder": None if steps is None else encoder(steps)}
    channels, (height, columns), number = in_channels, sides, 0
    for number, conv in enumerate(convolutions, start=1):
        out = widened(conv.channels, width)
        layers[f"layer{number}"] = stack(
            steps,
            conv=nn.Conv2d(channels, out, conv.kernel, conv.stride, conv.padding, bias=bias),
            norm=norm_before(neuron, norm, out),
        )
        layers[f"neuron{number}"] = neuron()
        channels, height, columns = out, conv.after(height), conv.after(columns)
    features, flatten = channels * height * columns, nn.Flatten()
    for number, wide in enumerate(hidden, start=len(convolutions) + 1):
        out = widened(wide, width)
        layers[f"layer{number}"] = stack(
            steps,
            flatten=flatten if number == len(convolutions) + 1 else None,
            linear=nn.Linear(features, out, bias=bias),
            norm=norm_before(neuron, norm, out, flat=True),
        )
        layers[f"neuron{number}"] = neuron()
        features = out
    last = nn.Linear(features, num_classes)
    layers[f"layer{number + 1}"] = stack(steps, flatten=None if hidden else flatten, linear=last)
    if last_fires:
        layers[f"neuron{number + 1}"] = neuron()
    return named(**layers, readout=None if steps is None else readout())
