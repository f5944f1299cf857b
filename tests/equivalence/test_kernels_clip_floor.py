"""The fused clip-floor-shift against its plain form: equal values, equal gradients, those of clips to rounding."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import BUILT, LAYOUTS, assert_close, gradients, noise
from torch import Tensor

from bitspike.kernels.clip_floor import MOST_STEPS, fused_clip_floor_shift
from bitspike.nn.clip_floor_shift import _ClipFloorShift, clip_floor_shift

DTYPES = (torch.float32, torch.bfloat16)


def clips(channels: int | None, seed: int = 0) -> Tensor:
    """Return one clip, or one per channel, between 0.5 and 1.5."""
    return torch.rand(channels or (), generator=torch.Generator().manual_seed(seed)) + 0.5


def assert_same(x: Tensor, clip: Tensor, steps: int, shift: float = 0.5, tolerance: float = 1e-5) -> None:
    results = []
    for run in (fused_clip_floor_shift, _ClipFloorShift.apply):
        leaf, learned = x.detach().requires_grad_(), clip.clone().requires_grad_()
        out = run(leaf, learned, steps, shift)
        if out is None:
            assert not BUILT
            return
        results.append((out.detach(), gradients(out, [leaf, learned])))
    (out, (dx, dclip)), (plain, (plain_dx, plain_dclip)) = results
    assert out.dtype == x.dtype
    assert torch.equal(out, plain)
    assert torch.equal(dx, plain_dx)
    # The plain sum is in single precision, in which its terms cancel: the terms set the scale.
    assert dclip.shape == clip.shape
    assert ((dclip - plain_dclip).abs() <= tolerance * x.numel() ** 0.5).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5, 0.999])
@pytest.mark.parametrize("steps", [1, 3, 8, 15, 255])
@pytest.mark.parametrize("clip", [2.0**-20, 0.3, 1.0, 2.9999, 1e4])
def test_values_and_gradients_equal_the_plain_form(clip: float, steps: int, shift: float, dtype: torch.dtype) -> None:
    assert_same((noise(1, 5, 1013, seed=1) * clip).to(dtype), torch.tensor(clip), steps, shift)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 16, 24, 64])
def test_a_clip_per_channel_in_either_layout(
    channels: int | None, layout: str, shift: float, dtype: torch.dtype
) -> None:
    x = noise(1, 5, channels or 3, 7, 9, seed=2, layout=layout, dtype=dtype)[0]
    assert_same(x, clips(channels), 6, shift)


@pytest.mark.parametrize("steps", [*range(1, 34), 63, 64, 255])
def test_every_tie_rounds_as_the_plain_form_does(steps: int) -> None:
    """Inputs at, just below and just above every border of levels, where a quotient that is not exact would show."""
    for clip in (1.0, 3.0, 0.7, float(steps)):
        for shift in (0.0, 0.5):
            border = ((torch.arange(steps + 2) - shift) / steps * clip).float()
            x = torch.cat([border, border.nextafter(torch.tensor(-9e9)), border.nextafter(torch.tensor(9e9))])
            assert_same(x, torch.tensor(clip), steps, shift)


def test_ties_of_a_grid_go_up() -> None:
    """A whole number of quarters over 4 steps of a clip of 2: every half level is met exactly."""
    x = torch.arange(-2.0, 20.0) / 4
    wanted = (x * 2 + 0.5).floor().clamp(0, 4) / 2
    assert torch.equal(clip_floor_shift(x, torch.tensor(2.0), 4), wanted)


def test_the_ends_of_the_numbers() -> None:
    tiny = torch.finfo(torch.float32).smallest_normal
    x = torch.tensor([0.0, -0.0, tiny, -tiny, tiny / 4, 3e38, -3e38, float("inf"), -float("inf"), 1.5, 1.5 - 1e-7])
    for clip in (1.5, 1e-3, 1e30):
        for shift in (0.0, 0.5):
            found = fused_clip_floor_shift(x, torch.tensor(clip), 3, shift)
            assert found is None or torch.equal(found, _ClipFloorShift.apply(x, torch.tensor(clip), 3, shift))
    broken = fused_clip_floor_shift(torch.tensor([float("nan"), 1.0]), torch.tensor(1.0), 3, 0.5)
    assert broken is None or broken.isnan().tolist() == [True, False]


@pytest.mark.parametrize("size", [1, 15, 16, 17, 513, 1025])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ragged_sizes(size: int, dtype: torch.dtype) -> None:
    assert_same(noise(1, 1, size, seed=2, dtype=dtype)[0, 0], torch.tensor(0.8), 7)
    for layout in LAYOUTS:
        assert_same(noise(1, 1, 3, size, seed=3, layout=layout, dtype=dtype)[0], clips(3), 5)
        assert_same(noise(1, 2, size, seed=4, layout=layout, dtype=dtype)[0], clips(size), 5)


@given(
    clip=st.floats(2.0**-20, 100, width=32),
    steps=st.integers(1, 255),
    shift=st.floats(0, 1, exclude_max=True),
    seed=st.integers(0, 999),
    bf16=st.booleans(),
)
def test_any_clip_and_shift(clip: float, steps: int, shift: float, seed: int, bf16: bool) -> None:
    x = noise(1, 3, 101, seed=seed) * clip
    assert_same(x.bfloat16() if bf16 else x, torch.tensor(clip), steps, shift)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_clip_for_all_channels_equals_the_same_for_each(dtype: torch.dtype) -> None:
    x, clip = noise(1, 4, 5, 6, seed=5, dtype=dtype)[0], clips(None)
    results = []
    for learned in (clip, clip.expand(5).contiguous()):
        leaf = x.detach().requires_grad_()
        out = clip_floor_shift(leaf, learned, 6, 0.3)
        results.append((out.detach(), *gradients(out, [leaf])))
    for one, each in zip(*results, strict=True):
        assert torch.equal(one, each)


def test_layouts_of_memory() -> None:
    for layout in LAYOUTS:
        x = noise(1, 4, 6, 5, 3, seed=3, layout=layout)[0]
        for clip in (clips(None), clips(6)):
            out = fused_clip_floor_shift(x, clip, 3, 0.5)
            assert out is None or out.stride() == x.stride()
            assert_same(x, clip, 3)
            assert_same(x[..., ::2], clip, 3)
        assert_same(x.transpose(0, 1), clips(4), 3)


def test_threads_do_not_change_the_result() -> None:
    x, grads = noise(1, 8, 5, 800, seed=4)[0], list[list[Tensor]]()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        try:
            one, each = clips(None).requires_grad_(), clips(5).requires_grad_()
            grads.append([gradients(clip_floor_shift(x, clip, 7), [clip])[0] for clip in (one, each)])
        finally:
            torch.set_num_threads(1)
    for found in grads[1:]:
        for grad, first in zip(found, grads[0], strict=True):
            assert_close(grad, first, 1e-6)


def test_a_gradient_of_any_layout_is_taken() -> None:
    x = noise(1, 4, 6, 5, 3, seed=5, layout="channels last")[0]
    results = []
    for run in (fused_clip_floor_shift, _ClipFloorShift.apply):
        leaf = x.detach().requires_grad_()
        out = run(leaf, torch.tensor(1.0), 3, 0.5)
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
    assert (fused_clip_floor_shift(x, clip, 3, 0.5) is not None) == BUILT
    assert (fused_clip_floor_shift(x, clip[None], 3, 0.5) is not None) == BUILT
    assert (fused_clip_floor_shift(x, torch.ones(3), 3, 0.5) is not None) == BUILT
    assert fused_clip_floor_shift(x.double(), clip, 3, 0.5) is None
    assert fused_clip_floor_shift(x.half(), clip, 3, 0.5) is None
    assert fused_clip_floor_shift(x[:0], clip, 3, 0.5) is None
    assert fused_clip_floor_shift(x, clip.double(), 3, 0.5) is None
    assert fused_clip_floor_shift(x, torch.ones(2), 3, 0.5) is None
    assert fused_clip_floor_shift(x[0], torch.ones(3), 3, 0.5) is None
    assert fused_clip_floor_shift(x.to("meta"), clip, 3, 0.5) is None
    assert fused_clip_floor_shift(x, clip, MOST_STEPS + 1, 0.5) is None
