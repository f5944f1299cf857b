"""Ordinary networks that the tests of capture and conversion share."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Blend(nn.Module):
    """Every way of writing a relu and a sum, a view with arithmetic, a join, an interpolation, a shared relu."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.third = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.down = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.last = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.first(x))
        b = torch.relu(self.second(a) + a)
        c = self.norm(self.third(b))
        c += b
        c = c.relu()
        d = self.act(self.down(c))
        e = self.act(self.second(d))
        up = F.interpolate(self.act(self.second(e)), scale_factor=2)
        y = self.pool(torch.cat([up, c], dim=1))
        return self.last(y.view(y.size(0), -1))


class Block(nn.Module):
    """A residual block whose shortcut may have weights."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)


class SmallResNet(nn.Module):
    """A stem, three residual blocks and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        self.layer1 = Block(4, 4)
        self.layer2 = Block(4, 8, stride=2)
        self.layer3 = Block(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fc(x.mean((2, 3)))


class SmallUNet(nn.Module):
    """Down, up by a transposed convolution and by repetition, with joins across."""

    def __init__(self) -> None:
        super().__init__()
        self.enter = self.twice(1, 4)
        self.down = self.twice(4, 8)
        self.deep = self.twice(8, 8)
        self.pool = nn.MaxPool2d(2)
        self.up1 = nn.Sequential(nn.ConvTranspose2d(8, 8, 2, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.dec1 = self.twice(16, 4)
        self.up2 = nn.Upsample(scale_factor=2, mode="nearest")
        self.dec2 = self.twice(8, 4)
        self.head = nn.Conv2d(4, 2, 1)

    @staticmethod
    def twice(inputs: int, outputs: int) -> nn.Sequential:
        first = [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        second = [nn.Conv2d(outputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        return nn.Sequential(*first, *second)

    def forward(self, x: Tensor) -> Tensor:
        a = self.enter(x)
        b = self.down(self.pool(a))
        c = self.deep(self.pool(b))
        b = self.dec1(torch.cat([self.up1(c), b], 1))
        a = self.dec2(torch.cat([self.up2(b), a], 1))
        return self.head(a)


class Found(NamedTuple):
    """What a detector returns."""

    boxes: Tensor
    scores: Tensor


class Detector(nn.Module):
    """Two scales with two heads each; boxes are decoded by ordinary code."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU6())
        self.more = nn.Sequential(nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.boxes = nn.ModuleList(nn.Conv2d(8, 4, 3, padding=1) for _ in range(2))
        self.scores = nn.ModuleList(nn.Conv2d(8, 3, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> dict[str, Found]:
        near = self.body(x)
        far = self.more(near)
        found = {}
        for name, feature, boxes, scores in zip(("near", "far"), (near, far), self.boxes, self.scores, strict=True):
            box, score = boxes(feature), scores(feature).sigmoid()
            box = box.permute(0, 2, 3, 1).reshape(box.shape[0], -1, 4).exp()
            found[name] = Found(box, score.flatten(2).transpose(1, 2))
        return found


def lived_in(model: nn.Module) -> nn.Module:
    """Give every norm statistics and every parameter values that are not those of a fresh network."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                size = module.num_features
                for name, value in module.named_parameters():
                    noise = torch.rand(size, generator=generator)
                    value.copy_(noise + 0.5 if name == "weight" else 0.4 * noise - 0.2)
                if module.running_mean is not None and module.running_var is not None:
                    module.running_mean.copy_(torch.randn(size, generator=generator) * 0.2)
                    module.running_var.copy_(torch.rand(size, generator=generator) + 0.5)
    return model
