"""Rules: every construct that cannot become spiking is named, and nothing else is."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from ordinary_networks import Blend, Detector, SmallResNet, SmallUNet, lived_in
from torch import Tensor, nn

import bitspike as bs
from bitspike.conversion.fold.fold import fold
from bitspike.conversion.region.choose import region
from bitspike.conversion.region.rules import raise_if, violations
from bitspike.errors import BitspikeError, ConversionError
from bitspike.graph.capture.from_module import capture
from bitspike.graph.ir import Graph
from bitspike.violations import Violation


class Middle(nn.Module):
    """Something between two layers that are followed by a relu, so that it lies inside the region."""

    def __init__(self, middle: Any, dims: int, wide: int) -> None:
        super().__init__()
        make: Any = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims]
        more = (1,) if dims else ()
        self.enter = make(4, 4, *more)
        self.here = middle if isinstance(middle, nn.Module) else Function(middle)
        self.leave = make(wide, 4, *more)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.leave(self.here(torch.relu(self.enter(x)))))


class Function(nn.Module):
    """One function of x."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """Channels weighed by what they hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weigh = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.weigh(x.mean((2, 3), keepdim=True)))


def rows(x: Tensor) -> Tensor:
    return x.view(-1, x.shape[-1]).relu().view(x.shape)


def everything(model: nn.Module, *shape: int) -> tuple[Graph, list[Violation]]:
    graph = fold(capture(lived_in(model), torch.randn(2, *shape)))
    return graph, violations(graph, region(graph))


# what stands in the middle, its code, a word of the message, dimensions of the image
UNSUPPORTED: list[tuple[Any, str, str, int]] = [
    # activations as modules
    (nn.LeakyReLU(), "E101", "LeakyReLU", 2),
    (nn.SiLU(), "E101", "SiLU", 2),
    (nn.GELU(), "E101", "GELU", 2),
    (nn.ELU(), "E101", "ELU", 2),
    (nn.SELU(), "E101", "SELU", 2),
    (nn.CELU(), "E101", "CELU", 2),
    (nn.Mish(), "E101", "Mish", 2),
    (nn.PReLU(), "E101", "PReLU", 2),
    (nn.Sigmoid(), "E101", "Sigmoid", 2),
    (nn.Tanh(), "E101", "Tanh", 2),
    (nn.Hardswish(), "E101", "Hardswish", 2),
    (nn.Hardsigmoid(), "E101", "Hardsigmoid", 2),
    (nn.Hardtanh(), "E101", "Hardtanh", 2),
    (nn.Softplus(), "E101", "Softplus", 2),
    (nn.Softsign(), "E101", "Softsign", 2),
    (nn.Softmax(1), "E101", "Softmax", 0),
    (nn.LogSigmoid(), "E101", "LogSigmoid", 2),
    (nn.Hardshrink(), "E101", "Hardshrink", 2),
    (nn.Softshrink(), "E101", "Softshrink", 2),
    (nn.Tanhshrink(), "E101", "Tanhshrink", 2),
    (nn.Threshold(0.5, 0.0), "E101", "Threshold", 2),
    # activations as functions and methods
    (F.leaky_relu, "E101", "leaky_relu", 2),
    (F.silu, "E101", "silu", 2),
    (F.gelu, "E101", "gelu", 2),
    (F.hardswish, "E101", "hardswish", 2),
    (torch.tanh, "E101", "tanh", 2),
    (lambda x: x.sigmoid(), "E101", "sigmoid", 2),
    (lambda x: x.softmax(1), "E101", "softmax", 0),
    (lambda x: x.clamp(min=0.1), "E101", "clamp", 2),
    (lambda x: x.clamp(max=1), "E101", "clamp", 2),
    (lambda x: x.clamp(-1, 1), "E101", "clamp", 2),
    (lambda x: x.abs(), "E101", "abs", 2),
    (lambda x: x**2, "E101", "pow", 2),
    (lambda x: x.exp(), "E101", "exp", 2),
    # products and other operations
    (lambda x: x * x, "E106", "multiplies two signals", 2),
    (Gate(), "E101", "sigmoid", 2),
    (lambda x: x / (x + 1), "E106", "divides by a signal", 2),
    (lambda x: x + x.mean((2, 3), keepdim=True), "E106", "spreads", 2),
    (nn.LayerNorm(4), "E106", "LayerNorm", 0),
    (nn.GroupNorm(2, 4), "E106", "GroupNorm", 2),
    (nn.InstanceNorm2d(4), "E106", "InstanceNorm2d", 2),
    (nn.BatchNorm2d(4, track_running_stats=False), "E106", "no running statistics", 2),
    (nn.LocalResponseNorm(2), "E106", "LocalResponseNorm", 2),
    (nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"), "E106", "reflect", 2),
    (nn.ReflectionPad2d(1), "E106", "ReflectionPad2d", 2),
    (lambda x: F.pad(x, (1, 1), value=1.0), "E106", "allowed are zeros", 2),
    (nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), "E106", "aligned corners", 2),
    (nn.Sequential(nn.Conv2d(4, 4, 1), nn.Upsample(scale_factor=2, mode="bilinear")), "E106", "negative", 2),
    (nn.Upsample(scale_factor=2, mode="bicubic"), "E106", "bicubic", 2),
    (lambda x: F.interpolate(x, scale_factor=1.5), "E106", "no whole", 2),
    (lambda x: torch.einsum("nchw,cd,c->ndhw", x, torch.eye(4), torch.ones(4)), "E106", "einsum", 2),
    (lambda x: torch.cat([x, x], 2), "E106", "joins along axis 2", 2),
    (lambda x: torch.cat([x[:, ::2], x[:, 1::2]], 1), "E106", "every 2th", 2),
    (lambda x: F.dropout(x, 0.5), "E106", "training", 2),
    (lambda x: x.cumsum(1), "E106", "cumsum", 2),
    # pools
    (nn.AvgPool2d(2, 2, ceil_mode=True), "E104", "ceil_mode", 2),
    (nn.AvgPool2d(3, 2, 1, count_include_pad=False), "E104", "count_include_pad", 2),
    (nn.AvgPool2d(2, divisor_override=3), "E104", "divides", 2),
    (nn.AdaptiveAvgPool2d(4), "E104", "differ in size", 2),
    (nn.MaxPool2d(2, dilation=2), "E104", "dilation", 2),
    (nn.LPPool2d(2, 2), "E106", "LPPool2d", 2),
    (nn.FractionalMaxPool2d(2, output_size=3), "E106", "FractionalMaxPool2d", 2),
    # norms and constants
    (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)), "E105", "norm", 2),
    (lambda x: x - 0.5, "E105", "constant", 0),
    (nn.Sequential(nn.BatchNorm1d(4), nn.ReLU()), "E105", "norm", 0),
    # the batch
    (lambda x: (x.flatten(0, 1).relu()).view(x.shape), "E109", "batch", 2),
    (rows, "E109", "batch", 2),
    (lambda x: x.transpose(0, 1).transpose(0, 1), "E109", "batch", 2),
    (lambda x: x - x.mean(0), "E109", "batch", 2),
    # signed values
    (nn.Conv2d(4, 4, 1), "E103", "signed", 2),
    (nn.Sequential(nn.Conv2d(4, 4, 1), nn.AvgPool2d(2), nn.ReLU()), "E103", "signed", 2),
    (lambda x: x - x.flip(1).relu(), "E106", "flip", 2),
    (lambda x: x - F.max_pool2d(x, 3, 1, 1), "E103", "sum of signed", 2),
]


