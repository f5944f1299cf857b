"""1x1 convolutions with a stride: on some processors the pixels are chosen first. The choice is tested on all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import bitspike as bs
from bitspike.data import Batches, PixelGrid, load
from bitspike.models import resnet20
from bitspike.nn import timed_layer
from bitspike.nn.layers import call
from bitspike.ops import pixels_first
from bitspike.train.launch import Workers
from bitspike.verbs.doctor import doctor


class Strides(TorchDispatchMode):
    """Notes kernel and stride of every convolution that reaches torch, and of every gradient of one."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        at = {"aten::convolution": (1, 3), "aten::convolution_backward": (2, 4)}.get(func.name())
        if at:
            self.seen.append((tuple(args[at[0]].shape[2:]), tuple(args[at[1]])))
        return func(*args, **(kwargs or {}))

    def skips_pixels(self) -> bool:
        return any(kernel == (1, 1) and max(stride) > 1 for kernel, stride in self.seen)


@pytest.fixture(params=[True, False], ids=["needed", "not needed"])
def needed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(pixels_first, "needed", lambda: request.param)
    return bool(request.param)


@pytest.mark.parametrize(
    ("machine", "avx512", "limit", "expected"),
    [
        ("x86_64", True, "", False),
        ("x86_64", True, "AVX512_CORE_VNNI", False),
        ("x86_64", True, "default", False),
        ("x86_64", True, "avx2", True),
        ("x86_64", True, "AVX2_VNNI", True),
        ("x86_64", False, "", True),
        ("x86_64", False, "ALL", True),
        ("AMD64", False, "", True),
        ("aarch64", False, "", False),
        ("arm64", False, "", False),
    ],
)
def test_processors_at_risk_are_x86_without_avx512(machine: str, avx512: bool, limit: str, expected: bool) -> None:
    assert pixels_first.at_risk(machine, avx512=avx512, limit=limit) is expected


def test_the_limit_of_onednn_counts_under_both_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels_first.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True, raising=False)
    for name in pixels_first.LIMITS:
        monkeypatch.delenv(name, raising=False)
    assert not pixels_first.needed.__wrapped__()
    for name in pixels_first.LIMITS:
        with monkeypatch.context() as patch:
            patch.setenv(name, "AVX2")
            assert pixels_first.needed.__wrapped__()


@pytest.mark.parametrize(("stride", "groups", "side"), [((2, 2), 1, 8), ((3, 1), 2, 7), ((1, 2), 4, 5)])
def test_the_detour_is_the_same_function_with_the_same_gradients(
    stride: tuple[int, int], groups: int, side: int
) -> None:
    x = torch.randn(2, 16, side, side, dtype=torch.float64, requires_grad=True)
    w = torch.randn(12, 16 // groups, 1, 1, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(12, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(x, w, bias, stride, groups=groups)
    other = pixels_first.convolve(x, w, bias, stride, groups)
    torch.testing.assert_close(other, plain)
    dy = torch.randn_like(plain)
    torch.testing.assert_close(
        torch.autograd.grad(other, (x, w, bias), dy), torch.autograd.grad(plain, (x, w, bias), dy)
    )


def test_only_a_kernel_of_one_pixel_with_a_stride_and_no_border_in_fp32_takes_it(needed: bool) -> None:
    x = torch.zeros(1, 16, 8, 8)
    assert pixels_first.concerns(x, (1, 1), (2, 2), (0, 0)) is needed
    assert pixels_first.concerns(x, (1, 1), (1, 2), "valid") is needed
    assert not pixels_first.concerns(x, (1, 1), (1, 1), (0, 0))
    assert not pixels_first.concerns(x, (3, 3), (2, 2), (0, 0))
    assert not pixels_first.concerns(x, (1, 1), (2, 2), (1, 1))
    assert not pixels_first.concerns(x.bfloat16(), (1, 1), (2, 2), (0, 0))
    with torch.autocast("cpu", torch.bfloat16):
        assert not pixels_first.concerns(x, (1, 1), (2, 2), (0, 0))


def test_layers_that_we_call_take_it_where_it_is_needed(needed: bool) -> None:
    layer = nn.Conv2d(16, 16, 1, stride=2)
    x = torch.randn(2, 16, 8, 8)
    for run in (lambda: call(layer, x), lambda: timed_layer(layer)(torch.stack([x, 2 * x]))[0]):
        with Strides() as strides:
            y: Tensor = run()
            y.sum().backward()
        assert len(strides.seen) == 2
        assert strides.skips_pixels() is not needed
        torch.testing.assert_close(y, layer(x))


@pytest.mark.parametrize("steps", [2, None], ids=["spiking", "ann"])
def test_a_step_of_our_resnet_never_skips_pixels_where_that_is_not_safe(needed: bool, steps: int | None) -> None:
    neuron = (lambda: bs.LIF(0.5)) if steps else (lambda: bs.QuantReLU(bits=4))
    model = resnet20(steps=steps, neuron=neuron, width=0.5)
    bs.attach(model, quantize=bs.Uniform(bits=4))
    with Strides() as strides:
        model(torch.randn(1, 3, 32, 32)).sum().backward()
    assert strides.skips_pixels() is not needed


def test_batches_are_contiguous_where_channels_last_is_not_safe(needed: bool) -> None:
    x, _ = next(iter(Batches(load("digits", "test"), 4, pixel_grid=PixelGrid())))
    pixels = load("digits", "test").images[:4]
    torch.testing.assert_close(x, PixelGrid().to_input(pixels), rtol=0, atol=0)
    assert x.is_contiguous()
    rgb = bs.data.ImageSet(torch.zeros(4, 8, 8, 3, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("a",), "rgb")
    x, _ = next(iter(Batches(rgb, 4, pixel_grid=PixelGrid())))
    assert x.is_contiguous() is needed
    assert x.is_contiguous(memory_format=torch.channels_last) is not needed


def test_training_in_fp32_is_contiguous_where_channels_last_is_not_safe_and_gives_weights_back(needed: bool) -> None:
    last = torch.channels_last
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)).to(memory_format=last)
    strides = [layer.weight.stride() for layer in model]
    values = model[0].weight.detach().clone()
    workers = Workers("fp32", "cpu")
    workers.setup(model, torch.optim.SGD(model.parameters()))
    plain = [torch.empty(layer.weight.shape).stride() for layer in model]
    assert [layer.weight.stride() for layer in model] == (plain if needed else strides)
    assert workers.send(torch.randn(1, 3, 8, 8).to(memory_format=last)).is_contiguous()
    workers.give_back()
    assert [layer.weight.stride() for layer in model] == strides != plain
    assert torch.equal(model[0].weight, values)


def test_the_doctor_says_so(needed: bool) -> None:
    found = doctor()
    assert ("own loop" in found["convolutions"]) is needed
    assert found["problems"] == []
