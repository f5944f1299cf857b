"""The ResNet-20 of quantised activations and weights as one writes it with plain torch modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class QuantReLU(nn.Module):
    """The clipped, rounded ReLU with a learned clip, from torch operations; its gradient is autograd's.

    Args:
        bits: of the activation.
        clip: where it starts.
    """

    def __init__(self, bits: int, clip: float) -> None:
        super().__init__()
        self.levels = 2**bits - 1
        self.clip = nn.Parameter(torch.tensor(clip))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.clamp(torch.relu(x) / self.clip, max=1)
        q = torch.round(y * self.levels) / self.levels
        return self.clip * (y + (q - y).detach())


def quantized(weight: Tensor, bits: int) -> Tensor:
    """Round weights to the symmetric uniform grid of ``bits``, with a straight-through gradient."""
    high = 2 ** (bits - 1) - 1
    step = weight.detach().abs().max() / high
    q = torch.clamp(torch.round(weight / step), -high, high) * step
    return weight + (q - weight).detach()


class QuantConv(nn.Conv2d):
    """A convolution whose weight is quantised in every call."""

    bits = 4

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, quantized(self.weight, self.bits), self.bias, self.stride, self.padding)


class QuantLinear(nn.Linear):
    """A linear layer whose weight is quantised in every call."""

    bits = 8

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, quantized(self.weight, self.bits), self.bias)


class Block(nn.Module):
    """A basic block: two convolutions, and a shortcut that is added before the second activation."""

    def __init__(self, ins: int, outs: int, stride: int, bits: int, clip: float) -> None:
        super().__init__()
        self.conv1 = QuantConv(ins, outs, 3, stride, 1, bias=False)
        self.norm1, self.act1 = nn.BatchNorm2d(outs), QuantReLU(bits, clip)
        self.conv2 = QuantConv(outs, outs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or ins != outs:
            self.shortcut = nn.Sequential(QuantConv(ins, outs, 1, stride, bias=False), nn.BatchNorm2d(outs))
        self.act2 = QuantReLU(bits, clip)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(self.act1(self.norm1(self.conv1(x)))))
        out: Tensor = self.act2(y + self.shortcut(x))
        return out


def resnet20(bits: int, clip: float, width: float = 1.0, edge_bits: int = 8) -> nn.Sequential:
    """Build the network for images of CIFAR's shape; the first and the last layer have ``edge_bits``."""
    channels = [max(1, round(c * width)) for c in (16, 32, 64)]
    stem = QuantConv(3, channels[0], 3, 1, 1, bias=False)
    stem.bits = edge_bits
    layers: list[nn.Module] = [stem, nn.BatchNorm2d(channels[0]), QuantReLU(bits, clip)]
    ins = channels[0]
    for stage, outs in enumerate(channels):
        for place in range(3):
            layers.append(Block(ins, outs, 2 if stage > 0 and place == 0 else 1, bits, clip))
            ins = outs
    head = QuantLinear(ins, 10)
    head.bits = edge_bits
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy the weights of all convolutions, linear layers and norms, which come in the same order in both."""
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    ours, theirs = ([m for m in net.modules() if isinstance(m, kinds)] for net in (source, target))
    for mine, other in zip(ours, theirs, strict=True):
        other.load_state_dict(mine.state_dict())
