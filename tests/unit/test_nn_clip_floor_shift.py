"""The clip-floor-shift activation: levels, spike counts, gradients, the learned clip."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.nn import IF, Repeat, SumReadout
from bitspike.nn.clip_floor_shift import SMALLEST, ClipFloorShift, clip_floor_shift

F64 = torch.float64


class FloorThrough(torch.autograd.Function):
    """A floor that passes its gradient on, as the definition has it."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0]


def by_definition(x: Tensor, clip: Tensor, steps: int, shift: float) -> Tensor:
    clip = clip.reshape(-1, *[1] * (x.dim() - 2)) if clip.dim() else clip
    return clip * FloorThrough.apply((x * steps / clip + shift).clamp(0, steps)) / steps


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 16])
@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_it_has_as_many_levels_as_steps_and_zero(steps: int, shift: float) -> None:
    y = clip_floor_shift(torch.linspace(-1, 5, 20_001, dtype=F64), torch.tensor(2.5, dtype=F64), steps, shift)
    torch.testing.assert_close(y.unique(), 2.5 / steps * torch.arange(steps + 1, dtype=F64))


@pytest.mark.parametrize("steps", [1, 3, 4, 6])
def test_it_equals_the_spike_count_of_a_neuron_ties_included(steps: int) -> None:
    clip = 1.5
    x = torch.arange(-64, 160, dtype=F64) / 64 * clip / steps * 2  # a grid that holds every tie
    counts = SumReadout()(IF(clip, initial=clip / 2)(Repeat(steps)(x[None])))[0]
    y = clip_floor_shift(x, torch.tensor(clip, dtype=F64), steps)
    assert torch.equal(torch.round(y * steps / clip), counts)


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
@pytest.mark.parametrize("clip", [0.3, 1.0, 7.7])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_it_equals_the_spike_count_of_a_neuron_on_random_currents(steps: int, clip: float, shift: float) -> None:
    x = torch.empty(20_000, dtype=F64).uniform_(-clip, 2 * clip)
    counts = SumReadout()(IF(clip, initial=shift * clip)(Repeat(steps)(x[None])))[0]
    y = clip_floor_shift(x, torch.tensor(clip, dtype=F64), steps, shift)
    assert torch.equal(torch.round(y * steps / clip), counts)


@pytest.mark.parametrize("channels", [None, 1, 3])
@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_gradients_are_those_of_the_formula(channels: int | None, shift: float) -> None:
    x = (torch.randn(5, 3, 4, 4, dtype=F64) * 2).requires_grad_()
    start = torch.tensor(1.3, dtype=F64) if channels is None else torch.rand(channels, dtype=F64) + 0.7
    clip = start.requires_grad_()
    weight = torch.randn(5, 3, 4, 4, dtype=F64)
    y = clip_floor_shift(x, clip, 6, shift)
    expected = by_definition(x, clip, 6, shift)
    torch.testing.assert_close(y, expected)
    found = torch.autograd.grad((y * weight).sum(), (x, clip))
    wanted = torch.autograd.grad((expected * weight).sum(), (x, clip))
    torch.testing.assert_close(found[0], wanted[0])
    torch.testing.assert_close(found[1], wanted[1])


@pytest.mark.parametrize(
    ("x", "dx", "dclip"),
    [(-1.0, 0.0, 0.0), (-0.2, 1.0, 0.1), (0.6, 1.0, (0.5 - 0.6) / 2), (1.9, 0.0, 1.0), (9.0, 0.0, 1.0)],
)
def test_gradients_worked_out_by_hand(x: float, dx: float, dclip: float) -> None:
    # clip 2, T 4: a level is 0.5, the slope is 1 from -0.25 to 1.75.
    at, clip = torch.tensor([x], dtype=F64, requires_grad=True), torch.tensor(2.0, dtype=F64, requires_grad=True)
    found = torch.autograd.grad(clip_floor_shift(at, clip, 4).sum(), (at, clip))
    assert found[0].item() == dx
    assert found[1].item() == pytest.approx(dclip, abs=1e-12)


