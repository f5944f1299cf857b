"""A graph as a network again."""

from __future__ import annotations

import copy

import pytest
import torch
from ordinary_networks import SmallResNet, lived_in
from torch import Tensor, nn

from bitspike.conversion.fold.fold import fold
from bitspike.errors import ConversionError
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.rebuild import evaluate, rebuild, values


class Double(nn.Module):
    """Two times the sum of what it reads."""

    def forward(self, *x: Tensor) -> Tensor:
        return 2 * sum(x[1:], x[0])


def test_a_module_takes_the_place_of_an_operation() -> None:
    model, x = lived_in(SmallResNet()), torch.randn(2, 3, 16, 16)
    graph = fold(capture(model, x))
    built = rebuild(graph, {"layer1.relu#1": nn.ReLU6(), "layer1.add": Double(), "stem.2": nn.ReLU()})
    assert isinstance(built.get_submodule("layer1.relu#1"), nn.ReLU6)
    assert isinstance(built.get_submodule("layer1.add"), Double)
    found = values(graph, x)
    expected = (2 * (found["layer1.conv2"] + found["stem.2"])).clamp(0, 6)
    before = {}
    built.get_submodule("layer1.relu#1").register_forward_hook(lambda m, a, y: before.update(y=y))
    built(x)
    torch.testing.assert_close(before["y"], expected)
    with pytest.raises(ConversionError, match="no operation 'layer9'"):
        rebuild(graph, {"layer9": nn.ReLU()})


def test_the_result_is_an_ordinary_module() -> None:
    model, x = lived_in(SmallResNet()), torch.randn(2, 3, 16, 16)
    built = rebuild(capture(model, x))
    twin = copy.deepcopy(built)
    twin.load_state_dict(model.state_dict())
    torch.testing.assert_close(twin(x), model.eval()(x))
    twin(x).sum().backward()
    assert all(p.grad is not None for p in twin.parameters())
    assert all(p.grad is None for p in model.parameters())


def test_values_are_given_free_on_the_way() -> None:
    graph = capture(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), x := torch.randn(4, 2))
    assert [op.id for op, _ in evaluate(graph, x)] == ["input", "0", "1", "2", "output"]
    found = values(graph, x, {"1", "2"})
    assert sorted(found) == ["1", "2"]
    assert found["1"].shape == (4, 3)


def test_a_difference_names_the_first_operation() -> None:
    model, x = lived_in(SmallResNet()), torch.randn(2, 3, 16, 16)
    graph = capture(model, x)
    with torch.no_grad():
        model.layer2.bn1.running_mean.add_(1.0)
    with pytest.raises(
        ConversionError, match=r"differs from the model by .* first operation that differs is layer2.bn1"
    ):
        agree(graph, model, x)


def test_other_results_are_no_agreement() -> None:
    x = torch.randn(2, 3)
    with pytest.raises(ConversionError, match="differs from the model by inf"):
        agree(capture(nn.Sequential(nn.Linear(3, 2)), x), nn.Sequential(nn.Linear(3, 4)), x)
