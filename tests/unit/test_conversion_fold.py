"""Folding: where norms and constants go, and that nothing changes but the rounding."""

from __future__ import annotations

import pytest
import torch
from ordinary_networks import SmallUNet, lived_in
from torch import Tensor, nn
from torchvision import transforms as v1
from torchvision.transforms import v2

from bitspike.conversion.fold.fold import fold
from bitspike.errors import ConversionError
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import values


class Forward(nn.Module):
    """Layers by name and a function of the layers and x."""

    def __init__(self, forward, **layers: nn.Module) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.how = forward
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)  # type: ignore[no-any-return]


def folded(model: nn.Module, *shape: int) -> Graph:
    """Fold a network in double precision and check that it computes the same."""
    lived_in(model).double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    graph = fold(capture(model, x))
    assert agree(graph, model, x, 1e-12) <= 1e-12
    assert all(graph.module_of(op).bias is not None for op in graph if op.kind in ("convolution", "linear"))
    return graph


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph][1:-1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "norm", "shape"),
    [
        (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6), (4, 7, 7)),
        (nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2), nn.BatchNorm2d(6), (4, 5, 5)),
        (nn.Conv1d(4, 6, 3, dilation=2), nn.BatchNorm1d(6, affine=False), (4, 9)),
        (nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), (2, 4, 4, 4)),
        (nn.Linear(4, 6), nn.BatchNorm1d(6), (4,)),
    ],
    ids=["conv2d", "transposed", "conv1d", "conv3d", "linear"],
)
def test_a_norm_goes_into_the_layer_before_it(
    layer: nn.Module, norm: nn.Module, shape: tuple[int, ...], bias: bool
) -> None:
    if not bias:
        layer.bias = None
    graph = folded(nn.Sequential(layer, norm, nn.ReLU()), *shape)
    assert [op.id for op in graph] == ["input", "0", "2", "output"]
    assert list(graph.modules) == ["0"]
    assert graph.modules["0"] is not layer


def test_a_norm_goes_into_the_layer_behind_it_where_that_pads_nothing() -> None:
    behind = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2))
    assert kinds(folded(behind, 4, 6, 6)) == ["relu", "convolution"]
    flat = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3))
    assert kinds(folded(flat, 4, 6, 6)) == ["relu", "avg_pool", "reshape", "linear"]
    padded = nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1))
    assert kinds(folded(padded, 4, 6, 6)) == ["relu", "norm", "convolution"]


def test_a_norm_goes_through_sums_joins_and_pools_into_every_layer_before_it() -> None:
    layers = {"a": nn.Conv2d(2, 3, 1), "b": nn.Conv2d(2, 3, 1), "c": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(5)}

    def forward(m, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        y = torch.cat([m.a(x) - m.b(x), m.c(x)], 1)
        return torch.relu(m.norm(nn.functional.avg_pool2d(y, 2)))

    graph = folded(Forward(forward, **layers), 2, 4, 4)
    assert "norm" not in kinds(graph)
    assert kinds(graph).count("convolution") == 3


def test_a_layer_that_is_read_twice_keeps_its_norm_outside() -> None:
    layers = {"conv": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2)}
    graph = folded(Forward(lambda m, x: torch.relu(m.norm(y := m.conv(x))) + y, **layers), 2, 4, 4)
    assert kinds(graph) == ["convolution", "norm", "relu", "add"]


def test_a_norm_on_spikes_in_front_of_a_relu_becomes_a_depthwise_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU())
    graph = folded(model, 2, 4, 4)
    assert kinds(graph) == ["convolution", "relu", "convolution", "relu"]
    layer = graph.module_of(graph["2"])
    assert isinstance(layer, nn.Conv2d)
    assert (layer.groups, layer.kernel_size, layer.weight.dtype) == (4, (1, 1), torch.float64)
    signed = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
    assert kinds(folded(signed, 2, 4, 4)) == ["convolution", "relu", "norm", "convolution", "relu"]


def test_shared_layers_with_one_norm_stay_one_layer() -> None:
    layers = {"conv": nn.Conv2d(2, 2, 1), "norm": nn.BatchNorm2d(2), "other": nn.BatchNorm2d(2)}
    twice = folded(Forward(lambda m, x: m.norm(m.conv(m.norm(m.conv(x)).relu())).relu(), **layers), 2, 4, 4)
    assert [op.module for op in twice if op.kind == "convolution"] == ["conv", "conv"]
    apart = folded(Forward(lambda m, x: m.other(m.conv(m.norm(m.conv(x)).relu())).relu(), **layers), 2, 4, 4)
    assert [op.module for op in apart if op.kind == "convolution"] == ["conv", "conv#1"]


def test_constants_are_folded_in_chains() -> None:
    per_channel = torch.tensor([1.0, -2.0]).double().reshape(1, 2, 1, 1)
    layers = {"conv": nn.Conv2d(2, 2, 1), "last": nn.Conv2d(2, 2, 2)}
    model = Forward(lambda m, x: m.last(((m.conv(x / 3) * per_channel + 1) * 2).relu() * 0.5 + 1), **layers)
    graph = folded(model, 2, 4, 4)
    assert kinds(graph) == ["convolution", "relu", "convolution"]


