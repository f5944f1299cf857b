"""Constrained backpropagation: constraint function, multipliers, schedule, stage, states, and a training with it."""

from __future__ import annotations

import copy
import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.recipe import load
from bitspike.recipe.words.weights import Constrained as Word
from bitspike.runs.construct.words import build
from bitspike.train import SGD, ClipValue, EpochRecord, History, Observer, fit
from bitspike.train import Constant as ConstantRate
from bitspike.train.checkpoint import read_weights, write_weights
from bitspike.weights import (
    Constant,
    Constrained,
    Dyadic,
    MeanAbs,
    after_epoch,
    after_step,
    attach,
    codes,
    constraint_failure,
    detach,
    learning_rate_factor,
)
from bitspike.weights.constraints.backprop import ConstrainedWeight
from bitspike.weights.constraints.multipliers import raise_multiplier
from bitspike.weights.constraints.sawtooth import sawtooth, weighed_sum
from bitspike.weights.constraints.schedule import Standing
from bitspike.weights.path import path_of

MODES = {
    "binary": (-1, 1),
    "ternary": (-1, 0, 1),
    "one-bit shift": (-2, -1, 0, 1, 2),
    "two-bit shift": (-4, -2, -1, 0, 1, 2, 4),
}
WINDOWS = (1, 2, 5, 10, 40)
SETS = [pytest.param(levels, id=name) for name, levels in MODES.items()]
F64 = torch.float64
LINEAR = "3.0"


def stage_of(layer: nn.Module) -> ConstrainedWeight:
    path, _ = path_of(layer) or pytest.fail("there is no path")
    assert isinstance(path.quantize, ConstrainedWeight)
    return path.quantize


def by_definition(w: float, levels: list[float], g: float) -> float:
    """The constraint function piece by piece, as the papers write it: levels, gaps, centres, window."""
    if w < levels[0]:
        return -2 * (w - levels[0])
    if w >= levels[-1]:
        return 2 * (w - levels[-1])
    low, high = next((a, b) for a, b in itertools.pairwise(levels) if a <= w < b)
    gap, centre = high - low, (low + high) / 2
    free = low < w < high and abs(w - centre) < gap / (2 * g)
    return 0.0 if free else gap - 2 * abs(w - centre)


@pytest.mark.parametrize("levels", SETS)
@pytest.mark.parametrize("g", WINDOWS)
def test_cbp_check_01_the_constraint_function_is_that_of_the_papers(levels: tuple[int, ...], g: int) -> None:
    scale, reach = 0.37, max(levels)
    # No point of the grid lies on the edge of a window, where the function jumps.
    w = torch.linspace(-1.4 * scale, 1.4 * scale, 3001, dtype=F64) + 1e-7
    step = torch.tensor([scale / reach], dtype=F64)
    value = sawtooth(w / step, levels, g)[0] * step
    expected = [by_definition(x, [c * scale / reach for c in levels], g) for x in w.tolist()]
    assert (value - torch.tensor(expected, dtype=F64)).abs().max() < 1e-6
    on_levels = torch.tensor(levels, dtype=F64)
    assert sawtooth(on_levels, levels, g)[0].tolist() == [0.0] * len(levels)
    assert sawtooth(on_levels, levels)[0].tolist() == [0.0] * len(levels)
    if g == 1:
        assert not value[w.abs() <= scale].any()
        assert value[w.abs() > scale].all()


@pytest.mark.parametrize("levels", SETS)
@pytest.mark.parametrize("g", WINDOWS)
def test_cbp_check_02_its_derivative_is_that_of_finite_differences(levels: tuple[int, ...], g: int) -> None:
    scale, reach, h = 0.37, max(levels), 1e-7
    w = torch.linspace(-1.4 * scale, 1.4 * scale, 997, dtype=F64).requires_grad_()
    step, multiplier = torch.tensor([scale / reach], dtype=F64), torch.rand(997, dtype=F64)
    (slope,) = torch.autograd.grad(weighed_sum(w, step, multiplier, levels, g), w)
    with torch.no_grad():
        ahead, here, back = (sawtooth((w + d) / step, levels, g)[0] * step for d in (h, 0.0, -h))
    smooth = (ahead - 2 * here + back).abs() < h / 2  # neither a kink nor the edge of a window within h
    assert smooth.sum() > 950
    assert (slope - multiplier * (ahead - back) / (2 * h))[smooth].abs().max() < 1e-4