@pytest.mark.parametrize(("middle", "code", "word", "dims"), UNSUPPORTED, ids=range(len(UNSUPPORTED)))
def test_every_unsupported_construct_is_named(middle: Any, code: str, word: str, dims: int) -> None:
    probe = torch.randn(2, 4, *(7,) * dims)
    one = (middle if isinstance(middle, nn.Module) else Function(middle)).eval()
    if isinstance(middle, nn.BatchNorm1d | nn.Sequential) and dims == 0:
        middle = nn.Sequential(nn.Identity(), *middle)
    wide = one(probe).shape[1] if word != "joins along axis 2" else 4
    # A constant before a layer is folded into it; between two sums it is not.
    model = Middle(middle, dims, wide) if word != "constant" else Middle(lambda x: (x - 0.5) + x, dims, wide)
    graph, found = everything(model, *probe.shape[1:])
    errors = [v for v in found if v.severity == "error"]
    assert code in {v.code for v in errors}, [str(v) for v in errors]
    named = [v for v in errors if v.code == code]
    assert any(word in str(v) for v in named), [str(v) for v in errors]
    assert all(v.path and v.rule and v.fixes for v in errors)
    assert any(v.path.startswith("here") or v.path == "leave" for v in named)
    with pytest.raises(ConversionError, match=code):
        raise_if(found)
    # What a message says to exclude leaves a region with a relu, in which this rule is kept.
    ways = [(v, re.search(r"exclude=(\[.*?\])", fix)) for v in errors for fix in v.fixes]
    excluded = [(v, ast.literal_eval(way[1])) for v, way in ways if way]
    assert excluded
    for v, names in excluded:
        rest = region(graph, exclude=names)
        assert any(graph[id].kind == "relu" for id in rest)
        assert (v.code, v.path, v.call) not in {(w.code, w.path, w.call) for w in violations(graph, rest)}


