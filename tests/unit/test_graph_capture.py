"""Capture: what calls become, where they come from, and what the errors say."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchvision
from ordinary_networks import Blend, Detector, Found, SmallResNet, SmallUNet, lived_in
from torch import Tensor, nn

from bitspike.conversion.fold.fold import fold
from bitspike.errors import ConversionError
from bitspike.graph.capture.agree import agree
from bitspike.graph.capture.from_module import capture
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import rebuild, values


class Function(nn.Module):
    """One function of x, between two layers where it is asked for."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


def kinds(graph: Graph) -> list[str]:
    return [op.kind for op in graph]


def caught(function: Any, *shape: int) -> tuple[list[str], Graph]:
    """Capture one function, check that the graph computes it, and return the kinds between input and output."""
    model, x = Function(function), torch.randn(3, *(shape or (4, 6, 6)))
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    return kinds(graph)[1:-1], graph


def test_convert_check_02_capture_of_resnet18() -> None:
    model = lived_in(torchvision.models.resnet18(weights=None, num_classes=7))
    x = torch.randn(2, 3, 33, 33)
    graph = capture(model, x)
    assert agree(graph, model, x, 1e-5) <= 1e-5
    assert agree(fold(graph), model, x, 1e-5) <= 1e-5
    relus = [op.id for op in graph if op.kind == "relu"]
    assert len(relus) == 17
    assert relus[:3] == ["relu", "layer1.0.relu", "layer1.0.relu#1"]
    assert graph["layer1.0.relu#1"].call == 1
    assert graph["layer1.0.add"].path == "layer1.0"
    assert "resnet.py:" in graph["layer1.0.add"].line
    assert set(rebuild(graph).state_dict()) == set(model.state_dict())  # names are unchanged
    assert kinds(capture(model, x, frontend="export")) == kinds(graph)


def test_convert_check_02_capture_of_a_user_net() -> None:
    model, x = lived_in(Blend()), torch.randn(3, 1, 8, 8)
    graph = capture(model, x)
    assert agree(graph, model, x, 1e-5) <= 1e-5
    assert agree(fold(graph), model, x, 1e-5) <= 1e-5
    acts = [op for op in graph if op.path == "act"]
    assert [op.id for op in acts] == ["act", "act#1", "act#2"]
    assert [op.id for op in graph if op.module == "second"] == ["second", "second#1", "second#2"]
    assert [op.id for op in graph if op.kind == "relu" and op.path == ""] == ["relu", "relu#1", "relu#2"]
    assert set(rebuild(graph).state_dict()) == set(model.state_dict())
    other = capture(model, x, frontend="export")
    assert kinds(other) == kinds(graph)
    assert [op.path for op in other] == [op.path for op in graph]
    assert agree(other, model, x, 1e-5) <= 1e-5
    assert set(rebuild(other).state_dict()) == set(model.state_dict())


@pytest.mark.parametrize("network", [SmallResNet, SmallUNet, Detector])
def test_small_networks_agree_and_a_batch_of_another_size_works(network: type[nn.Module]) -> None:
    model = lived_in(network())
    x = torch.randn(2, 1 if isinstance(model, SmallUNet) else 3, 16, 16)
    graph = capture(model, x)
    more = torch.randn(5, *x.shape[1:])
    for version in (graph, fold(graph)):
        assert agree(version, model, x) <= 1e-5
        assert agree(version, model, more) <= 1e-5
        result = rebuild(version)(more)
        torch.testing.assert_close(result, model.eval()(more), rtol=1e-4, atol=1e-5)


def test_the_structure_of_the_result_is_kept() -> None:
    model = Detector().eval()
    x = torch.randn(2, 3, 16, 16)
    graph = capture(model, x)
    result = values(graph, x)["output"]
    assert list(result) == ["near", "far"]
    assert isinstance(result["near"], Found)
    assert isinstance(rebuild(graph)(x)["far"], Found)
    assert len(graph["output"].inputs) == 4


