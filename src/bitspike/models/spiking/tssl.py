"""The network of TSSL-BP that CBP-QSNN takes to few bits: layers of weights read the currents of synapses.

Sources: Zhang and Li, NeurIPS 2020, arXiv 2002.10085, and its repository TSSL-BP; Yoo and Jeong, IEEE JETCAS 13(4),
2023, and its repository CBP-QSNN.
"""

from __future__ import annotations

import torch
from torch import nn

from bitspike.arguments import checked
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, sides, timed, widened
from bitspike.nn import Gain, Repeat, SpikeTimeLIF, SteadyDropout, SumPool, SumReadout, Synapse

CONVOLUTIONS = (96, 256, 384, 384, 256)
_POOLED = (2, 3)
"""The convolutions with a pool after them."""


@checked
def tssl_alexnet(
    *,
    steps: int = 5,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = SpikeTimeLIF,
    norm: MakeNorm | None = None,
    readout: Make = SumReadout,
    encoder: MakeEncoder = Repeat,
    width: float = 1.0,
    dropout: float = 0.2,
) -> nn.Module:
    """Build 3x3 convolutions 96, 256, pool, 384, pool, 384, 256, then linear 1024, 1024, K, a neuron after each.

    A synapse stands after every neuron and after the encoder, so that all layers read currents that decay. Pools add
    up 2x2 currents, times 1.1. There are no biases and, as published, no norm. What is read out are the currents of
    the last synapse. Weights are drawn as published: those of convolutions torch's, five times as large; those of
    linear layers from Kaiming's normal.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 4.
        neuron: of a ``SpikeTimeLIF`` the synapses have the ``synapse_decay``; of any other neuron they have 2/3.
        dropout: the share of the currents that is left out at all steps, before every layer but the first.

    Example:
        >>> sum(p.numel() for p in tssl_alexnet(width=1 / 32).parameters())
        21049
    """
    height, columns = sides("tssl_alexnet", image_size, multiple=4)
    like = neuron()
    decay = like.gradient.synapse_decay if isinstance(like, SpikeTimeLIF) else 2 / 3
    layers: dict[str, nn.Module] = {"encoder": encoder(steps), "synapse0": Synapse(decay)}
    channels = in_channels
    for number, out in enumerate((widened(n, width) for n in CONVOLUTIONS), start=1):
        conv = nn.Conv2d(channels, out, 3, padding=1, bias=False)
        layers[f"layer{number}"] = timed(conv=conv, norm=norm_before(neuron, norm, out))
        layers |= {f"neuron{number}": neuron(), f"synapse{number}": Synapse(decay)}
        if number in _POOLED:
            layers |= {f"pool{number}": SumPool((2, 2)), f"gain{number}": Gain(1.1)}
        layers[f"dropout{number}"] = SteadyDropout(dropout)
        channels = out
    features = channels * (height // 4) * (columns // 4)
    for number, out in enumerate((widened(1024, width), widened(1024, width), num_classes), start=6):
        layers[f"layer{number}"] = timed(
            flatten=nn.Flatten() if number == 6 else None,
            linear=nn.Linear(features, out, bias=False),
            norm=norm_before(neuron, norm, out, flat=True),
        )
        layers |= {f"neuron{number}": neuron(), f"synapse{number}": Synapse(decay)}
        if number < 8:
            layers[f"dropout{number}"] = SteadyDropout(dropout)
        features = out
    net = named(**layers, readout=readout())
    _draw(net)
    return net


@torch.no_grad()
def _draw(net: nn.Module) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.mul_(5)
        elif isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight)
