"""Models of memory devices besides log-normal variation: by level, stuck cells, drift, several at once, and chips."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.weights import (
    Combined,
    DoReFa,
    Drift,
    LevelLognormal,
    Lognormal,
    Midrise,
    PCMDrift,
    StuckAt,
    Ternary,
    Uniform,
    Variation,
    attach,
    codes,
    on_chip,
    weight_codes,
)
from bitspike.weights.devices.variation import grid_step

PLANS = [
    Lognormal(0.3),
    LevelLognormal((0.3, 0.1)),
    StuckAt(0.1, 0.05),
    Drift(3600, nu=0.05, spread=0.02),
    PCMDrift(3600),
    Combined(Lognormal(0.3), StuckAt(high=0.05), Drift(3600)),
]


def varied(plan: Variation, w: Tensor, seed: int = 0) -> Tensor:
    return plan.vary(w, plan.chip(seed, "layer", w))


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
@pytest.mark.parametrize("shape", [(8, 4, 3, 3), (1, 1), (3, 0), (5,)])
def test_every_model_keeps_shape_and_bounds_and_is_one_chip_for_one_seed(
    plan: Variation, shape: tuple[int, ...]
) -> None:
    w = torch.randn(shape)
    first, again, other = varied(plan, w), varied(plan, w), varied(plan, w, seed=1)
    assert first.shape == w.shape
    assert torch.equal(first, again)
    if w.numel():
        assert first.abs().max() <= w.abs().max()
    if w.numel() > 10 and not isinstance(plan, StuckAt):
        assert not torch.equal(first, other)
    assert torch.equal(varied(plan, torch.zeros(4)), torch.zeros(4)) or isinstance(plan, StuckAt | Combined)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: type(plan).__name__)
def test_every_model_trains_with_fresh_draws_in_any_precision(plan: Variation) -> None:
    layer = attach(nn.Linear(40, 30), quantize=Midrise(2), vary=plan)
    if not isinstance(plan, Drift):
        assert not torch.equal(layer.weight, layer.weight) or isinstance(plan, PCMDrift)
    layer.weight.sum().backward()
    assert torch.equal(layer.parametrizations.weight.original.grad, torch.ones(30, 40))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 40)).dtype == torch.bfloat16
    assert torch.equal(layer.eval().weight, codes(layer)[""].decode())


def test_variation_by_level_finds_the_levels_of_both_grids() -> None:
    """Level i of Midrise is (i + 1) / n, that of DoReFa (2 i + 1) / (2 n - 1); a table has one sigma for each."""
    for bits in (1, 2, 3, 4):
        plan = LevelLognormal.for_bits(bits)
        n = 2 ** (bits - 1)
        sigmas = torch.tensor(plan.sigmas)
        assert len(sigmas) == n
        for scheme in (Midrise(bits), DoReFa(bits)) if bits > 1 else (Midrise(bits),):
            levels = torch.tensor([x for x in scheme.levels if x > 0])
            w = scheme.decode(levels, torch.tensor([1 / scheme.high])) * 0.37
            assert torch.equal(plan.deviations(w), sigmas), (bits, scheme)
            assert torch.equal(plan.deviations(-w), sigmas)
    assert LevelLognormal.for_bits(2, scale=0).sigmas == (0.0, 0.0)
    with pytest.raises(ConstraintError, match="measured are 1, 2, 3, 4 bits"):
        LevelLognormal.for_bits(8)


def test_a_level_varies_with_its_own_sigma() -> None:
    w = torch.tensor([0.5, 1.0]).repeat(40000)
    ratio = varied(LevelLognormal((0.2, 0.1)), w) / w
    small, large = ratio[0::2].log(), ratio[1::2].log()
    assert small.std().item() == pytest.approx(0.2, abs=5e-3)
    assert large.min().item() == pytest.approx(-0.1 * 4, abs=0.1)  # the clip leaves its lower half
    assert large.max().item() == 0


def test_stuck_cells_follow_the_truth_table_of_a_pair() -> None:
    w = torch.tensor([1.0, 0.5, -0.5])
    plan = StuckAt(low=0.25, high=0.25)

    def with_draws(plus: float, minus: float) -> list[float]:
        return plan.vary(w, torch.tensor([[plus] * 3, [minus] * 3])).tolist()

    assert with_draws(0.5, 0.5) == [1.0, 0.5, -0.5]  # sound
    assert with_draws(0.1, 0.5) == [0.0, 0.0, -0.5]  # the cell of the positive part is low
    assert with_draws(0.9, 0.5) == [1.0, 1.0, 0.5]  # it is high: 1 - 0.5 for the negative weight
    assert with_draws(0.5, 0.9) == [0.0, -0.5, -1.0]  # the cell of the negative part is high
    assert with_draws(0.9, 0.9) == [0.0, 0.0, 0.0]
    shares = varied(StuckAt(low=0.3), torch.ones(100000))
    assert (shares == 0).float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert torch.equal(varied(StuckAt(), w), w)
    for low, high in ((-0.1, 0), (0, 1.1), (0.6, 0.6), (math.nan, 0)):
        with pytest.raises(ConstraintError, match="sum of at most 1"):
            StuckAt(low, high)


def test_drift_falls_with_a_power_of_time_and_never_grows() -> None:
    w = torch.tensor([1.0, -0.5])
    assert torch.allclose(varied(Drift(2000, nu=0.1), w), w * 100**-0.1)
    assert torch.equal(varied(Drift(20, nu=0.1), w), w)
    assert (varied(Drift(1e6, nu=0.0, spread=1.0), torch.ones(100)) <= 1).all()
    day, year = (varied(PCMDrift(seconds), torch.ones(1000)).mean() for seconds in (86400, 365 * 86400))
    assert year < day < 1
    # The exponent of the largest conductance is |N(0.049, 0.008**2)|.
    nu = -varied(PCMDrift(2000), torch.ones(20000)).log() / math.log(100)
    assert nu.mean().item() == pytest.approx(0.049, abs=5e-4)
    assert nu.std().item() == pytest.approx(0.008, abs=5e-4)
    for wrong in ({"seconds": 1}, {"seconds": math.inf}, {"seconds": 60, "nu": -1}, {"seconds": 60, "reference": 0}):
        with pytest.raises(ConstraintError, match=r"fix: Drift\(seconds=86400"):
            Drift(**wrong)
    with pytest.raises(ConstraintError, match="at least 20 seconds"):
        PCMDrift(1.0)


def test_effects_act_in_turn_with_draws_of_their_own() -> None:
    w = torch.randn(50)
    parts = Lognormal(0.2), Drift(3600, nu=0.1)
    both = Combined(*parts)
    draws = both.chip(3, "layer", w)
    assert torch.equal(both.vary(w, draws), parts[1].vary(parts[0].vary(w, draws[:1]), draws[1:]))
    with pytest.raises(ConstraintError, match="at least one part"):
        Combined()
    with pytest.raises(ConstraintError, match=r"fix: Combined\(Lognormal\(0.2\), seed=0\)"):
        Combined(Lognormal(0.2, seed=1))
    with pytest.raises(ConstraintError, match="a model of variation is needed"):
        Combined(Ternary())  # type: ignore[arg-type]


def test_on_chip_is_the_chip_of_a_fixed_plan_and_ends_with_the_block() -> None:
    layer = attach(nn.Linear(6, 5), quantize=Uniform(4), vary=Lognormal(0.3)).eval()
    fixed = attach(nn.Linear(6, 5), quantize=Uniform(4), vary=Lognormal(0.3, seed=5, fixed=True)).eval()
    fixed.load_state_dict(layer.state_dict())
    ideal = layer.weight
    with on_chip(layer, 5):
        assert torch.equal(layer.weight, fixed.weight)
        assert torch.equal(layer.train().weight, fixed.weight)
        assert torch.equal(copy.deepcopy(layer).weight, fixed.weight)
        with on_chip(layer, 6):
            assert not torch.equal(layer.weight, fixed.weight)
        assert torch.equal(layer.weight, fixed.weight)
    assert torch.equal(layer.eval().weight, ideal)
    with pytest.raises(RuntimeError), on_chip(layer, 5):
        raise RuntimeError
    assert torch.equal(layer.weight, ideal)


def test_a_chip_that_is_read_with_bits_has_codes() -> None:
    layer = attach(nn.Linear(30, 20), quantize=Midrise(4), vary=Lognormal(0.3)).eval()
    for resolution in (2, 7, 12):
        with on_chip(layer, 1, resolution=resolution):
            cells = weight_codes(layer)
            assert cells is not None
            assert torch.equal(cells.decode(), layer.weight)
            assert cells.codes.abs().max() <= 2 ** (resolution - 1)
            assert cells.bits == resolution + 1
            assert torch.equal(codes(layer)[""].decode(), layer.parametrizations.weight[0].ideal(_master(layer)))
    with on_chip(layer, 1, resolution=4):
        assert not torch.equal(layer.weight, codes(layer)[""].decode())
    assert grid_step(torch.zeros(3), 3).tolist() == [0.25]
    assert grid_step(torch.tensor([4.0]), 3).tolist() == [1.0]


def test_what_cannot_be_a_chip_is_refused() -> None:
    with pytest.raises(ConstraintError, match="no weight varies"), on_chip(nn.Linear(2, 2), 0):
        pass
    layer = attach(nn.Linear(2, 2), vary=Lognormal(0.1))
    for seed in (-1, True, 1.5):
        with pytest.raises(ConstraintError, match="whole number >= 0"), on_chip(layer, seed):
            pass
    for resolution in (1, 16, True, 7.0):
        with pytest.raises(ConstraintError, match="from 2 to 15"), on_chip(layer, 0, resolution=resolution):
            pass
    with pytest.raises(ConstraintError, match=r"fix: Lognormal\(0.1, seed=0, fixed=True, resolution=7\)"):
        Lognormal(0.1, resolution=7)
    Lognormal(0.1, seed=0, fixed=True, resolution=7)


def _master(layer: nn.Module) -> Tensor:
    return layer.parametrizations.weight.original