def test_only_the_gradients_that_are_wanted_are_computed() -> None:
    x, clip = torch.randn(8), torch.tensor(1.0)
    clip.requires_grad_()
    clip_floor_shift(x, clip, 4).sum().backward()
    assert clip.grad is not None
    assert x.grad is None
    y = clip_floor_shift(x.requires_grad_(), clip.detach(), 4)
    assert torch.autograd.grad(y.sum(), x)[0].shape == (8,)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 3, 4, 4), (2, 3, 4), (2, 3, 2, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("clips", [1, 3])
def test_shape_and_type_are_those_of_the_input(shape: tuple[int, ...], dtype: torch.dtype, clips: int) -> None:
    x = (torch.randn(shape) * 4).to(dtype).requires_grad_()
    before = x.detach().clone()
    act = ClipFloorShift(4, torch.full((clips,), 3.0) if clips > 1 else 3.0)
    y = act(x)
    y.sum().backward()
    assert (y.shape, y.dtype) == (x.shape, dtype)
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert act.clip.grad is not None
    assert act.clip.grad.dtype == torch.float32
    assert torch.equal(x.detach(), before)
    if dtype != F64:
        assert torch.equal(y, act(x.float()).to(dtype))


def test_half_precision_computes_the_clip_gradient_in_single() -> None:
    x = torch.randn(4, 2, 8, 8).bfloat16()
    grads = []
    for at in (x, x.float()):
        act = ClipFloorShift(16, 1.5)
        act(at).sum().backward()
        assert act.clip.grad is not None
        grads.append(act.clip.grad.item())
    assert grads[0] == pytest.approx(grads[1], rel=1e-5)


def test_layouts_are_kept() -> None:
    x = (torch.randn(2, 3, 4, 4) * 3).to(memory_format=torch.channels_last)
    act = ClipFloorShift(5, torch.tensor([1.0, 2.0, 3.0]))
    assert act(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(act(x), act(x.contiguous()))


def test_a_clip_below_the_smallest_comes_back() -> None:
    act = ClipFloorShift(4)
    torch.nn.init.constant_(act.clip, -1.0)
    assert act(torch.tensor([5.0])).item() == SMALLEST
    raising, lowering = (torch.autograd.grad(s * act(torch.tensor([5.0])).sum(), act.clip)[0].item() for s in (-1, 1))
    assert (raising, lowering) == (-1.0, 0.0)


def test_a_trace_computes_the_same() -> None:
    act, x = ClipFloorShift(4, 1.5), torch.randn(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and still what some exporters do
        traced = torch.jit.trace(act, torch.zeros(3, 4))
    assert torch.equal(traced(x), act(x))


def test_nan_stays_visible() -> None:
    assert ClipFloorShift(4)(torch.tensor([math.nan])).isnan().all()


def test_the_clip_learns() -> None:
    act = ClipFloorShift(4, 0.5)
    x = torch.rand(512) * 3
    optimizer = torch.optim.SGD(act.parameters(), lr=0.5)
    for _ in range(200):
        optimizer.zero_grad()
        (act(x) - x).square().mean().backward()
        optimizer.step()
    assert 2.3 < act.clip.item() < 3.2


def test_state_and_text() -> None:
    act = ClipFloorShift(4, torch.tensor([1.0, 2.0]))
    assert list(act.state_dict()) == ["clip"]
    assert repr(act) == "ClipFloorShift(steps=4, clip=[2], shift=0.5)"
    assert repr(ClipFloorShift(3, 2.0, shift=0.0)) == "ClipFloorShift(steps=3, clip=2, shift=0)"


@pytest.mark.parametrize("steps", [0, -1, 2.0, True])
def test_steps_are_a_whole_number(steps: int) -> None:
    with pytest.raises(ConstraintError, match="whole number"):
        ClipFloorShift(steps)


@pytest.mark.parametrize("clip", [0.0, -1.0, math.inf, math.nan, torch.zeros(2), torch.ones(2, 2), torch.ones(0)])
def test_clips_are_above_zero(clip: float | Tensor) -> None:
    with pytest.raises(ConstraintError, match="clip="):
        ClipFloorShift(4, clip)


def test_wrong_uses_are_refused() -> None:
    with pytest.raises(ConstraintError, match="share of the threshold"):
        ClipFloorShift(4, shift=1.0)
    with pytest.raises(ConstraintError, match="floating"):
        ClipFloorShift(4)(torch.ones(2, dtype=torch.int64))
    with pytest.raises(ConstraintError, match="3 clips"):
        ClipFloorShift(4, torch.ones(3))(torch.ones(2, 4))
