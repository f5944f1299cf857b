"""Networks that people have: torchvision's, a U-Net, a detector. Each converts and its integers equal, or says why."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18, vgg11_bn

import bitspike as bs
from bitspike.errors import ConversionError


def warmed(model: nn.Module, x: Tensor) -> nn.Module:
    """Give the norms statistics of some data, as a trained network has them."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    model.train()
    with torch.no_grad():
        model(x)
    return model.eval()


def shown(model: nn.Module, x: Tensor, *, steps: int = 2, **choices: Any) -> Any:
    """Convert, check shapes, prove the integers on two images."""
    snn = bs.convert(model, x[:1], calibrate=x, steps=steps, **choices)
    with torch.no_grad():
        found, wanted = snn(x[:2]), model(x[:2])
    for a, b in zip(_leaves(found), _leaves(wanted), strict=True):
        assert a.shape == b.shape
    net = bs.lower(snn, x[:1])
    assert net.notes == ()
    record = bs.conversion_of(snn)
    entry = record.packed(x[:2])
    assert bs.verify(net, entry).equal
    # The host's side of a chip: what leaves the integers, carried on, is what the network returns.
    outputs = bs.Engine(net).predict(bs.encode(net, entry))
    carried = record.results([bs.decode(o, outputs[o.id]) for o in net.outputs], x[:2])
    for a, b in zip(_leaves(carried), _leaves(found), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    return snn


def _leaves(value: Any) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(value)


def images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


class UNet(nn.Module):
    """Down by pools, up by transposed convolutions, joined by concatenations; one map of logits per pixel."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        torch.manual_seed(0)

        def block(into: int, out: int) -> nn.Module:
            layers = [nn.Conv2d(into, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            return nn.Sequential(*layers)

        self.down1, self.down2, self.middle = block(3, width), block(width, 2 * width), block(2 * width, 4 * width)
        self.grow2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up2, self.up1 = block(4 * width, 2 * width), block(3 * width, width)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        one = self.down1(x)
        two = self.down2(F.max_pool2d(one, 2))
        middle = self.middle(F.max_pool2d(two, 2))
        up = self.up2(torch.cat([F.relu(self.grow2(middle)), two], 1))
        up = self.up1(torch.cat([F.interpolate(up, scale_factor=2.0, mode="nearest"), one], 1))
        return self.head(up)


class Detector(nn.Module):
    """Two scales, each with boxes and classes; sigmoids and the layout of the results stay with the host."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU6())
        self.deeper = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU6())
        self.boxes = nn.ModuleList([nn.Conv2d(8, 4, 1), nn.Conv2d(12, 4, 1)])
        self.classes = nn.ModuleList([nn.Conv2d(8, 3, 1), nn.Conv2d(12, 3, 1)])

    def forward(self, x: Tensor) -> dict[str, Any]:
        fine = self.backbone(x)
        maps = [fine, self.deeper(fine)]
        boxes = [b(m).flatten(2).permute(0, 2, 1) for b, m in zip(self.boxes, maps, strict=True)]
        scores = [torch.sigmoid(c(m)).flatten(2) for c, m in zip(self.classes, maps, strict=True)]
        return {"boxes": torch.cat(boxes, 1), "scores": tuple(scores)}


def test_torchvision_resnet18() -> None:
    x = images(4, 3, 32, 32)
    torch.manual_seed(0)
    shown(warmed(resnet18(num_classes=10), x), x)


def test_a_region_that_a_skip_enters_too() -> None:
    x = images(6, 3, 32, 32)
    model = warmed(resnet18(num_classes=5), x)
    snn = shown(model, x, steps=4, include=["layer2.1.conv2", "layer2.1.add", "layer2.1.relu#1"])
    assert len(bs.conversion_of(snn).entries(x[:1])) == 2
    net = bs.lower(snn, x[:1])
    assert net.source["host"].startswith("before the spikes: conv1 (convolution); ")
    labels = torch.zeros(6, dtype=torch.long)
    agreement = bs.compare(snn, net, [(x, labels)])
    assert (agreement.spikes, agreement.predictions, agreement.samples) == (1.0, 1.0, 6)


class TwoVotes(nn.Module):
    """Two read-outs whose scores the host adds up."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten())
        self.one, self.two = nn.Linear(144, 3), nn.Linear(144, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        return self.one(x).softmax(1) + self.two(x).softmax(1)


def test_scores_that_the_host_makes_of_two_read_outs_are_compared() -> None:
    torch.manual_seed(0)
    x, model = images(32, 1, 8, 8), TwoVotes().eval()
    snn = bs.convert(model, x[:1], calibrate=x, steps=8)
    net = bs.lower(snn, x[:1])
    assert len(net.outputs) == 2
    with torch.no_grad():
        labels = snn(x).argmax(1)
    labels[:8] = (labels[:8] + 1) % 3  # a quarter is wrong
    found = bs.compare(snn, net, [(x[:20], labels[:20]), (x[20:], labels[20:])])
    assert (found.spikes, found.predictions, found.accuracy, found.lowered_accuracy) == (1.0, 1.0, 0.75, 0.75)


def test_torchvision_vgg11_bn() -> None:
    x = images(4, 3, 32, 32)
    torch.manual_seed(0)
    model = vgg11_bn(num_classes=10)
    larger = images(1, 3, 64, 64)  # 2 x 2 places become 7 x 7: windows of unequal size
    with pytest.raises(ConversionError, match="avgpool") as refused:
        bs.convert(model.eval(), larger, calibrate=larger, steps=2)
    layers = ["avgpool", "classifier.0", "classifier.3", "classifier.6"]
    assert f"exclude={layers!r} (this layer and every layer after it)" in str(refused.value)
    part = bs.convert(model, larger, calibrate=larger, steps=2, correct=None, exclude=layers)
    assert part(larger).shape == (1, 10)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    model.classifier = nn.Sequential(nn.Linear(512, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 10))
    shown(warmed(model, x), x)


@pytest.mark.parametrize("concat", ["tie", "fold"])
def test_a_u_net(concat: str) -> None:
    x = images(6, 3, 16, 16)
    model = warmed(UNet(), x)
    snn = shown(model, x, steps=8, concat=concat)
    with torch.no_grad():
        long = bs.conversion_of(snn).build(steps=256)
        error = (long(x) - model(x)).norm() / model(x).norm()
    assert error < 0.1


def test_a_detector_with_its_host() -> None:
    x = images(6, 3, 16, 16)
    model = warmed(Detector(), x)
    snn = shown(model, x, steps=64)
    with torch.no_grad():
        found, wanted = snn(x), model(x)
    assert set(found) == {"boxes", "scores"}
    assert (found["boxes"] - wanted["boxes"]).norm() / wanted["boxes"].norm() < 0.1
    assert (found["scores"][1] - wanted["scores"][1]).abs().max() < 0.1


def test_the_other_front_end_gives_the_same_network() -> None:
    x = images(6, 3, 16, 16)
    model = warmed(UNet(), x)
    one = bs.convert(model, x[:2], calibrate=x, steps=4)
    two = bs.convert(model, x[:2], calibrate=x, steps=4, frontend="export")
    with torch.no_grad():
        torch.testing.assert_close(one(x), two(x))
    assert not bs.lower(two, x[:1]).notes
