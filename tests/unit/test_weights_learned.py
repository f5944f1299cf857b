"""Weights within a learned clip: levels, gradients, guards, states."""

from __future__ import annotations

import copy
import io

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.train.optimizers import SGD
from bitspike.weights import LearnedClip, attach, codes, detach
from bitspike.weights.schemes.learned import FLOOR, ClippedWeight

F64 = torch.float64
TABLES = {
    2: [0, 1],
    3: [0, 1 / 4, 1 / 2, 1],
    4: [0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1],
    5: [x / 48 for x in (0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48)],
}


def stage(plan: LearnedClip, weight: Tensor) -> ClippedWeight:
    return plan.build("conv", weight)


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_qann_check_05_levels_of_weights_within_a_learned_clip(bits: int) -> None:
    w = torch.linspace(-4, 4, 20_001, dtype=F64)
    for grid in ("apot", "uniform"):
        own = stage(LearnedClip(bits, grid=grid, clip=2.5, normalize=False), w)
        values = own(w).detach().unique()
        assert len(values) == {2: 3, 3: 7, 4: 15, 5: 31}[bits]
        table = TABLES[bits] if grid == "apot" else [m / (2 ** (bits - 1) - 1) for m in range(2 ** (bits - 1))]
        expected = [2.5 * t for t in (*(-t for t in table[:0:-1]), *table)]
        assert values.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gradient", ["pass", "clip"])
@pytest.mark.parametrize("bits", [2, 3])
def test_qann_check_06_gradients_of_the_weight_clip_by_hand(bits: int, gradient: str) -> None:
    # r = -1.5, -0.9, 0.2, 1.25 of a clip of 2; the levels next to them: -1 -1 0 1 at 2 bits, -1 -1 0.25 1 at 3
    w = torch.tensor([-3.0, -1.8, 0.4, 2.5], dtype=F64, requires_grad=True)
    own = stage(LearnedClip(bits, clip=2.0, normalize=False, gradient=gradient), w)
    g = torch.tensor([1.0, 10.0, 100.0, 1000.0], dtype=F64)
    dw, dclip = torch.autograd.grad(own(w), (w, own.clip), g)
    q = 0.0 if bits == 2 else 0.25
    assert dclip.item() == pytest.approx(-1.0 + 10 * (-1 + 0.9) + 100 * (q - 0.2) + 1000)
    inside = [0.0, 10.0, 100.0, 0.0] if (gradient, bits) == ("clip", 3) else g.tolist()
    assert dw.tolist() == inside


def test_the_gradient_reaches_the_master_through_the_deviation_alone_or_through_both_statistics() -> None:
    w = torch.randn(50, dtype=F64) * 0.3 + 0.1
    g = torch.randn(50, dtype=F64)
    constant = w.clone().requires_grad_()
    own = stage(LearnedClip(4), w)
    own(constant).backward(g)
    torch.testing.assert_close(constant.grad, g / w.std())
    trained = w.clone().requires_grad_()
    stage(LearnedClip(4, statistics="trained"), w)(trained).backward(g)
    # The derivative of (w - mean) / std: what is left is free of an offset and of a factor.
    unit = (w - w.mean()) / w.std()
    expected = (g - g.mean() - unit * (g * unit).sum() / (len(w) - 1)) / w.std()
    torch.testing.assert_close(trained.grad, expected)
    assert abs(float(trained.grad.sum())) < 1e-9


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_qann_check_07_a_learned_clip_ignores_factor_and_offset_of_the_weights(bits: int) -> None:
    w = torch.randn(16, 8, 3, 3)
    own = stage(LearnedClip(bits), w)
    found, scale = own.encode(w)
    for factor in (2.0, 2.0**-20, 2.0**20):
        assert torch.equal(own.encode(factor * w)[0], found)
    for factor, offset in ((3.7, -0.4), (1e-3, 5e-4), (0.25, 1.0)):
        other, same = own.encode(factor * w + offset)
        assert (other != found).float().mean() < 1e-3  # a weight on a midpoint may fall to the other side
        assert torch.equal(scale, same)


def test_a_tensor_of_equal_values_is_zero_and_has_a_finite_gradient() -> None:
    for value in (0.7, 0.1, -1e-30, 1e30, 0.0):
        for shape in ((3, 3), (1, 1)):
            w = torch.full(shape, value, requires_grad=True)
            for statistics in ("constant", "trained"):
                q = stage(LearnedClip(3, statistics=statistics), w)(w)
                assert torch.equal(q, torch.zeros(shape))
                (grad,) = torch.autograd.grad(q.sum(), w)
                assert bool((grad.abs() <= 1).all())


def test_a_clip_that_was_pushed_below_its_floor_acts_as_the_floor_and_comes_back() -> None:
    w = torch.tensor([0.3, -2.0])
    own = stage(LearnedClip(2, normalize=False), w)
    with torch.no_grad():
        own.clip.fill_(-1.0)
    q = own(w)
    assert q.tolist() == pytest.approx([FLOOR, -FLOOR])
    assert torch.equal(q, own.encode(w)[0] * own.encode(w)[1])
    (raising,) = torch.autograd.grad(-q @ torch.tensor([1.0, -1.0]), own.clip)
    assert raising.item() == pytest.approx(-2.0)
    (lowering,) = torch.autograd.grad(own(w) @ torch.tensor([1.0, -1.0]), own.clip)
    assert lowering.item() == 0


