"""Pools side by side: values and gradients of the native loops equal torch's bit for bit."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.kernels import pool
from bitspike.nn import TimeDistributed
from bitspike.nn.layers import call

needs_library = pytest.mark.skipif(
    pool.library() is None, reason="the native library is not built: pip install -e . where a C++ compiler is"
)


def images(dtype: torch.dtype, channels: int, height: int, width: int) -> Tensor:
    x = torch.randn(5, channels, height, width)
    x[0] = (x[0] > 0).float()  # spikes: many equal values in a window
    x[1] = x[1].round()
    return x.to(dtype).to(memory_format=torch.channels_last)


@needs_library
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize(
    ("kernel", "channels", "height", "width"),
    [(2, 64, 8, 8), (2, 16, 4, 6), (3, 17, 6, 9), (4, 39, 4, 4), (2, 31, 2, 2)],
)
def test_it_equals_torch(
    dtype: torch.dtype, largest: bool, kernel: int, channels: int, height: int, width: int
) -> None:
    x = images(dtype, channels, height, width).requires_grad_()
    expected = (F.max_pool2d if largest else F.avg_pool2d)(x, kernel)
    found = pool.fused_pool(x, kernel, largest=largest)
    assert found is not None
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
    g = torch.randn_like(expected)
    (one,), (other,) = (torch.autograd.grad(y, x, g) for y in (expected, found))
    assert torch.equal(other, one)


@needs_library
def test_what_is_no_number_is_the_largest_as_in_torch() -> None:
    x = images(torch.float32, 20, 4, 4)
    x[0, :, 1, 1] = math.nan
    x[2, :, 2:, 2:] = -math.inf
    found = pool.fused_pool(x, 2, largest=True)
    assert torch.equal(found.isnan(), F.max_pool2d(x, 2).isnan())
    torch.testing.assert_close(found, F.max_pool2d(x, 2), equal_nan=True, rtol=0, atol=0)


@needs_library
def test_a_gradient_of_any_layout_is_taken() -> None:
    x = images(torch.float32, 24, 4, 4).requires_grad_()
    g = torch.randn(5, 24, 2, 2)
    for largest, plain in ((True, F.max_pool2d), (False, F.avg_pool2d)):
        found = pool.fused_pool(x, 2, largest=largest)
        for grad in (g, torch.ones(1).expand(5, 24, 2, 2)):
            assert torch.equal(*(torch.autograd.grad(y, x, grad, retain_graph=True)[0] for y in (found, plain(x, 2))))


def test_what_it_does_not_know_is_left_to_torch() -> None:
    x = images(torch.float32, 24, 4, 4)
    for wrong in (x.contiguous(), x.double(), x[:, :, :3], x[0], x[:0], x[:, ::2]):
        assert pool.fused_pool(wrong, 2, largest=False) is None
    assert pool.fused_pool(images(torch.float32, 3, 4, 4), 2, largest=True) is None
    assert pool.fused_pool(x, 1, largest=True) is None
    assert pool.fused_pool(x, 16, largest=True) is None


@pytest.mark.parametrize(
    "layer",
    [
        nn.AvgPool2d(2),
        nn.MaxPool2d(2),
        nn.AvgPool2d((2, 2), stride=2),
        nn.AvgPool2d(3, stride=1),
        nn.AvgPool2d(2, padding=1),
        nn.AvgPool2d((2, 3)),
        nn.AvgPool2d(4, ceil_mode=True),
        nn.AvgPool2d(2, divisor_override=3),
        nn.MaxPool2d(2, dilation=2, stride=2),
        nn.MaxPool2d(3, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
    ],
    ids=repr,
)
def test_layers_give_what_they_say(layer: nn.Module) -> None:
    x = images(torch.float32, 24, 6, 6)
    for found, expected in zip(call(layer, x), layer(x), strict=True):
        assert torch.equal(found, expected)


@needs_library
def test_pools_over_time_take_the_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = pool.fused_pool
    monkeypatch.setattr("bitspike.nn.layers.fused_pool", lambda *a, **k: asked.append(k) or original(*a, **k))
    x = images(torch.float32, 24, 4, 4)[None].expand(3, 5, 24, 4, 4)
    TimeDistributed(nn.AvgPool2d(2), nn.MaxPool2d(2))(x)
    assert asked == [{"largest": False}, {"largest": True}]