def test_results_of_every_shape() -> None:
    def forward(x: Tensor) -> Any:
        return {"a": [x * 2, (x + 1, None)], "n": 3, "rows": x.shape[0]}

    x = torch.randn(2, 3)
    graph = capture(Function(forward), x)
    result = values(graph, x)["output"]
    assert result["n"] == 3
    assert result["rows"] == 2
    assert result["a"][1][1] is None
    assert values(graph, torch.randn(5, 3))["output"]["rows"] == 5


@pytest.mark.parametrize(
    "function",
    [
        F.relu,
        torch.relu,
        torch.relu_,
        lambda x: x.relu(),
        lambda x: x.relu_(),
        nn.ReLU(),
        nn.ReLU(inplace=True),
        nn.Threshold(0.0, 0.0),
        nn.LeakyReLU(0.0),
        lambda x: F.relu(x, inplace=True),
        lambda x: x.clamp(min=0),
        lambda x: x.clip(0),
        lambda x: torch.clamp(x, min=0.0),
        lambda x: x.clamp_min(0),
        lambda x: F.threshold(x, 0, 0),
    ],
)
def test_every_way_of_writing_a_relu(function: Any) -> None:
    model, x = nn.Sequential(Function(lambda x: x + 1), Function(function)), torch.randn(3, 4)
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    assert kinds(graph)[1:-1] == ["affine", "relu"]
    assert graph.ops[2].attrs["clip"] is None


@pytest.mark.parametrize(
    ("function", "clip"),
    [
        (F.relu6, 6.0),
        (nn.ReLU6(), 6.0),
        (nn.Hardtanh(0.0, 2.0), 2.0),
        (lambda x: F.hardtanh(x, 0.0, 1.5), 1.5),
        (lambda x: x.clamp(0, 3), 3.0),
        (lambda x: torch.clamp(x, min=0, max=4), 4.0),
    ],
)
def test_every_way_of_writing_a_clipped_relu(function: Any, clip: float) -> None:
    found, graph = caught(function)
    assert found == ["relu"]
    assert graph.ops[1].attrs["clip"] == clip


