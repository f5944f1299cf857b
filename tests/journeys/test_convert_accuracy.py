"""What a conversion costs in accuracy, on the digits that come with the package."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.data import load
from bitspike.graph.rebuild import rebuild
from bitspike.integer.host import decode

HIGH = 16
"""The largest pixel of a digit."""


def split(name: str) -> tuple[Tensor, Tensor]:
    images = load("digits", name)
    return images.images.permute(0, 3, 1, 2).float() / HIGH, images.labels.long()


def batches(x: Tensor, y: Tensor, epochs: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for at in torch.randperm(len(x), generator=generator).split(32):
            yield x[at], y[at]


def trained(model: nn.Module, x: Tensor, y: Tensor, *, epochs: int, lr: float, seed: int = 0) -> nn.Module:
    """Train in an ordinary loop, as a user would."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    steps = epochs * -(-len(x) // 32)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for xs, ys in batches(x, y, epochs, seed):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(xs), ys).backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return 100 * float((model(x).argmax(1) == y).float().mean())


def integers(net: bs.IntegerNetwork, x: Tensor, y: Tensor) -> float:
    output = net.outputs[0]
    logits = decode(output, bs.Engine(net).predict(bs.encode(net, x))[output.id])
    return 100 * float((torch.from_numpy(logits).argmax(1) == y).float().mean())


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)]
    layers += [nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AvgPool2d(2)]
    side = split("train")[0].shape[-1] // 4
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32 * side * side, 10))
    return trained(model, *split("train"), epochs=15, lr=3e-3)


def test_convert_check_14_accuracy_after_fine_tuning(network: nn.Module) -> None:
    x, y = split("train")
    held, labels = split("test")
    m0 = accuracy(network, held, labels)
    assert m0 > 98
    for steps, allowed in ((16, 1.0), (64, 0.3)):
        tuned = bs.prepare(network, x[:1], calibrate=x, bits=4, steps=steps)
        trained(tuned, x, y, epochs=5, lr=1e-3)
        m2 = accuracy(rebuild(tuned.graph()), held, labels)
        # Spikes that may be taken back: with IF what arrives unevenly costs a few images more, whatever T is.
        net = bs.lower(bs.finish(tuned, x[:1], data=x, neuron=bs.SignedIF), x[:1])
        assert set(net.weight_bits().values()) == {4, 8}
        found = integers(net, held, labels)
        assert found >= m2 - allowed
        assert found >= m0 - 2
        assert bs.verify(net, held[:50]).equal


def test_convert_check_14_a_reset_to_zero_completes_and_is_lossy(network: nn.Module) -> None:
    x, _ = split("train")
    held, labels = split("test")
    soft, hard = (
        bs.convert(network, x[:1], calibrate=x, steps=16, reset=reset, threshold=bs.PercentileThreshold(99.9))
        for reset in ("soft", "hard")
    )
    assert any("W205" in note for note in bs.conversion_of(hard).notes), "it is labelled"
    assert not any("W205" in note for note in bs.conversion_of(soft).notes)
    assert accuracy(hard, held, labels) <= accuracy(soft, held, labels)
    assert bs.verify(bs.lower(hard, x[:1]), held[:20]).equal
