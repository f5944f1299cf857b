"""Layers that are rarer in quantized networks: their codes are kept, or a note says that they are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import bitspike as bs
from bitspike.conversion.quantized.mismatch import mismatch
from bitspike.conversion.quantized.over_time import spiking_twin
from bitspike.nn import QuantReLU


def between(*layers: nn.Module, channels: int = 6) -> nn.Module:
    """Return a network with layers between its first and its last one."""
    first = [nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()]
    return nn.Sequential(*first, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))


ODD: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "neither bias nor norm": (lambda: between(nn.Conv2d(6, 6, 3, bias=False), nn.ReLU()), True),
    "groups, transposed": (
        lambda: between(nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.ReLU(), channels=4),
        True,
    ),
    "groups, transposed, norm": (
        lambda: between(nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4), nn.ReLU(), channels=4),
        False,
    ),
    "norm before a layer": (
        lambda: between(nn.Conv2d(6, 6, 3), nn.ReLU(), nn.BatchNorm2d(6), nn.Conv2d(6, 6, 3), nn.ReLU()),
        False,
    ),
}


@pytest.mark.parametrize("name", ODD)
def test_codes_of_odd_layers_are_kept_or_a_note_says_that_they_are_not(name: str) -> None:
    make, keeps = ODD[name]
    torch.manual_seed(3)
    x = torch.rand(6, 3, 8, 8)
    quantized = bs.quantize(make(), x[:1], bits=2, clip=1.5).train()
    with torch.no_grad():
        for m in quantized.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.weight.uniform_(0.4, 1.2)
                m.momentum = 1.0
        quantized(x)
    quantized.eval()
    assert any(isinstance(m, QuantReLU) for m in quantized.modules())
    snn = bs.convert(quantized, x[:1], calibrate=x)
    net, before = bs.lower(snn, x[:1]), bs.codes(quantized)
    assert bs.verify(net, x[:2]).equal
    after = {node.id: node.weight for node in net.nodes if hasattr(node, "weight")}
    assert len(after) == len(before)
    same = [
        path
        for (path, own), weight in zip(before.items(), after.values(), strict=True)
        if own.bits == weight.bits and torch.equal(own.codes.abs(), torch.as_tensor(weight.codes).abs())
    ]
    lost = [path for path in before if path not in same]
    assert bool(lost) != keeps
    said = [note for note in snn.conversion.notes if note.startswith("W211")]
    assert len(said) == bool(lost)
    assert all(path in said[0] for path in lost)


@pytest.mark.parametrize("quantize", [False, True])
def test_a_parametrized_layer_without_a_bias_gets_one(quantize: bool) -> None:
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4, bias=False))
    model, x = nn.Sequential(normed, nn.ReLU(), nn.Linear(4, 2)).eval(), torch.rand(8, 4)
    model = bs.quantize(model, x[:1], bits=4, include=("1", "2")) if quantize else model
    net = bs.lower(bs.convert(model, x[:1], calibrate=x), x[:1])
    assert bs.verify(net, x).equal


def test_a_relu_after_a_max_pool_comes_before_it_as_in_the_conversion() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.MaxPool2d(2), nn.ReLU()]
    layers += [nn.Conv2d(6, 8, 3, padding=1), nn.MaxPool2d(3, stride=2, padding=1), nn.ReLU6()]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 4, 3)).eval()
    x = torch.rand(8, 2, 8, 8)
    network = bs.quantize(model, x[:1], bits=3, clip=1.5)
    assert {name for name, m in network.named_modules() if isinstance(m, bs.QuantReLU)} == {"3", "6"}
    assert {name for name in network.state_dict() if name.endswith("clip")} >= {"3.clip", "6.clip"}
    # The quantized relus where the model has them, after the pools, give the very same.
    parts = {name: network.get_submodule(name) for name in ("0", "1", "3", "4", "6", "8")}
    by_hand = nn.Sequential(*(parts.get(name, own) for name, own in model.named_children())).eval()
    with torch.no_grad():
        assert torch.equal(by_hand(x), network(x))
    assert spiking_twin(network).steps == 7
    snn = bs.convert(network, x[:1], calibrate=x)
    compared = [mismatch(network, x), mismatch(network, x, spiking=snn)]
    assert all(list(found) == ["3", "6"] for found in compared)
    assert compared[0]["3"].share == 0, "a steady input has no mismatch"
    assert bs.verify(bs.lower(snn, x[:1]), x).equal