SAME_FUNCTIONS: list[tuple[Any, list[str]]] = [
    (lambda x: x + x.relu(), ["relu", "add"]),
    (lambda x: torch.add(x, x.relu()), ["relu", "add"]),
    (lambda x: x.relu().add_(x), ["relu", "add"]),
    (lambda x: x - x.relu(), ["relu", "add"]),
    (lambda x: torch.sub(x, x.relu()), ["relu", "add"]),
    (lambda x: sum([x, x.relu()]), ["relu", "add"]),
    (lambda x: x + 2, ["affine"]),
    (lambda x: 2 + x, ["affine"]),
    (lambda x: 2 - x, ["affine"]),
    (lambda x: -x, ["affine"]),
    (lambda x: x * 3, ["affine"]),
    (lambda x: 3 * x, ["affine"]),
    (lambda x: x / 4, ["affine"]),
    (lambda x: torch.mul(x, 0.5), ["affine"]),
    (lambda x: x * torch.arange(1.0, 5.0).reshape(1, 4, 1, 1), ["affine"]),
    (lambda x: x + torch.arange(1.0, 5.0).reshape(4, 1, 1), ["affine"]),
    (lambda x: x + 0, []),
    (lambda x: x * 1, []),
    (lambda x: torch.cat([x, x.relu()], 1), ["relu", "concat"]),
    (lambda x: torch.cat((x, x.relu()), dim=-3), ["relu", "concat"]),
    (lambda x: torch.concat([x], 1), []),
    (lambda x: torch.flatten(x, 1), ["reshape"]),
    (nn.Flatten(), ["reshape"]),
    (lambda x: x.view(x.size(0), -1), ["reshape"]),
    (lambda x: x.view(-1, x.shape[1] * x.shape[2] * x.shape[3]), ["reshape"]),
    (lambda x: x.reshape(x.shape[0], 2, 2, x.shape[2], x.shape[3]), ["reshape"]),
    (lambda x: x.unsqueeze(1).squeeze(1), ["reshape", "reshape"]),
    (lambda x: x.unflatten(1, (2, 2)), ["reshape"]),
    (lambda x: x.view(x.shape), []),
    (lambda x: x.permute(0, 2, 3, 1), ["transpose"]),
    (lambda x: x.permute((0, 1, 2, 3)), []),
    (lambda x: x.transpose(1, 2), ["transpose"]),
    (lambda x: x.transpose(-1, -2), ["transpose"]),
    (lambda x: x.movedim(1, -1), ["transpose"]),
    (lambda x: F.pixel_shuffle(x, 2), ["reshape", "transpose", "reshape"]),
    (nn.PixelUnshuffle(2), ["reshape", "transpose", "reshape"]),
    (nn.ChannelShuffle(2), ["reshape", "transpose", "reshape"]),
    (lambda x: x[:, 1:3], ["slice"]),
    (lambda x: x[:, 1:3, ...], ["slice"]),
    (lambda x: x[..., 1:-1, 1:-1], ["pad"]),
    (lambda x: x[:, :2, 1:], ["slice", "pad"]),
    (lambda x: x.narrow(1, 0, 2), ["slice"]),
    (lambda x: x[:, :, ::2, ::2], ["avg_pool"]),
    (lambda x: x[:, 1:, 1::2], ["slice", "pad", "avg_pool"]),
    (lambda x: torch.cat(x.chunk(2, dim=1)[::-1], 1), ["slice", "slice", "concat"]),
    (lambda x: x.split([1, 3], 1)[1], ["slice"]),
    (lambda x: x.tensor_split(2, dim=1)[0], ["slice"]),
    (nn.AvgPool2d(2), ["avg_pool"]),
    (lambda x: F.avg_pool2d(x, 2), ["avg_pool"]),
    (lambda x: F.avg_pool2d(x, (3, 2), stride=1, padding=1, count_include_pad=False), ["avg_pool"]),
    (nn.AvgPool2d(4, ceil_mode=True), ["avg_pool"]),
    (nn.MaxPool2d(2), ["max_pool"]),
    (nn.MaxPool2d(3, 2, 1), ["max_pool"]),
    (lambda x: F.max_pool2d(x, 2), ["max_pool"]),
    (lambda x: F.max_pool2d(x, kernel_size=3, stride=1, dilation=2), ["max_pool"]),
    (lambda x: torch.max_pool2d(x, 2), ["max_pool"]),
    (nn.AdaptiveAvgPool2d(1), ["avg_pool"]),
    (nn.AdaptiveAvgPool2d((3, None)), ["avg_pool"]),
    (nn.AdaptiveAvgPool2d(12), ["upsample"]),
    (nn.AdaptiveAvgPool2d(6), []),
    (nn.AdaptiveMaxPool2d(2), ["max_pool"]),
    (lambda x: F.adaptive_avg_pool2d(x, 2), ["avg_pool"]),
    (lambda x: F.adaptive_max_pool2d(x, 2), ["max_pool"]),
    (lambda x: x.mean((2, 3)), ["avg_pool", "reshape"]),
    (lambda x: x.mean([-1, -2], keepdim=True), ["avg_pool"]),
    (lambda x: torch.mean(x, 3), ["avg_pool", "reshape"]),
    (lambda x: x.mean(3).mean(2), ["avg_pool", "reshape"] * 2),
    (lambda x: x.amax((2, 3)), ["max_pool", "reshape"]),
    (nn.Upsample(scale_factor=2), ["upsample"]),
    (nn.Upsample(scale_factor=2, mode="bilinear"), ["upsample"]),
    (nn.UpsamplingBilinear2d(scale_factor=2), ["upsample"]),
    (lambda x: F.interpolate(x, size=(12, 18)), ["upsample"]),
    (lambda x: F.interpolate(x, scale_factor=(2.0, 3.0)), ["upsample"]),
    (lambda x: F.interpolate(x, size=x.shape[2:]), []),
    (lambda x: F.pad(x, (1, 2, 3, 0)), ["pad"]),
    (lambda x: F.pad(x, (-1, 1)), ["pad"]),
    (nn.ZeroPad2d(1), ["pad"]),
    (nn.ConstantPad2d(1, 0.0), ["pad"]),
    (nn.Dropout(), []),
    (nn.Identity(), []),
    (lambda x: F.dropout(x, training=False), []),
    (lambda x: x.contiguous().detach().clone().to(x.dtype).float(), []),
]


