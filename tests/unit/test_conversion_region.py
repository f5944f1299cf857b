"""Regions: where they begin and end, and that no way leaves them and comes back."""

from __future__ import annotations

import pytest
import torch
from ordinary_networks import Detector, SmallResNet, SmallUNet
from torch import Tensor, nn

from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import detour, region
from bitspike.errors import ConversionError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.ir import Graph


def graph_of(model: nn.Module, *shape: int) -> Graph:
    return fold(capture(model, torch.randn(2, *shape)))


def outside(graph: Graph, inside: frozenset[str]) -> list[str]:
    return [op.id for op in graph if op.id not in inside and op.kind not in ("input", "output")]


def test_everything_from_the_first_weights_to_the_classifier() -> None:
    graph = graph_of(SmallResNet(), 3, 16, 16)
    assert outside(graph, region(graph)) == []
    graph = graph_of(SmallUNet(), 1, 16, 16)
    assert outside(graph, region(graph)) == []


def test_heads_read_out_and_what_follows_stays_real() -> None:
    graph = graph_of(Detector(), 3, 16, 16)
    inside = region(graph)
    assert {op.id for op in graph if op.kind == "convolution"} <= inside
    assert {graph[id].kind for id in outside(graph, inside)} == {"host", "transpose", "reshape"}


def test_what_no_neuron_feeds_stays_real() -> None:
    layers = [nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.Linear(4, 2), nn.Softmax(1)]
    graph = graph_of(nn.Sequential(*layers), 4)
    assert sorted(region(graph)) == ["2", "3", "4"]


def test_the_last_relu_may_be_the_end() -> None:
    graph = graph_of(nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), 1, 4, 4)
    assert sorted(region(graph)) == ["0", "1"]


def test_an_activation_in_the_middle_belongs_and_is_for_the_rules() -> None:
    graph = graph_of(nn.Sequential(nn.Linear(2, 2), nn.SiLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), 2)
    assert sorted(region(graph)) == ["0", "1", "2", "3", "4"]


def test_patterns_choose_modules_and_all_that_is_inside() -> None:
    graph = graph_of(SmallResNet(), 3, 16, 16)
    inside = region(graph, include=["layer2"])
    assert inside == {op.id for op in graph if op.path.startswith("layer2")}
    assert region(graph, include=["layer2.*"]) == inside
    assert region(graph, exclude=["fc", "layer3", "mean*"]) == {
        op.id for op in graph if op.path.startswith(("stem", "layer1", "layer2"))
    }
    assert "stem.2" not in region(graph, exclude=["stem.0"])  # a relu without weights in front is none of ours
    with pytest.raises(ConversionError, match="include: no operation matches 'layer7'"):
        region(graph, include=["layer7"])
    with pytest.raises(ConversionError, match="exclude: no operation matches"):
        region(graph, exclude=["head"])


class Shortcut(nn.Module):
    """Two ways from one layer to another, of which one has an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Linear(2, 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.a(x))
        return self.c(torch.relu(self.b(x)) + torch.tanh(x))


def test_a_way_out_and_back_is_found_with_the_smallest_region_that_has_none() -> None:
    graph = graph_of(Shortcut(), 2)
    inside = region(graph, exclude=["tanh"])
    way, complete = detour(graph, inside)
    assert way == ("relu", "tanh", "add")
    assert complete == inside | {"tanh"}
    assert detour(graph, complete) == ((), complete)
