"""The quantized ReLU: levels, gradients, the learned clip."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.nn import IF, QuantReLU, Repeat, SumReadout, TimeDistributed
from bitspike.nn.activation import FLOOR
from bitspike.train.optimizers import SGD
from bitspike.weights import APoT
from bitspike.weights.scales import Constant

F64 = torch.float64


def gradients(x: Tensor, act: QuantReLU) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    dx, dclip = torch.autograd.grad(act(x).sum(), (x, act.clip))
    return dx, dclip


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8])
def test_qann_check_05_levels_of_activations_and_weights(bits: int) -> None:
    act = QuantReLU(bits, clip=2.5).double()
    a = act(torch.linspace(-1, 4, 20_001, dtype=F64))
    levels = a.unique()
    assert len(levels) == 2**bits
    torch.testing.assert_close(levels, 2.5 / act.levels * torch.arange(2**bits, dtype=F64))
    if 2 <= bits <= 5:
        w = APoT(bits, scale=Constant(2.5)).quantize(torch.linspace(-4, 4, 20_001, dtype=F64))
        assert len(w.unique()) == {2: 3, 3: 7, 4: 15, 5: 31}[bits]


def test_qann_check_06_gradients_of_the_activation() -> None:
    clip = 3.0
    for share, dx, dclip in (
        (-0.3, 0.0, 0.0),
        (0.4, 1.0, 1 / 3 - 0.4),
        (1.0, 1.0, 0.0),
        (1.7, 0.0, 1.0),
        (0.0, 0.0, 0.0),
    ):
        got = gradients(torch.tensor([share * clip], dtype=F64), QuantReLU(2, clip).double())
        assert got[0].item() == dx
        assert got[1].item() == pytest.approx(dclip, abs=1e-12)


def test_the_gradient_of_the_clip_is_the_sum_of_its_parts() -> None:
    x = torch.randn(200, 3, dtype=F64) * 2
    act = QuantReLU(3, 1.5).double()
    whole = gradients(x, act)[1]
    parts = torch.stack([gradients(v[None], act)[1] for v in x.flatten()])
    torch.testing.assert_close(whole, parts.sum())


@pytest.mark.parametrize("bits", [1, 2, 3, 4])
@pytest.mark.parametrize("clip", [0.4, 1.0, 3.7])
def test_its_codes_are_the_spike_counts_of_a_neuron_with_its_clip_as_threshold(bits: int, clip: float) -> None:
    act = QuantReLU(bits, clip).double()
    x = torch.empty(20_000, dtype=F64).uniform_(-1.5 * clip, 3 * clip)
    theta = act.clip.item()
    x = x[((act.levels * x / theta) % 1 - 0.5).abs() > 1e-6]  # at a tie a neuron rounds up, the ReLU to even
    counts = SumReadout()(IF(theta, initial=theta / 2)(Repeat(act.levels)(x[None])))[0]
    torch.testing.assert_close(counts * (theta / act.levels), act(x))
    assert counts.unique().numel() == 2**bits


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (5, 3, 4, 4), (2, 5, 3, 4, 4), (), (7,)])
@pytest.mark.parametrize("dtype", [torch.float32, F64, torch.bfloat16, torch.float16])
def test_shape_and_type_are_those_of_the_input(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = (torch.randn(shape) * 4).to(dtype)
    before = x.clone()
    a = QuantReLU(4, 3.0)(x)
    assert (a.shape, a.dtype) == (x.shape, dtype)
    assert torch.equal(x, before)
    expected = QuantReLU(4, 3.0)(x.float())
    assert torch.equal(a, expected.to(dtype) if dtype != F64 else a)


def test_layouts_are_kept_and_change_nothing() -> None:
    x = (torch.randn(2, 3, 4, 4) * 3).to(memory_format=torch.channels_last)
    act = QuantReLU(3, 2.0)
    assert act(x).is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(act(x), act(x.contiguous()))
    assert torch.equal(act(x[:, :, ::2]), act(x)[:, :, ::2])


def test_it_trains_under_autocast_and_over_time() -> None:
    net = nn.Sequential(TimeDistributed(nn.Conv2d(1, 4, 3), QuantReLU(2)), nn.Flatten(2), nn.Linear(4 * 36, 2))
    with torch.autocast("cpu", torch.bfloat16):
        out = net(torch.randn(3, 2, 1, 8, 8))
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    clip = net[0][1].clip
    assert clip.grad is not None
    assert clip.grad.dtype == torch.float32


def test_a_clip_below_the_floor_acts_as_the_floor_and_comes_back() -> None:
    act = QuantReLU(2)
    for value in (-3.0, 0.0, FLOOR / 2):
        nn.init.constant_(act.clip, value)
        assert act(torch.tensor([5.0])).item() == FLOOR
        x = torch.tensor([5.0])
        raise_it, lower_it = (torch.autograd.grad(sign * act(x).sum(), act.clip)[0].item() for sign in (-1, 1))
        assert (raise_it, lower_it) == (-1.0, 0.0)
    optimizer = torch.optim.SGD(act.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (act(torch.tensor([5.0])) - 5).square().sum().backward()
        optimizer.step()
    assert act.clip.item() > 1


def test_weight_decay_leaves_the_clip_alone() -> None:
    act = QuantReLU(2)
    groups = SGD(weight_decay=0.1).build(nn.Sequential(nn.Linear(2, 2), act)).param_groups
    (own,) = [g for g in groups if any(p is act.clip for p in g["params"])]
    assert own["weight_decay"] == 0


def test_what_has_diverged_shows() -> None:
    assert QuantReLU(2)(torch.tensor([math.nan, 1.0])).isnan().tolist() == [True, False]


def test_copies_and_saved_clips_are_the_same_activation() -> None:
    act, x = QuantReLU(3, 1.7), torch.randn(50) * 2
    assert list(act.state_dict()) == ["clip"]
    assert torch.equal(copy.deepcopy(act)(x), act(x))
    other = QuantReLU(3)
    other.load_state_dict(act.state_dict())
    assert torch.equal(other(x), act(x))
    assert repr(act) == "QuantReLU(bits=3, clip=1.7)"
    assert bs.QuantReLU is QuantReLU


@pytest.mark.parametrize(
    ("arguments", "allowed"),
    [
        ((32,), r"nn\.ReLU\(\)"),
        ((None,), r"nn\.ReLU\(\)"),
        ((0,), "from 1 to 8"),
        ((9,), "from 1 to 8"),
        ((2.0,), "from 1 to 8"),
        ((True,), "from 1 to 8"),
        ((2, 0.0), "finite and at least"),
        ((2, -1.0), "finite and at least"),
        ((2, math.nan), "finite and at least"),
        ((2, math.inf), "finite and at least"),
    ],
)
def test_wrong_values_say_what_is_allowed(arguments: tuple[object, ...], allowed: str) -> None:
    with pytest.raises(ConstraintError, match=allowed):
        QuantReLU(*arguments)  # type: ignore[arg-type]


def test_whole_numbers_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"x\.float\(\)"):
        QuantReLU(2)(torch.zeros(3, dtype=torch.int64))