# What torch 2.6 cannot follow itself: parts joined in reverse; with a batch of any size, strided slices and pieces.
NOT_EVERYWHERE = {"fx": {44}, "export": {40, 43}}


def refused_by_torch(index: int, frontend: str) -> bool:
    """Tell whether the torch at hand cannot follow a function, without us."""
    if index not in NOT_EVERYWHERE[frontend]:
        return False
    model, x = Function(SAME_FUNCTIONS[index][0]), torch.randn(3, 4, 6, 6)
    try:
        if frontend == "fx":
            torch.fx.symbolic_trace(SAME_FUNCTIONS[index][0])
        else:
            torch.export.export(model, (x,), dynamic_shapes={"inputs": ({0: torch.export.Dim("batch")},)}, strict=False)
    except Exception:  # noqa: BLE001  (whatever it says)
        return True
    return False


@pytest.mark.parametrize("index", range(len(SAME_FUNCTIONS)))
def test_functions_and_modules_become_operations(index: int) -> None:
    function, expected = SAME_FUNCTIONS[index]
    if refused_by_torch(index, "fx"):
        with pytest.raises(ConversionError, match="cannot be followed"):
            caught(function)
    else:
        assert caught(function)[0] == expected


@pytest.mark.parametrize("index", [0, 8, 22, 29, 31, 35, 40, 43, 47, 55, 60, 61, 63, 67, 71, 75], ids=str)
def test_both_front_ends_make_the_same_operations(index: int) -> None:
    function, expected = SAME_FUNCTIONS[index]
    model, x = Function(function), torch.randn(3, 4, 6, 6)
    if refused_by_torch(index, "export"):
        with pytest.raises(ConversionError, match=r"torch\.export refuses"):
            capture(model, x, frontend="export")
        return
    graph = capture(model, x, frontend="export")
    assert kinds(graph)[1:-1] == expected
    assert agree(graph, model, x) <= 1e-6


def test_layers_of_one_and_three_dimensions() -> None:
    line = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.ReLU(), nn.MaxPool1d(2), nn.ConvTranspose1d(4, 2, 2), nn.AvgPool1d(2)
    )
    solid = nn.Sequential(
        nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.ReLU(), nn.MaxPool3d(2), nn.ConvTranspose3d(2, 2, 2), nn.AvgPool3d(2)
    )
    for model, x in ((line, torch.randn(2, 2, 12)), (solid, torch.randn(2, 1, 7, 7, 7))):
        lived_in(model)
        graph = capture(model, x)
        assert kinds(graph)[1:-1] == ["convolution", "norm", "relu", "max_pool", "convolution", "avg_pool"]
        assert agree(graph, model, x) <= 1e-5
        assert agree(fold(graph), model, x) <= 1e-5


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # torch's own advice
@pytest.mark.parametrize("kernel", [2, 3])
def test_padding_by_words_becomes_numbers(kernel: int) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, kernel, padding="same"), nn.ReLU(), nn.Conv2d(2, 2, kernel, padding="valid"))
    x = torch.randn(2, 1, 6, 6)
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    assert kinds(graph)[1:-1] == ["pad"] * (kernel == 2) + ["convolution", "relu", "convolution"]
    assert all(not isinstance(graph.module_of(op).padding, str) for op in graph if op.kind == "convolution")
    assert model[0].padding == "same"


class Standardized(nn.Conv2d):
    """A layer of the user's own whose weight is computed at every call."""

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return F.conv2d(input, weight, self.bias, self.stride, self.padding)