def test_there_are_sixty_of_them() -> None:
    assert len(UNSUPPORTED) >= 60


@pytest.mark.parametrize(
    ("network", "shape"),
    [(SmallResNet, (3, 16, 16)), (SmallUNet, (1, 16, 16)), (Detector, (3, 16, 16)), (Blend, (1, 8, 8))],
)
def test_ordinary_networks_break_no_rule(network: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    _, found = everything(network(), *shape)
    raise_if(found)
    assert found == []


def test_torchvisions_networks_break_no_rule() -> None:
    for name in ("resnet18", "vgg11_bn"):
        model = torchvision.models.get_model(name, weights=None, num_classes=3)
        graph, found = everything(model, 3, 32, 32)
        assert found == []
        relus = [op for op in graph if op.kind == "relu"]
        assert all(op.id in region(graph) for op in relus)


def test_convert_check_03_only_unsupported_activations() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.SiLU(), nn.Sequential(nn.Conv2d(2, 2, 3), nn.Tanh()), nn.Flatten(), nn.Linear(8, 2)
    )
    _, found = everything(model, 1, 6, 6)
    assert [(v.code, v.path) for v in found] == [("E101", "1"), ("E101", "2.1")]
    with pytest.raises(ConversionError) as caught:
        raise_if(found)
    assert "E101  1" in str(caught.value)
    assert "E101  2.1" in str(caught.value)
    assert "SiLU" in str(caught.value)
    assert "Tanh" in str(caught.value)
    assert isinstance(caught.value, BitspikeError)


def test_convert_check_03_no_activation_at_all() -> None:
    for model in (
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)),
        nn.Sequential(nn.Linear(2, 2)),
        nn.Sequential(nn.ReLU()),
    ):
        _, found = everything(model, 2)
        assert [v.code for v in found] == ["E101"]
        assert "there is no relu" in found[0].found


def test_a_region_that_is_not_convex_lists_the_way() -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = (nn.Linear(2, 2) for _ in range(3))
            self.odd = nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            x = torch.relu(self.a(x))
            return self.c(torch.relu(self.b(x) + self.odd(x)))

    graph = fold(capture(Shortcut(), torch.randn(2, 2)))
    found = violations(graph, region(graph, exclude=["odd"]))
    assert [(v.code, v.path) for v in found] == [("E107", "odd")]
    assert "relu -> odd -> add" in found[0].found
    assert "'odd'" in found[0].fixes[0]
    graph = fold(capture(SmallResNet(), torch.randn(2, 3, 16, 16)))
    found = violations(graph, region(graph, exclude=["layer2"]))
    assert [v.code for v in found] == ["E107"]


def test_a_layer_that_is_read_twice_feeds_no_single_relu() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x)
            return self.b(torch.relu(y) + torch.relu(y + 1))

    _, found = everything(Twice(), 2)
    assert {(v.code, v.path) for v in found} == {("E101", "a"), ("E105", "add")}


def test_all_violations_are_reported_together_with_their_lines() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.GELU(),
        nn.Conv2d(4, 4, 3),
        nn.AvgPool2d(3, 2, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(4, 2, 1),
    )
    _, found = everything(model, 1, 10, 10)
    assert [v.code for v in found] == ["E101", "E104", "E103"]
    with pytest.raises(ConversionError, match=r"(?s)3 rules are broken.*GELU.*ceil_mode.*signed"):
        raise_if(found)
    _, found = everything(Middle(F.gelu, 0, 4), 4)
    assert "test_conversion_rules.py:" in found[0].line
    assert found[0].line in str(found[0])


def test_notes_do_not_stop_anything() -> None:
    raise_if([Violation(code="N301", found="the softmax stays real")])


def test_convert_check_03_a_converted_model_holds_no_relu_in_its_region() -> None:
    model, x = lived_in(SmallResNet()), torch.rand(4, 3, 16, 16)
    network = bs.convert(model, x, calibrate=x)
    assert isinstance(network, torch.fx.GraphModule)
    targets = [node.target for node in network.graph.nodes]
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    assert torch.relu not in targets
    assert torch.clamp not in targets
    graph = fold(capture(model, x))
    relus = [op.id for op in graph if op.kind == "relu"]
    assert sum(isinstance(module, bs.Neuron) for module in network.modules()) == len(relus) == 7
