"""Networks for measuring inference: random weight codes, norms and thresholds set by a forward pass on random images.

Nothing is trained and no data is needed. What matters for speed is real: widths of codes, shapes, and firing rates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import bitspike as bs

EDGE_BITS = 8
"""Width of the first and the last layer, as Fast-SNN has them."""

RATE = 0.2
"""Spikes per neuron and step that thresholds are set to."""


def spiking(build: Callable[..., nn.Module], *, bits: int, steps: int, **sizes: Any) -> nn.Module:
    """Return a calibrated network of IF neurons with random codes, in evaluation mode.

    Args:
        build: one of our models that knows ``steps`` and ``neuron``.
        bits: width of the weights of all layers but the first and the last.
        steps: T.
        sizes: of the model.

    Example:
        >>> from bitspike.models import resnet20
        >>> net = spiking(resnet20, bits=4, steps=3, width=1 / 8, image_size=8)
        >>> sorted({c.bits for c in bs.codes(net).values()})
        [4, 8]
    """
    torch.manual_seed(0)
    net = build(steps=steps, neuron=bs.IF, **sizes)
    layers = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    edges = [layers[0], layers[-1]]
    for name in layers:
        _draw(net.get_submodule(name), EDGE_BITS if name in edges else bits)
    bs.attach(net, quantize=bs.Uniform(bits=bits), skip=edges)
    bs.attach(net, quantize=bs.Uniform(bits=EDGE_BITS), include=edges)
    size = sizes.get("image_size", 32)
    calibrate(net, images(16, size), rate=RATE)
    return net.eval()


def images(count: int, size: int) -> Tensor:
    """Return random images [N, 3, H, W] on the grid of bytes divided by 255."""
    pixels = torch.randint(0, 256, (count, 3, size, size), generator=torch.Generator().manual_seed(1))
    return pixels / 255


def _draw(layer: nn.Module, bits: int) -> None:
    """Give a layer weights that are random codes times a step that keeps the scale of He's initialisation."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    high = max(1, 2 ** (bits - 1) - 1)
    codes = torch.randint(-high, high + 1, layer.weight.shape).float()
    if bits == 1:
        codes = codes.sign() + (codes == 0) * torch.randint(0, 2, codes.shape).mul(2).sub(1)
    fan_in = layer.weight[0].numel()
    with torch.no_grad():
        layer.weight.copy_(codes * ((2 / fan_in) ** 0.5 / codes.std()))


@torch.no_grad()
def calibrate(net: nn.Module, x: Tensor, *, rate: float) -> None:
    """Set the statistics of norms, and after them the threshold of every IF neuron, layer by layer in one forward pass.

    Every neuron starts at half its threshold.

    Args:
        net: a network with batch norms and IF neurons.
        x: [N, C, H, W].
        rate: spikes per neuron and step.
    """
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become those of this batch

    def set_threshold(neuron: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(neuron, bs.IF)
        low, high = 1e-3, 2.0 * float(inputs[0].abs().max())
        for _ in range(20):
            neuron.threshold = (low + high) / 2
            neuron.initial = neuron.threshold / 2
            fires = float(neuron.scan(inputs[0])[0].mean())
            low, high = (low, neuron.threshold) if fires < rate else (neuron.threshold, high)

    hooks = [m.register_forward_pre_hook(set_threshold) for m in net.modules() if isinstance(m, bs.IF)]
    net.train()(x)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        norm.momentum = 0.1