def test_on_a_level_the_constraint_moves_nothing() -> None:
    for levels in MODES.values():
        assert not sawtooth(torch.tensor(levels).float(), levels, 40)[1].any()


@pytest.mark.parametrize("levels", SETS)
def test_cbp_check_03_quantized_weights_take_the_levels_and_no_other_value(levels: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(8, 40), nn.Linear(40, 2))
    first, last = (model[i].weight.detach().clone() for i in (0, 4))
    with torch.no_grad():
        model[1].weight[0, 0, 0] = 0.0
    trained = {i: model[i].weight.detach().abs().mean() for i in (1, 3)}
    attach(model, quantize=Constrained(levels), skip=["0", "4"])
    factors = torch.tensor(levels, dtype=F64) / max(levels)
    for i, scale in trained.items():
        weight = model[i].weight.detach()
        values = weight.unique()
        assert 2 <= len(values) <= len(levels)
        shares = values.double() / scale
        assert ((shares[:, None] - factors).abs().amin(1) < 1e-6).all()
        # What the forward pass multiplies by is the decoding of the codes, bit for bit.
        own = codes(model)[str(i)]
        assert torch.equal(own.decode(), weight)
        assert set(own.codes.unique().tolist()) <= set(levels)
    assert torch.equal(model[0].weight, first)
    assert torch.equal(model[4].weight, last)
    assert type(model[0]) is nn.Conv2d
    assert type(model[4]) is nn.Linear
    if levels == (-1, 1):
        assert model[1].weight[0, 0, 0].min() > 0  # a tie goes up, so there is no third value


def test_cbp_check_04_multipliers_only_rise_and_only_of_weights_that_violate() -> None:
    layer = nn.Linear(50, 40)
    attach(layer, quantize=Constrained((-1, 0, 1), multiplier_lr=0.01, patience=1))
    stage, (_, latent) = stage_of(layer), path_of(layer)
    violating = latent.detach().abs() > stage.step
    assert ((stage.multiplier > 0) == violating).all()
    assert stage.multiplier.max() <= 1.01 * 0.01
    ever, before = violating, stage.multiplier.clone()
    for _ in range(30):
        with torch.no_grad():
            latent.add_(torch.randn_like(latent) * 0.02)
        after_epoch(layer, objective=1.0)
        ever = ever | (sawtooth(latent.detach() / stage.step, (-1, 0, 1), stage.standing.window)[0] > 0)
        assert (stage.multiplier >= before).all()
        assert not stage.multiplier[~ever].any()
        before = stage.multiplier.clone()
    assert stage.updates == 31


def test_multipliers_rise_as_by_the_adam_of_torch() -> None:
    violations = [torch.rand(100) * (torch.rand(100) < 0.5) for _ in range(12)]
    theirs = torch.zeros(100, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.01)
    ours, moments = torch.zeros(100), (torch.zeros(100), torch.zeros(100))
    for n, violation in enumerate(violations, 1):
        raise_multiplier(ours, moments, violation, updates=n, lr=0.01)
        theirs.grad = -violation
        adam.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-5, atol=1e-8)


def test_cbp_check_05_the_window_closes_and_the_learning_rate_falls_once() -> None:
    layer = nn.Linear(3, 3)
    attach(layer, quantize=Constrained(patience=4))
    stage, windows, factors = stage_of(layer), [], []
    for epoch in range(4 * 12):  # the objective falls in every epoch, so patience alone closes the window
        windows.append(stage.standing.window)
        factors.append(learning_rate_factor(layer))
        after_epoch(layer, objective=100.0 - epoch)
    assert windows == [g for g in (*range(1, 11), 20, 30) for _ in range(4)]
    assert factors == [1.0] * 40 + [0.1] * 8


