"""Laws of capture and folding over random networks: the graph computes what the network does, before and after."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor, nn

from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import detour, region
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import evaluate, rebuild
from bitspike.graph.wires import wires


class Random(nn.Module):
    """Layers drawn at random, with sums, joins and splits across."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        draw = random.Random(seed)
        self.layers = nn.ModuleList()
        self.plan: list[str] = []
        channels, size = 2, 9
        for _ in range(draw.randint(3, 8)):
            kind = draw.choice(
                ["conv", "grouped", "norm", "relu", "relu", "max", "avg", "add", "join", "split", "affine"]
            )
            layer: nn.Module = nn.Identity()
            if kind in ("conv", "grouped"):
                groups, out = (1, draw.choice([2, 4])) if kind == "conv" else (2, 4)
                make = draw.choice([nn.Conv2d, nn.Conv2d, nn.ConvTranspose2d])
                layer = make(
                    channels,
                    out,
                    3,
                    padding=(padding := draw.choice([0, 1]) if size > 4 else 1),
                    groups=groups,
                    bias=draw.random() < 0.5,
                )
                channels, size = out, size - 2 * (1 - padding)
            elif kind == "norm":
                layer = nn.BatchNorm2d(channels)
            elif kind == "relu":
                layer = draw.choice([nn.ReLU(inplace=draw.random() < 0.5), nn.ReLU6()])
            elif kind in ("max", "avg"):
                pools: tuple[type[nn.Module], ...] = (nn.MaxPool2d, nn.AvgPool2d)
                layer = pools[kind == "avg"](3, stride := draw.choice([1, 2]), 1, ceil_mode=draw.random() < 0.3)
                size = (size - 1) // stride + 1
            elif kind in ("add", "join", "split"):
                other = channels if kind == "add" else 2
                layer = nn.Conv2d(channels, other, 1)
                channels = {"add": channels, "join": channels + 2, "split": channels}[kind]
            self.plan.append(kind)
            self.layers.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        for kind, layer in zip(self.plan, self.layers, strict=True):
            if kind == "add":
                x = layer(x) + x
            elif kind == "join":
                x = torch.cat([x, layer(x)], 1)
            elif kind == "split":
                first, second = x.chunk(2, 1)
                x = torch.cat([second.relu(), first], 1)
            elif kind == "affine":
                x = 0.5 * x + 0.25
            else:
                x = layer(x)
        return x


def make(seed: int) -> tuple[nn.Module, Tensor, Graph]:
    generator = torch.Generator().manual_seed(seed)
    model = Random(seed).double()
    with torch.no_grad():
        for value in [*model.parameters(), *model.buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=generator, dtype=value.dtype) + 0.1)
                if value.ndim > 1:
                    value -= 0.6
    x = torch.randn(2, 2, 9, 9, generator=generator, dtype=torch.float64)
    return model, x, capture(model, x)


@pytest.mark.parametrize("seed", range(60))
def test_folding_changes_nothing_but_the_rounding(seed: int) -> None:
    model, x, graph = make(seed)
    assert agree(graph, model, x, 1e-12) <= 1e-12
    small = fold(graph)
    assert agree(small, model, x, 1e-10) <= 1e-10
    assert len(small.ops) <= len(graph.ops) + sum(op.kind in ("concat", "max_pool") for op in graph) * 2
    torch.testing.assert_close(rebuild(small)(x), model.eval()(x.clone()), rtol=1e-8, atol=1e-8)
    again = fold(small)
    assert [(op.id, op.kind) for op in again] == [(op.id, op.kind) for op in small]


@pytest.mark.parametrize("seed", range(60))
def test_wires_tell_the_truth_about_signs_and_regions_are_convex(seed: int) -> None:
    _, x, graph = make(seed)
    small = fold(graph)
    kinds = wires(small)
    for op, value in evaluate(small, x):
        if op.kind not in ("input", "output", "host") and kinds[op.id] == "rectified":
            assert bool((value >= 0).all()), op.id
    inside = region(small)
    assert detour(small, inside)[0] == ()