class Plain(nn.Conv2d):
    """A layer of the user's own that calls the function with its parameters."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(input, self.weight, self.bias, self.stride, self.padding)


def test_functional_layers_take_their_parameters_along() -> None:
    model = nn.Sequential(Plain(1, 2, 3), nn.ReLU(), Standardized(2, 2, 3), nn.Sequential(nn.Flatten(), nn.ReLU()))
    x = torch.randn(2, 1, 6, 6)
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    assert kinds(graph)[1:-1] == ["convolution", "relu", "convolution", "reshape", "relu"]
    assert next(iter(graph.modules)) == "0"
    assert torch.equal(graph.modules["0"].weight, model[0].weight)


def test_layers_of_a_class_made_on_the_fly_stay_layers() -> None:
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
    graph = capture(nn.Sequential(layer, nn.ReLU()), torch.randn(2, 3))
    assert kinds(graph)[1:-1] == ["linear", "relu"]
    assert graph.modules["0"] is not layer


def test_overwriting_is_followed() -> None:
    class Overwrites(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 2, 1)
            self.act = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            self.act(y)
            z = self.conv(y)
            z.relu_()
            return y + z

    model, x = Overwrites(), torch.randn(2, 2, 4, 4)
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    assert kinds(graph)[1:-1] == ["convolution", "relu", "convolution", "relu", "add"]
    assert model.act.inplace
    assert model.training


@pytest.mark.parametrize("first", [nn.ReLU(inplace=True), torchvision.transforms.Normalize([0.5], [0.2], inplace=True)])
def test_a_first_layer_that_overwrites_the_example_leaves_it_as_it_was(first: nn.Module) -> None:
    model, x = nn.Sequential(first, nn.Conv2d(2, 2, 1)), torch.randn(2, 2, 4, 4)
    before = x.clone()
    assert agree(capture(model, x), model, x) <= 1e-6
    assert torch.equal(x, before)


@pytest.mark.parametrize("std", [0.2, [0.2, 0.3]])
def test_torchvisions_first_normalize_is_exported_as_what_it_computes(std: float | list[float]) -> None:
    norm = torchvision.transforms.Normalize([0.5, 0.4], std)
    model, x = nn.Sequential(norm, nn.Conv2d(2, 2, 1)), torch.randn(2, 2, 4, 4)
    assert agree(capture(model, x, frontend="export"), model, x) <= 1e-6
    assert "forward" not in vars(norm), "the model is as it was"

    class Own(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torchvision.transforms.functional.normalize(x, [0.5, 0.4], [0.2, 0.3])  # type: ignore[no-any-return]

    with pytest.raises(ConversionError, match=r"torch.export refuses Own.*\n  fix: self.normalize = torchvision"):
        capture(Own(), x, frontend="export")


def test_what_is_not_understood_runs_as_it_is() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.LayerNorm(4)
            self.scale = nn.Parameter(torch.rand(3, 4))

        def forward(self, x: Tensor) -> Tensor:
            y, _ = self.attention(x, x, x, need_weights=False)
            y = self.norm(y) * self.scale
            z = F.layer_norm(y, (4,), self.norm.weight)
            w = z.expand(x.size(0), 3, 4) + x.new_zeros(x.size(0), 1, 1)
            return w.softmax(-1).sigmoid_()

    model, x = Odd(), torch.randn(2, 3, 4)
    graph = capture(model, x)
    assert agree(graph, model, x) <= 1e-6
    assert agree(graph, model, torch.randn(5, 3, 4)) <= 1e-6
    torch.testing.assert_close(rebuild(graph)(x), model.eval()(x))
    hosts = {op.attrs["what"]: op.attrs["code"] for op in graph if op.kind == "host"}
    assert hosts["softmax"] == "E101"
    assert hosts["LayerNorm"] == "E106"
    assert set(rebuild(graph)(x).shape) == {2, 3, 4}


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.view(3, -1),
        lambda x: x.view(12, 36),
        lambda x: x.flatten(0),
        lambda x: x.mean(0),
        lambda x: x.permute(1, 0, 2, 3),
        lambda x: x.transpose(0, 1),
        lambda x: torch.cat([x, x], 0),
        lambda x: x[1:],
        lambda x: x.sum(),
        lambda x: x.flatten(0, 1).relu().view(x.shape),
    ],
)
def test_what_touches_the_batch_stays_real_with_its_code(function: Any) -> None:
    found, graph = caught(function)
    assert "host" in found
    first = next(op for op in graph if op.kind == "host")
    assert first.attrs["code"] == "E109"
    assert "batch" in first.attrs["cause"] or "row" in first.attrs["cause"]


def test_keep_real_keeps_modules_whole() -> None:
    model, x = SmallResNet(), torch.randn(2, 3, 16, 16)
    graph = capture(model, x, keep_real=["layer3", "f*"])
    hosts = [op for op in graph if op.kind == "host"]
    assert [op.id for op in hosts] == ["layer3", "fc"]
    assert "kept real" in hosts[0].attrs["cause"]
    assert agree(graph, model, x) <= 1e-6
    assert set(rebuild(graph).state_dict()) == set(model.state_dict())
    with pytest.raises(ConversionError, match=r"keep_real: no module matches 'layer9'"):
        capture(model, x, keep_real=["layer9"])


class Branches(nn.Module):
    """Branches on the values of a tensor, deep inside."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3)

    def forward(self, x: Tensor, double: bool | None = None) -> Tensor:
        if double is None and x.shape[-1] > 4:
            x = x * 2
        return self.conv(x)