def test_three_closings_at_once_are_three_in_turn_while_the_weights_stay() -> None:
    torch.manual_seed(0)
    slow = attach(nn.Linear(9, 5), quantize=Constrained((-1, 0, 1), patience=1))
    fast = attach(nn.Linear(9, 5), quantize=Constrained((-1, 0, 1), patience=1, closings=3))
    fast.load_state_dict(slow.state_dict())
    for _ in range(5):
        after_epoch(fast, objective=1.0)
        for _ in range(3):
            after_epoch(slow, objective=1.0)
    found, wanted = fast.state_dict(), slow.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert stage_of(fast).standing.window == 70


def test_cbp_check_05_a_rise_closes_it_from_the_second_epoch_on() -> None:
    standing, windows = Standing(), []
    for objective in (9.0, 10.0, 50.0, 40.0, 40.0, 99.0):
        standing = standing.after(objective, patience=20)
        windows.append(standing.window)
    # The 50 comes right after a change, when nothing is remembered; 40 is no rise, an equal 40 is one.
    assert windows == [1, 2, 2, 2, 3, 3]


def separable(count: int = 2000) -> tuple[Tensor, Tensor]:
    """Two classes of 16 numbers each: noisy points on either side of a curved border."""
    x = torch.rand(count, 16, generator=torch.Generator().manual_seed(0))
    return x, ((x[:, :8] ** 2).sum(1) > (x[:, 8:] ** 2).sum(1)).long()


class Ordered:
    """Batches of tensors, in one order of its own for every epoch."""

    def __init__(self, x: Tensor, y: Tensor, size: int) -> None:
        self.x, self.y, self.size, self.epoch = x, y, size, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.x) / self.size)

    def __iter__(self):  # type: ignore[no-untyped-def]
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(self.epoch))
        for part in order.split(self.size):
            yield self.x[part], self.y[part]


def spiking_toy() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(
        bs.Repeat(steps=4),
        bs.TimeDistributed(nn.Linear(16, 48)),
        bs.LIF(decay=0.5, threshold=0.5),
        bs.TimeDistributed(nn.Linear(48, 48)),
        bs.LIF(decay=0.5, threshold=0.5),
        bs.TimeDistributed(nn.Linear(48, 2)),
        bs.RateReadout(),
    )


def train(model: nn.Module, epochs: int, lr: float, **more: object) -> History:
    x, y = separable()
    return fit(
        model,
        Ordered(x[:1600], y[:1600], 330),  # the last batch is a ragged one
        epochs=epochs,
        optimizer=SGD(lr=lr),
        schedule=ConstantRate(),
        clip_gradient=ClipValue(1.0),
        keep="last",
        device="cpu",
        precision="fp32",
        **more,  # type: ignore[arg-type]
    )


def accuracy(model: nn.Module) -> float:
    x, y = separable()
    with torch.no_grad():
        return float((model.eval()(x[1600:]).argmax(1) == y[1600:]).float().mean())


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    model = spiking_toy()
    train(model, 16, 0.2)
    return model


@pytest.mark.parametrize("levels", [(-1, 1), (-1, 0, 1)])
def test_cbp_check_06_weights_arrive_and_the_network_stays_right(trained: nn.Module, levels: tuple[int, ...]) -> None:
    model = copy.deepcopy(trained)
    attach(model, quantize=Constrained(levels, multiplier_lr=2e-3, patience=3, late_lr=0.02), include="3.*")
    at_once, start = accuracy(model), constraint_failure(model)
    history = train(model, 40, 0.1)
    end = constraint_failure(model)
    assert start is not None
    assert end is not None
    assert end.score < start.score / 3
    assert end.off < 0.5
    assert [e.constraint_failure for e in history.epochs][-1] == end.score
    assert history.epochs[-1].constraint_window == end.window >= 20
    # Latent weights may still be a little off their levels; the network has computed with the levels all the time.
    assert accuracy(model) >= accuracy(trained) - 0.03
    assert accuracy(model) >= at_once
    projected = detach(copy.deepcopy(model))
    assert accuracy(projected) == accuracy(model)


