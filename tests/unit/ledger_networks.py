"""Small trained-looking networks for the tests of the error ledger."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def images(n: int = 12, *, bits: int = 8, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return random images [n, 2, 8, 8] of so many bits."""
    made = torch.Generator().manual_seed(1)
    return torch.randint(0, 2**bits, (n, 2, 8, 8), generator=made).to(dtype) / (2**bits - 1)


class Residual(nn.Module):
    """A stem, a residual block with max pool, an average pool and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.first, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.conv1 = nn.Conv2d(6, 6, 3, padding=1)
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.relu = nn.ReLU()
        self.mean = nn.AvgPool2d(2)
        self.fc = nn.Linear(6 * 2 * 2, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.first(self.stem(x)))
        x = self.relu(self.conv2(self.relu(self.conv1(x))) + x)
        return self.fc(torch.flatten(self.mean(x), 1))


class SlicedInput(nn.Module):
    """A block that adds up a layer of spikes, a layer of one channel of the input, and a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, stride=2)
        self.conv, self.down = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(1, 4, 1, stride=2)
        self.fc = nn.Linear(4 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        spikes = torch.relu(self.stem(x))
        return self.fc(torch.relu(self.conv(spikes) + self.down(x[:, :1]) + spikes).flatten(1))


class TwoHeads(nn.Module):
    """Two branches that are concatenated, and two outputs, one of them rectified."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 3, 3, padding=1)
        self.b = nn.Conv2d(2, 5, 1)
        self.mix = nn.Conv2d(8, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 8 * 8, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu(self.mix(torch.cat([torch.relu(self.a(x)), torch.relu(self.b(x))], 1)))
        return self.fc(x.flatten(1)), x


class Chain(nn.Sequential):
    """Two convolutions and a classifier."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(2, 6, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 4)
        )


def on_grid(model: nn.Module, bits: int = 8) -> nn.Module:
    """Put all weights on a grid with one step per output channel, whose largest code every channel reaches."""
    high = 2 ** (bits - 1) - 1
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, Tensor):
            dims = tuple(range(1, weight.dim()))
            step = weight.detach().abs().amax(dims, keepdim=True) / high
            with torch.no_grad():
                weight.copy_((weight / step).round() * step)
    return model