def test_a_norm_of_the_input_goes_through_zeros_around_it() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
    assert kinds(folded(model, 2, 4, 4)) == ["pad", "convolution", "relu"]
    layers = {"norm": nn.BatchNorm2d(2), "a": nn.Conv2d(2, 2, 3, padding=1), "b": nn.Conv2d(2, 2, 5, padding=2)}

    def forward(m, x: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        y = m.norm(nn.functional.pad(x / 3 - 1, (1, 0, 2, 0)))
        return torch.relu(m.a(y) + m.a(y)) + m.a(y).relu()

    gains = Forward(forward, **layers)
    with torch.no_grad():
        gains.get_parameter("norm.weight").abs_().add_(0.1)
    graph = folded(gains, 2, 4, 4)
    assert "norm" not in kinds(graph)
    assert "affine" not in kinds(graph)
    assert kinds(graph).count("pad") == 2  # the network's own, and one that all three calls of the layer read
    borders = Forward(lambda m, x: torch.relu(m.a(y := m.norm(x)) + m.b(y)), **layers)
    assert kinds(folded(borders, 2, 4, 4))[0] == "norm"  # two borders would be two inputs of the spiking part


KINDS_OF_NORMALIZE = pytest.mark.parametrize("normalize", [v1.Normalize, v2.Normalize], ids=["v1", "v2"])


@KINDS_OF_NORMALIZE
@pytest.mark.parametrize(("mean", "std"), [([0.5, 0.25], [0.25, 2.0]), ([0.5], [0.25]), ([0.5, 0.25], [2.0])])
def test_normalize_of_torchvision_goes_into_the_first_layer(
    normalize: type[nn.Module], mean: list[float], std: list[float]
) -> None:
    for padding, expected in ((0, ["convolution", "relu"]), (1, ["pad", "convolution", "relu"])):
        model = nn.Sequential(normalize(mean, std), nn.Conv2d(2, 2, 3, padding=padding), nn.ReLU())
        assert kinds(folded(model, 2, 4, 4)) == expected


@KINDS_OF_NORMALIZE
def test_a_normalize_that_computes_something_else_is_followed(normalize: type[nn.Module]) -> None:
    class Twice(normalize):  # type: ignore[valid-type, misc]
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    graph = fold(capture(nn.Sequential(Twice([0.5], [0.25]), nn.Conv2d(1, 1, 3), nn.ReLU()), torch.rand(1, 1, 4, 4)))
    (conv,) = (op for op in graph if op.kind == "convolution")
    assert kinds(graph) == ["convolution", "relu"]
    assert graph.module_of(conv).bias is not None


def test_the_function_normalize_says_that_there_is_a_module() -> None:
    model = Forward(lambda m, x: m.conv(v1.functional.normalize(x, [0.5], [0.5])).relu(), conv=nn.Conv2d(1, 1, 3))
    with pytest.raises(ConversionError, match=r"fix: self.normalize = torchvision.transforms.Normalize\(mean, std\)"):
        capture(model, torch.rand(1, 1, 4, 4))


def test_a_norm_of_the_input_stays_where_nothing_can_take_it_up() -> None:
    for behind in (nn.ConvTranspose2d(2, 2, 3, padding=1), nn.AvgPool2d(3, padding=1)):
        model = nn.Sequential(nn.BatchNorm2d(2), behind, nn.Conv2d(2, 2, 1), nn.ReLU())
        assert kinds(folded(model, 2, 6, 6))[0] == "norm"
    switched_off = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1), nn.ReLU())
    lived_in(switched_off)
    with torch.no_grad():
        switched_off.get_parameter("0.weight")[1] = 0
    x = torch.randn(2, 2, 4, 4)
    assert kinds(fold(capture(switched_off, x))) == ["norm", "convolution", "relu"]


def test_a_relu_moves_in_front_of_what_it_commutes_with() -> None:
    pooled = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.Flatten(), nn.ReLU6())
    graph = folded(pooled, 2, 4, 4)
    assert [op.id for op in graph] == ["input", "0", "4", "2", "3", "output"]
    assert graph["4"].shape == (2, 4, 4)
    layers = {"a": nn.Conv2d(2, 3, 1), "b": nn.Conv2d(2, 2, 1)}
    joined = folded(Forward(lambda m, x: torch.relu(torch.cat([m.a(x), m.b(x), m.a(x).relu()], 1)), **layers), 2, 4, 4)
    assert [op.id for op in joined if op.kind == "relu"] == ["relu", "relu#1", "relu#2"]
    assert [op.kind for op in joined][-2:] == ["concat", "output"]


@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "padding": 1}, {"stride": 2, "dilation": 2}])
def test_windows_of_rectified_values_become_whole(options: dict[str, int]) -> None:
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.MaxPool2d(3, ceil_mode=True, **options), nn.ReLU())
    graph = folded(model, 2, 8, 8)
    assert [op.id for op in graph] == ["input", "0", "2", "1.pad", "1", "output"]
    assert not graph["1"].attrs["ceil_mode"]
    real = folded(nn.Sequential(nn.MaxPool2d(3, ceil_mode=True, **options)), 2, 8, 8)
    assert real["0"].attrs["ceil_mode"]


def test_folding_in_single_precision_rounds_once() -> None:
    model, x = lived_in(SmallUNet()), torch.randn(2, 1, 16, 16)
    graph = fold(capture(model, x))
    assert "norm" not in kinds(graph)
    assert agree(graph, model, x) <= 1e-5
    assert list(values(graph, x, {"head"})) == ["head"]
    assert fold(graph).ops == graph.ops or [op.id for op in fold(graph)] == [op.id for op in graph]