def test_cbp_check_12_a_saved_network_answers_alike_without_the_float_weights(tmp_path: Path) -> None:
    model, x = spiking_toy(), separable()[0][:20]
    attach(model, quantize=Constrained((-1, 0, 1), per_channel=True), include="3.*")
    train(model, 1, 0.1)
    write_weights(tmp_path / "model.safetensors", model.state_dict())
    other = spiking_toy()
    for p in other.parameters():
        p.data.normal_()  # its own weights give other scales, which the file replaces
    attach(other, quantize=Constrained((-1, 0, 1), per_channel=True), include="3.*")
    other.load_state_dict(read_weights(tmp_path / "model.safetensors"))
    assert torch.equal(other.eval()(x), model.eval()(x))
    mine, theirs = (stage_of(m.get_submodule(LINEAR)) for m in (model, other))
    assert theirs.standing == mine.standing
    assert theirs.updates == mine.updates
    for name in ("step", "multiplier", "first_moment", "second_moment"):
        assert torch.equal(getattr(theirs, name), getattr(mine, name))


def test_a_state_of_other_levels_is_refused_with_the_levels_to_take() -> None:
    binary, ternary = (attach(nn.Linear(2, 2), quantize=Constrained(levels)) for levels in ((-1, 1), (-2, 1)))
    with pytest.raises(ConstraintError, match=r"with Constrained\(\(-1, 1\)\), this layer has") as caught:
        ternary.load_state_dict(binary.state_dict())
    assert "quantize=Constrained((-1, 1))" in str(caught.value.fix)


@pytest.mark.parametrize("killed", [1, 4])
def test_a_run_that_was_stopped_ends_at_the_same_weights_multipliers_and_schedule(tmp_path: Path, killed: int) -> None:
    plan = Constrained((-1, 0, 1), multiplier_lr=1e-2, patience=2)

    def fresh() -> nn.Module:
        return attach(spiking_toy(), quantize=plan, include="3.*")

    class Killed(Exception):
        pass

    class Kills(Observer):
        def epoch_done(self, record: EpochRecord) -> None:
            if record.epoch == killed:
                raise Killed

    whole = fresh()
    history = train(whole, 5, 0.05, folder=tmp_path / "whole")
    with pytest.raises(Killed):
        train(fresh(), 5, 0.05, folder=tmp_path / "killed", observer=Kills())
    resumed = fresh()
    again = train(resumed, 5, 0.05, folder=tmp_path / "killed", resume=True)
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert [e.constraint_failure for e in again.epochs] == [e.constraint_failure for e in history.epochs]


def test_a_loop_of_ones_own_is_the_training_of_fit() -> None:
    plan = Constrained((-1, 1), multiplier_lr=1e-2, patience=2)
    fitted, own = (attach(spiking_toy(), quantize=plan, include="3.*") for _ in range(2))
    x, y = separable()
    batches = Ordered(x[:1600], y[:1600], 150)
    fit(fitted, batches, epochs=5, optimizer=SGD(lr=0.05), schedule=ConstantRate(), device="cpu", precision="fp32")
    optimizer = SGD(lr=0.05).build(own)
    for epoch in range(5):
        batches.set_epoch(epoch)
        total = 0.0
        for inputs, labels in batches:
            objective = nn.functional.cross_entropy(own(inputs), labels) + bs.penalties(own)
            optimizer.zero_grad()
            objective.backward()
            optimizer.step()
            after_step(own)
            total += float(objective.detach().double())
        after_epoch(own, objective=total)
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * learning_rate_factor(own)
    assert constraint_failure(own) == constraint_failure(fitted)
    assert all(torch.equal(a, b) for a, b in zip(own.state_dict().values(), fitted.state_dict().values(), strict=True))