def test_what_cannot_be_followed_says_where_and_what_to_do() -> None:
    model = nn.Sequential(nn.Identity(), nn.Sequential(Branches(), nn.ReLU()))
    x = torch.randn(2, 1, 6, 6)
    with pytest.raises(ConversionError) as caught:
        capture(model, x)
    text = str(caught.value)
    assert "in module '1.0'" in text
    assert "test_graph_capture.py:" in text
    assert "if double is None and x.shape[-1] > 4:" in text
    fix = caught.value.fix
    assert fix is not None
    assert fix.index("concrete_args") < fix.index("keep_real=['1.0']") < fix.index('frontend="export"')
    kept = capture(model, x, keep_real=["1.0"])
    assert agree(kept, model, x) <= 1e-6
    seen_through = capture(model, x, frontend="export")
    assert kinds(seen_through)[1:-1] == ["affine", "convolution", "relu"]
    assert agree(seen_through, model, x) <= 1e-6


def test_concrete_args_are_constants() -> None:
    x = torch.randn(2, 1, 6, 6)
    for frontend in ("fx", "export"):
        graph = capture(Branches(), x, concrete_args={"double": False}, frontend=frontend)  # type: ignore[arg-type]
        assert kinds(graph) == ["input", "convolution", "output"]


def test_several_inputs() -> None:
    model = Function(lambda a, b: (a.relu() + b, b))
    x = (torch.randn(2, 3), torch.randn(2, 3))
    graph = capture(model, x)
    assert [op.id for op in graph if op.kind == "input"] == ["input", "input1"]
    assert agree(graph, model, x) == 0
    with pytest.raises(ConversionError, match=r"\[2, 4\] samples"):
        capture(model, (torch.randn(2, 3), torch.randn(4, 3)))


@pytest.mark.parametrize("example", [(), torch.tensor(1.0), torch.zeros(0, 3), [1, 2]])
def test_an_example_that_is_none_is_refused(example: Any) -> None:
    with pytest.raises(ConversionError, match="the example must be"):
        capture(nn.ReLU(), example)


def test_an_example_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ConversionError, match="does not run on the example"):
        capture(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 4))
    with pytest.raises(ConversionError, match="frontend='onnx'"):
        capture(nn.Sequential(nn.Linear(3, 2)), torch.randn(2, 3), frontend="onnx")  # type: ignore[arg-type]


def test_the_model_and_the_random_numbers_are_not_touched() -> None:
    model, x = lived_in(SmallResNet()), torch.randn(2, 3, 16, 16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    fold(capture(model, x))
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_two_threads_capture_while_a_third_runs_a_model() -> None:
    results: list[list[str]] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def run() -> None:
        other = nn.Sequential(nn.Linear(3, 3), nn.ReLU())
        try:
            while not stop.is_set():
                other(torch.zeros(1, 3))
        except Exception as error:  # noqa: BLE001  reported below
            failures.append(error)

    def work() -> None:
        results.extend(kinds(capture(SmallResNet(), torch.randn(2, 3, 8, 8))) for _ in range(3))

    threads = [threading.Thread(target=work) for _ in range(2)]
    runner = threading.Thread(target=run)
    runner.start()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    runner.join()
    assert not failures
    assert len(results) == 6
    assert all(result == results[0] for result in results)
