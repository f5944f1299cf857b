"""The fused quantized ReLU against plain torch: equal values, equal gradients, the clip's to rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import BUILT, LAYOUTS, assert_close, gradients, noise
from torch import Tensor

from bitspike.kernels.activation import fused_quant_relu
from bitspike.ops.activation import quant_relu


def assert_same(x: Tensor, clip: float, levels: int, tolerance: float = 1e-5) -> None:
    results = []
    for run in (fused_quant_relu, quant_relu):
        leaf, learned = x.detach().requires_grad_(), torch.tensor(clip, requires_grad=True)
        out = run(leaf, learned, levels)
        if out is None:
            assert not BUILT
            return
        results.append((out.detach(), gradients(out, [leaf, learned])))
    (out, (dx, dclip)), (plain, (plain_dx, plain_dclip)) = results
    assert out.dtype == x.dtype
    assert torch.equal(out, plain)
    assert torch.equal(dx, plain_dx)
    # The plain sum is in single precision, in which its terms cancel: the terms set the scale.
    assert (dclip - plain_dclip).abs() <= tolerance * x.numel() ** 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("levels", [1, 3, 7, 15, 255])
@pytest.mark.parametrize("clip", [2.0**-10, 0.3, 1.0, 2.9999, 6.0, 1e4])
def test_values_and_gradients_equal_plain_torch(clip: float, levels: int, dtype: torch.dtype) -> None:
    assert_same((noise(1, 5, 1013, seed=1) * clip).to(dtype), clip, levels)


@pytest.mark.parametrize("levels", range(1, 256))
def test_every_tie_rounds_to_even(levels: int) -> None:
    """Inputs at, just below and just above every half code, where a division that is not exact would show."""
    for clip in (1.0, 3.0, 0.7, float(levels)):
        half = (torch.arange(2 * levels + 1) / (2 * levels) * clip).float()
        x = torch.cat([half, half.nextafter(torch.tensor(-1.0)), half.nextafter(torch.tensor(9e9))])
        assert_same(x, clip, levels)


def test_the_ends_of_the_numbers() -> None:
    tiny = torch.finfo(torch.float32).smallest_normal
    x = torch.tensor([0.0, -0.0, tiny, -tiny, tiny / 4, 3e38, -3e38, float("inf"), -float("inf"), 1.5, 1.5 - 1e-7])
    for clip in (1.5, 1e-3, 1e30):
        found = fused_quant_relu(x, torch.tensor(clip), 3)
        assert found is None or torch.equal(found, quant_relu(x, torch.tensor(clip), 3))
    broken = fused_quant_relu(torch.tensor([float("nan"), 1.0]), torch.tensor(1.0), 3)
    assert broken is None or broken.isnan().tolist() == [True, False]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 513, 1025])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ragged_sizes(size: int, dtype: torch.dtype) -> None:
    assert_same(noise(1, 1, size, seed=2, dtype=dtype)[0, 0], 0.8, 7)


@given(
    clip=st.floats(2.0**-10, 100, width=32), levels=st.integers(1, 255), seed=st.integers(0, 999), bf16=st.booleans()
)
def test_any_clip(clip: float, levels: int, seed: int, bf16: bool) -> None:
    x = noise(1, 3, 101, seed=seed) * clip
    assert_same(x.bfloat16() if bf16 else x, clip, levels)


def test_layouts_of_memory() -> None:
    for layout in LAYOUTS:
        x = noise(1, 4, 6, 5, 3, seed=3, layout=layout)[0]
        out = fused_quant_relu(x, torch.tensor(1.0), 3)
        assert out is None or out.stride() == x.stride()
        assert_same(x, 1.0, 3)
        assert_same(x[..., ::2], 1.0, 3)
        assert_same(x.transpose(0, 1), 1.0, 3)


def test_threads_do_not_change_the_result() -> None:
    x, clip = noise(1, 8, 4000, seed=4), torch.tensor(0.9, requires_grad=True)
    grads = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            out = fused_quant_relu(x, clip, 7)
            if out is None:
                assert not BUILT
                return
            grads.append(gradients(out, [clip])[0])
        finally:
            torch.set_num_threads(1)
    for grad in grads[1:]:
        assert_close(grad, grads[0], 1e-6)


def test_a_gradient_of_any_layout_is_taken() -> None:
    x = noise(1, 4, 6, 5, 3, seed=5, layout="channels last")[0]
    results = []
    for run in (fused_quant_relu, quant_relu):
        leaf = x.detach().requires_grad_()
        out = run(leaf, torch.tensor(1.0), 3)
        if out is None:
            assert not BUILT
            return
        results.append(
            [torch.autograd.grad(value, leaf, retain_graph=True)[0] for value in (out.sum(), out[..., 0].sum())]
        )
    for found, plain in zip(*results, strict=True):
        assert torch.equal(found, plain)


def test_what_the_kernel_does_not_know_takes_plain_torch() -> None:
    x, clip = torch.ones(2, 3), torch.tensor(1.0)
    assert (fused_quant_relu(x, clip, 3) is not None) == BUILT
    assert fused_quant_relu(x.double(), clip, 3) is None
    assert fused_quant_relu(x[:0], clip, 3) is None
    assert fused_quant_relu(x, clip.double(), 3) is None
    assert fused_quant_relu(x, torch.ones(3), 3) is None
    assert fused_quant_relu(x.to("meta"), clip, 3) is None
    assert fused_quant_relu(x, clip, 3, residual=x) is None