def test_a_loop_that_keeps_the_objective_to_itself_is_told_so() -> None:
    layer = attach(nn.Linear(2, 2), quantize=Constrained())
    for objective in (None, math.nan, math.inf):
        with pytest.raises(ConstraintError, match="decides by the sum of what was minimized") as caught:
            after_epoch(layer, objective=objective)
        assert "objective=S" in str(caught.value.fix)
    after_epoch(nn.Linear(2, 2))  # nothing here needs it


def test_one_scale_per_channel_runs_along_the_output_channels() -> None:
    for layer, axis in ((nn.Conv2d(3, 5, 3), 0), (nn.ConvTranspose2d(3, 5, 3), 1), (nn.Linear(4, 6), 0)):
        w = layer.weight.detach().clone()
        attach(layer, quantize=Constrained((-1, 1), per_channel=True))
        own = codes(layer)[""]
        dims = tuple(d for d in range(w.dim()) if d != axis)
        torch.testing.assert_close(own.scale.float(), w.abs().mean(dims))
        assert torch.equal(own.decode(), layer.weight)
        assert own.axis == axis
    with pytest.raises(ConstraintError, match="use per_channel=False"):
        attach(nn.ConvTranspose2d(4, 4, 3, groups=2), quantize=Constrained(per_channel=True))


def test_the_scale_is_read_once_and_stays() -> None:
    layer = attach(nn.Linear(6, 6), quantize=Constrained((-1, 0, 1)))
    step = stage_of(layer).step.clone()
    with torch.no_grad():
        path_of(layer)[1].mul_(3)
    assert torch.equal(layer.weight.abs().amax(), step[0, 0])
    assert layer.weight.requires_grad
    assert "step" in {name.rpartition(".")[2] for name, _ in layer.named_buffers()}
    assert not any("step" in name for name, _ in layer.named_parameters())


def test_the_gradient_of_the_loss_passes_unchanged() -> None:
    layer = attach(nn.Linear(6, 6, bias=False), quantize=Constrained((-2, -1, 0, 1, 2)))
    g = torch.randn(6, 6)
    layer.weight.backward(g)
    assert torch.equal(path_of(layer)[1].grad, g)


def test_weights_stay_within_reach_of_the_outermost_level() -> None:
    near, far = nn.Linear(40, 40), nn.Linear(40, 40)
    with torch.no_grad():
        far.weight.mul_(200)
    for layer in (near, far):
        attach(layer, quantize=Constrained())
        path_of(layer)[1].data.mul_(1e3)
        after_step(layer)
    assert path_of(near)[1].abs().max() == 1.0
    assert float(path_of(far)[1].detach().abs().max()) == pytest.approx(1.5 * float(stage_of(far).step))
    with pytest.raises(ConstraintError, match="no weight could reach") as caught:
        attach(nn.Linear(4, 4), quantize=Constrained(limit=1e-3))
    assert "limit=None" in str(caught.value.fix)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_every_precision(dtype: torch.dtype) -> None:
    layer = nn.Linear(30, 20).to(dtype)
    attach(layer, quantize=Constrained((-1, 0, 1), scale=Dyadic(MeanAbs())))
    assert layer.weight.dtype is dtype
    assert torch.equal(codes(layer)[""].decode(dtype), layer.weight)
    (bs.penalties(layer) + layer(torch.randn(3, 30, dtype=dtype)).sum()).backward()
    assert path_of(layer)[1].grad.dtype is dtype
    after_step(layer)
    after_epoch(layer, objective=1.0)


def test_a_level_set_of_ones_own_keeps_products_exact() -> None:
    layer = nn.Linear(60, 60)
    attach(layer, quantize=Constrained((-5, -3, 0, 3, 5), scale=Constant(0.1)))
    own = codes(layer)[""]
    assert own.bits == 3
    assert torch.equal(own.decode(torch.float64), layer.weight.double())  # exact already in single precision
    path_of(layer)[1].data.copy_(layer.weight.detach())
    assert constraint_failure(layer).score == 0.0


