"""Convolutions as matrix products: every pass equals the library's."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional as F

from bitspike.ops.convolution import Ways, convolve, ways

ALL, NONE = Ways(True, True, True), Ways(False, False, False)
SHAPES = [
    # k, s, p, H, W
    (3, 1, 1, 4, 4),
    (3, 2, 1, 4, 4),
    (3, 2, 1, 5, 7),
    (3, 2, 0, 6, 6),
    (1, 2, 0, 4, 4),
    (1, 3, 0, 7, 5),
    (5, 3, 2, 8, 7),
    (2, 2, 0, 4, 4),
    (2, 3, 1, 6, 7),
    (3, 3, 1, 7, 7),
    (1, 1, 0, 2, 2),
    (3, 1, 1, 1, 1),
    (3, 1, 2, 3, 2),
]


@pytest.mark.parametrize(("k", "s", "p", "height", "width"), SHAPES)
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_pass_equals_the_librarys(k: int, s: int, p: int, height: int, width: int, channels_last: bool) -> None:
    x, w = torch.randn(3, 5, height, width, dtype=torch.float64), torch.randn(4, 5, k, k, dtype=torch.float64)
    if channels_last:
        x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
    x.requires_grad_(), w.requires_grad_()
    expected = F.conv2d(x, w, stride=s, padding=p)
    g = torch.randn_like(expected)
    gradients = torch.autograd.grad(expected, (x, w), g)
    for chosen in itertools.product([False, True], repeat=3):
        y = convolve(x, w, s, p, Ways(*chosen))
        torch.testing.assert_close(y, expected)
        for found, wanted in zip(torch.autograd.grad(y, (x, w), g), gradients, strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("needed", [(True, False), (False, True)])
def test_only_the_gradients_that_are_asked_for_are_computed(needed: tuple[bool, bool]) -> None:
    x, w = torch.randn(2, 3, 4, 4, requires_grad=needed[0]), torch.randn(4, 3, 3, 3, requires_grad=needed[1])
    for chosen in (ALL, NONE):
        convolve(x, w, 1, 1, chosen).sum().backward()
        assert ((x.grad is not None), (w.grad is not None)) == needed


def test_bfloat16_sums_are_rounded_once() -> None:
    """Against double precision, no value is off by more than the rounding to bfloat16 of a single-precision sum."""
    x, w = torch.randn(4, 200, 4, 4).bfloat16(), torch.randn(150, 200, 3, 3).bfloat16()
    x.requires_grad_(), w.requires_grad_()
    y = convolve(x, w, 2, 1, ALL)
    g = torch.randn(y.shape).bfloat16()
    found = (y, *torch.autograd.grad(y, (x, w), g))
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    exact = F.conv2d(*wide, stride=2, padding=1)
    for narrow, wanted in zip(found, (exact, *torch.autograd.grad(exact, wide, g.double())), strict=True):
        assert narrow.dtype == torch.bfloat16
        torch.testing.assert_close(narrow.double(), wanted, rtol=2**-8, atol=1e-4 * wanted.abs().max().item())


def test_results_are_channels_last_and_weights_gradients_laid_out_for_their_masters() -> None:
    x = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    w = torch.randn(5, 3, 3, 3).to(memory_format=torch.channels_last).requires_grad_()
    y = convolve(x, w, 1, 1, ALL)
    assert y.is_contiguous(memory_format=torch.channels_last)
    y.sum().backward()
    assert w.grad is not None
    assert w.grad.stride() == w.stride()


def test_the_choice_depends_on_shapes_and_machine_alone() -> None:
    def choice(side: int, stride: int = 1, channels: int = 512, *, units: bool = False, dtype=torch.bfloat16) -> Ways:
        return ways(torch.Size([9, channels, side, side]), torch.Size([512, channels, 3, 3]), stride, dtype, units)

    assert choice(4, 2) == choice(2) == choice(1) == ALL
    assert choice(4) == choice(8, 2) == Ways(False, False, True)
    assert choice(4, units=True) == choice(8, 2, units=True) == ALL
    assert choice(8) == choice(16, 2) == choice(32) == choice(8, units=True) == NONE
    assert choice(4, 2, channels=64) == choice(4, 2, dtype=torch.float32) == NONE
