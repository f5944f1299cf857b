"""Small quantized networks whose neurons are busy, for the tests of conversion.quantized."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from bitspike.nn import QuantReLU

M = TypeVar("M", bound=nn.Module)


class Residual(nn.Module):
    """Three convolutions with norms, and a shortcut with weights around the second and third."""

    def __init__(self, bits: int = 2) -> None:
        super().__init__()
        self.conv1, self.norm1, self.act1 = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), QuantReLU(bits, 1.5)
        self.conv2, self.norm2, self.act2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), QuantReLU(bits, 1.5)
        self.conv3, self.norm3, self.act3 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), QuantReLU(bits, 2.0)
        self.side = nn.Conv2d(6, 8, 1)
        self.read = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(self.conv1(x)))
        inner = self.act2(self.norm2(self.conv2(x)))
        x = self.act3(self.norm3(self.conv3(inner)) + self.side(x))
        result: Tensor = self.read(x.mean((2, 3)))
        return result


def busy(network: M, *, seed: int = 0, shape: tuple[int, ...] = (2, 8, 8)) -> M:
    """Give a network weights and statistics with which its neurons fire, and put it into evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in network.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=generator) * (2 / p[0].numel()) ** 0.5)
            elif p.dim() == 1:
                p.copy_(torch.rand(p.shape, generator=generator) * 0.5 + 0.5)
        norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.momentum = 1.0  # the statistics of one batch, the one that comes now
        network.train()(torch.rand(64, *shape, generator=generator).to(next(network.parameters()).dtype))
        for norm in norms:
            norm.momentum = 0.1
    return network.eval()


def images(count: int, *, seed: int = 0) -> Tensor:
    """Return images [N, 2, 8, 8]."""
    return torch.rand(count, 2, 8, 8, generator=torch.Generator().manual_seed(seed))


def plain(between: nn.Module, *, bits: int = 2) -> nn.Sequential:
    """Return two layers with something between them, at the path 3."""
    size = 2 if isinstance(between, nn.MaxPool1d) else 4
    return nn.Sequential(nn.Linear(4, 4), QuantReLU(2), nn.Linear(4, 4), between, QuantReLU(bits), nn.Linear(size, 2))


def without_ties(
    x: Tensor, before: nn.Module, act: QuantReLU, *, charge: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Return the samples without a charge half way between two levels, where a neuron rounds up and torch to even."""
    with torch.no_grad():
        z = before(x) if charge is None else charge(before(x))
        share = z * act.levels / act.clip
        return x[(((share % 1) - 0.5).abs() > 1e-6).flatten(1).all(1)]