def test_weights_of_which_all_are_zero_or_none_is_there() -> None:
    zeros = nn.Linear(4, 4)
    nn.init.zeros_(zeros.weight)
    nothing = nn.Linear(1, 4)
    nothing.weight = nn.Parameter(torch.empty(4, 0))
    for layer in (zeros, nothing):
        attach(layer, quantize=Constrained((-1, 0, 1)))
        assert not layer.weight.any()
        bs.penalties(layer).backward()
        after_epoch(layer, objective=0.0)
        assert constraint_failure(layer).score == 0.0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"levels": (1,)}, "two or more whole numbers"),
        ({"levels": (1, -1)}, "ascending"),
        ({"levels": (-1, -1, 1)}, "ascending"),
        ({"levels": (-0.5, 0.5)}, "whole numbers"),
        ({"levels": (0, 2**15)}, "up to 16384"),
        ({"multiplier_lr": 0.0}, "above 0"),
        ({"patience": 0}, "from 1"),
        ({"patience": 1.5}, "from 1"),
        ({"closings": 0}, "from 1"),
        ({"late_lr": 0.0}, "above 0"),
        ({"late_lr": 2.0}, "at most 1"),
        ({"limit": -1.0}, "above 0"),
    ],
)
def test_what_is_no_constraint_is_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConstraintError, match=said) as caught:
        Constrained(**wrong)  # type: ignore[arg-type]
    assert caught.value.fix


def test_weights_that_are_not_finite_are_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight.data[0, 0] = math.nan
    with pytest.raises(ConstraintError, match="a weight of 1 is NaN"):
        attach(model, quantize=Constrained())


def test_the_penalty_goes_through_torch_func() -> None:
    levels, step, multiplier = (-1, 0, 1), torch.tensor([0.5]), torch.rand(7)

    def penalty(w: Tensor) -> Tensor:
        return weighed_sum(w, step, multiplier, levels, 3.0)

    w = torch.randn(4, 7)
    by_row = torch.func.vmap(torch.func.grad(penalty))(w)
    assert torch.equal(by_row, torch.stack([torch.func.grad(penalty)(row) for row in w]))


def test_a_deep_copy_has_multipliers_and_a_schedule_of_its_own() -> None:
    layer = attach(nn.Linear(9, 9), quantize=Constrained(patience=1))
    other = copy.deepcopy(layer)
    before = stage_of(layer).multiplier.clone()
    after_epoch(other, objective=1.0)
    assert stage_of(other).standing.window == 2
    assert stage_of(layer).standing.window == 1
    assert torch.equal(stage_of(layer).multiplier, before)


def test_the_word_of_a_recipe_is_the_class_with_its_defaults() -> None:
    assert build(Word(kind="constrained")) == Constrained()
    said = Word(kind="constrained", levels=(-2, -1, 0, 1, 2), per_channel=True, patience=3, scale={"kind": "dyadic"})
    assert build(said) == Constrained((-2, -1, 0, 1, 2), per_channel=True, patience=3, scale=Dyadic())
    assert said.bits == Constrained(said.levels).bits == 3
    assert load("quickstart", ["weights.quantize={kind: constrained, levels: [-1, 0, 1]}"]).bits == 2


@pytest.mark.parametrize("dims", [2, 3])
def test_weights_with_channels_last_are_the_same_and_stay_so(dims: int) -> None:
    kind, layout = {2: (nn.Conv2d, torch.channels_last), 3: (nn.Conv3d, torch.channels_last_3d)}[dims]
    plain = kind(3, 4, 3)
    turned = copy.deepcopy(plain).to(memory_format=layout)
    for layer in (plain, turned):
        attach(layer, quantize=Constrained((-1, 0, 1), scale=Constant(0.1), patience=1))
        for _ in range(2):
            after_epoch(layer, objective=1.0)
        bs.penalties(layer).backward()
    assert turned.weight.is_contiguous(memory_format=layout)
    assert torch.equal(turned.weight, plain.weight)
    assert torch.equal(path_of(turned)[1].grad, path_of(plain)[1].grad)
    assert torch.equal(stage_of(turned).multiplier, stage_of(plain).multiplier)
    assert constraint_failure(turned).off == constraint_failure(plain).off