def test_ties_take_the_smaller_magnitude() -> None:
    w = torch.tensor([0.5, -0.5, 1.5, 5.0, -9.0])
    own = stage(LearnedClip(4, clip=10.0, normalize=False), w)  # a step of 1, levels 0 1 2 3 4 6 8 10
    assert own.encode(w)[0].tolist() == [0, 0, 1, 4, -8]


def test_the_clip_is_trained_without_weight_decay() -> None:
    model = attach(nn.Sequential(nn.Linear(4, 3, bias=False)), quantize=LearnedClip(4))
    optimizer = SGD(lr=0.1, weight_decay=0.5).build(model)
    clip = model[0].parametrizations.weight[0].quantize.clip
    (free,) = [group for group in optimizer.param_groups if any(p is clip for p in group["params"])]
    assert free["weight_decay"] == 0
    before = clip.item()
    model(torch.randn(8, 4)).square().sum().backward()
    optimizer.step()
    assert clip.item() != before


def test_every_layer_has_a_clip_of_its_own_and_a_copy_too() -> None:
    model = attach(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), quantize=LearnedClip(3))
    names = [name for name, _ in model.named_parameters() if name.endswith("quantize.clip")]
    assert names == [f"{i}.parametrizations.weight.0.quantize.clip" for i in (0, 1)]
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.get_parameter(names[0]).fill_(1.0)
    assert model.get_parameter(names[0]).item() == 3.0
    assert not torch.equal(twin[0].weight, model[0].weight)
    plain = detach(copy.deepcopy(twin))
    assert torch.equal(plain[0].weight, twin[0].weight)


def test_a_state_goes_through_a_file_and_back() -> None:
    model = attach(nn.Sequential(nn.Conv2d(2, 3, 3)), quantize=LearnedClip(4, clip=1.25))
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = attach(nn.Sequential(nn.Conv2d(2, 3, 3)), quantize=LearnedClip(4))
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(model[0].weight, other[0].weight)
    assert torch.equal(codes(other)["0"].scale, codes(model)["0"].scale)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (LearnedClip(3), "bits=4.*bits=3"),
        (LearnedClip(4, grid="uniform"), "apot.*uniform"),
        (LearnedClip(4, normalize=False), "normalize=True.*normalize=False"),
    ],
)
def test_a_state_of_another_grid_is_refused(other: LearnedClip, said: str) -> None:
    model = attach(nn.Sequential(nn.Linear(2, 3)), quantize=LearnedClip(4))
    wanted = attach(nn.Sequential(nn.Linear(2, 3)), quantize=other)
    with pytest.raises(ConstraintError, match=said) as caught:
        wanted.load_state_dict(model.state_dict())
    assert "0" in caught.value.message
    again = attach(nn.Sequential(nn.Linear(2, 3)), quantize=LearnedClip(4, gradient="clip", clip=2.0))
    again.load_state_dict(model.state_dict())  # what training does with gradients changes no code


def test_half_precision_and_double_precision_keep_the_law() -> None:
    for dtype in (torch.bfloat16, torch.float64):
        model = attach(nn.Sequential(nn.Linear(6, 5)), quantize=LearnedClip(4)).to(dtype)
        weight = model[0].weight
        assert weight.dtype == dtype
        assert torch.equal(codes(model)["0"].decode(dtype), weight)
        model(torch.randn(3, 6, dtype=dtype)).sum().backward()
        clip = model[0].parametrizations.weight[0].quantize.clip
        assert clip.grad is not None
        assert clip.grad.dtype == dtype


def test_training_that_has_diverged_has_no_codes() -> None:
    model = attach(nn.Sequential(nn.Linear(2, 2)), quantize=LearnedClip(4))
    with torch.no_grad():
        model[0].parametrizations.weight[0].quantize.clip.fill_(float("nan"))
    assert bool(model[0].weight.isnan().all())
    with pytest.raises(ConstraintError, match="the clip of 0 is NaN"):
        codes(model)


def test_wrong_choices_are_refused_with_those_that_are_allowed() -> None:
    for choice, allowed in (
        ({"bits": 1}, "2 to 8"),
        ({"bits": 9}, "2 to 8"),
        ({"bits": 32}, "2 to 8"),
        ({"grid": "log"}, "'apot' or 'uniform'"),
        ({"gradient": "ste"}, "'pass' or 'clip'"),
        ({"statistics": True}, "'constant' or 'trained'"),
        ({"normalize": "no"}, "True or False"),
        ({"clip": 0.0}, "at least"),
        ({"clip": float("inf")}, "finite"),
    ):
        with pytest.raises(ConstraintError, match=allowed) as caught:
            LearnedClip(**{"bits": 4, **choice})
        assert caught.value.fix


def test_eight_bit_uniform_is_the_symmetric_grid_of_first_and_last_layers() -> None:
    w = torch.randn(64, 3, 3, 3, dtype=F64)
    w[0, 0, 0, 0] = -5.0  # the largest magnitude is negative
    largest = w.abs().max()
    expected = torch.round(127 * w / largest) / 127 * largest
    torch.testing.assert_close(bs.Uniform(8).quantize(w), expected, rtol=1e-12, atol=1e-12)
    assert int(bs.Uniform(8).encode(w)[0].min()) == -127
