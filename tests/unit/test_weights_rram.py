"""Log-normal device variation."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.weights import Binary, Lognormal, Uniform, attach, codes


def _model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 6), nn.Linear(6, 5))


def _vary(plan: Lognormal, w: Tensor, name: str = "layer") -> Tensor:
    varied = plan.build(name, w)(w)
    assert isinstance(varied, Tensor)
    return varied


def test_hybrid_check_08_noise() -> None:
    """Sigma 0 is the identity; signs and the largest magnitude hold; the 1-bit mean is 0.9690; one seed, one tensor."""
    w = torch.randn(64, 32)
    assert torch.equal(_vary(Lognormal(0.0), w), w)
    for sigma in (0.08, 0.4, 2.0):
        varied = _vary(Lognormal(sigma, seed=1), w)
        assert torch.equal(varied.sign(), w.sign())
        assert varied.abs().max() <= w.abs().max()
    ones = torch.ones(1000, 1000) * (torch.rand(1000, 1000) < 0.5).float().mul(2).sub(1)
    sigma = Lognormal.for_bits(1).sigma
    magnitude = _vary(Lognormal(sigma, seed=3), ones).abs()
    expected = 0.5 + math.exp(sigma**2 / 2) * 0.5 * (1 + math.erf(-sigma / math.sqrt(2)))
    assert expected == pytest.approx(0.9690, abs=1e-4)
    assert magnitude.mean().item() == pytest.approx(0.9690, abs=1e-3)
    assert (magnitude == 1).float().mean().item() == pytest.approx(0.5, abs=0.01)
    chip = Lognormal(0.3, seed=5, fixed=True)
    assert torch.equal(_vary(chip, w), _vary(chip, w))
    assert not torch.equal(_vary(chip, w), _vary(Lognormal(0.3, seed=6, fixed=True), w))


def test_the_clip_uses_the_largest_magnitude_not_the_largest_weight() -> None:
    w = torch.tensor([-1.0, -0.5, 0.25]).repeat(100)
    assert _vary(Lognormal(0.5, seed=0), w).abs().max() > 0.25


def test_sigma_by_bits() -> None:
    expected = {1: 0.08164, 2: 0.12542, 3: 0.2062, 4: 0.34597, 8: 0.369039}
    for bits, sigma in expected.items():
        assert Lognormal.for_bits(bits).sigma == sigma
        assert Lognormal.for_bits(bits, scale=3).sigma == pytest.approx(3 * sigma)
    assert Lognormal.for_bits(4, scale=0).sigma == 0  # not taken for "no scale given"
    with pytest.raises(ConstraintError, match="1, 2, 3, 4, 8 bits"):
        Lognormal.for_bits(5)


def test_noise_is_fresh_in_training_and_off_in_evaluation() -> None:
    model = attach(_model(), quantize=Uniform(4), vary=Lognormal(0.2))
    first, second = model[0].weight, model[0].weight
    assert not torch.equal(first, second)
    model.eval()
    assert torch.equal(model[0].weight, codes(model)["0"].decode())
    model.train()
    assert torch.equal(codes(model)["0"].decode(), model.eval()[0].weight)


def test_noise_can_stay_on_in_evaluation() -> None:
    model = attach(_model(), vary=Lognormal(0.2, active_in_eval=True)).eval()
    assert not torch.equal(model[0].weight, model[0].weight)


def test_a_fixed_chip_is_the_same_in_both_modes_and_differs_by_layer() -> None:
    def chip(seed: int) -> nn.Sequential:
        torch.manual_seed(0)
        return attach(_model(), quantize=Binary(), vary=Lognormal(0.2, seed=seed, fixed=True))

    model = chip(1)
    trained = model[0].weight
    assert torch.equal(model.eval()[0].weight, trained)
    assert torch.equal(chip(1)[0].weight, trained)
    assert not torch.equal(chip(2)[0].weight, trained)
    noise = [model[i].parametrizations.weight[0].vary.noise for i in (0, 2)]
    assert noise[0].shape == noise[1].shape
    assert not torch.equal(noise[0], noise[1])
    assert not any("noise" in key for key in model.state_dict())
    assert torch.equal(copy.deepcopy(model)[0].weight, trained)


def test_the_gradient_passes_the_noise_unchanged() -> None:
    layer = attach(nn.Linear(3, 2), quantize=Uniform(4), vary=Lognormal(0.5))
    layer.weight.sum().backward()
    assert layer.parametrizations.weight.original.grad.tolist() == [[1.0] * 3] * 2


def test_a_seed_or_generator_reproduces_the_draws() -> None:
    def draws(plan: Lognormal) -> list[Tensor]:
        torch.manual_seed(0)
        model = attach(_model(), vary=plan)
        return [layer.weight.detach() for _ in range(2) for layer in model]

    for make in (
        lambda: Lognormal(0.2, seed=4),
        lambda: Lognormal(0.2, generator=torch.Generator().manual_seed(4)),
        lambda: Lognormal(0.2),
    ):
        for a, b in zip(draws(make()), draws(make()), strict=True):
            assert torch.equal(a, b)


def test_attaching_draws_nothing() -> None:
    generator = torch.Generator().manual_seed(4)
    before = generator.get_state()
    attach(_model(), vary=Lognormal(0.2, generator=generator))
    assert torch.equal(generator.get_state(), before)


def test_a_resumed_run_goes_on_with_the_same_noise() -> None:
    model = attach(_model(), vary=Lognormal(0.2, seed=4))
    _ = model[0].weight
    state = {k: v.clone() for k, v in model.state_dict().items()}
    expected = model[0].weight
    fresh = attach(_model(), vary=Lognormal(0.2, seed=4))
    fresh.load_state_dict(state, strict=True)
    assert torch.equal(fresh[0].weight, expected)
    # Without a seed of its own a stage adds nothing to the state.
    assert set(attach(_model(), vary=Lognormal(0.2)).state_dict()) == {
        f"{i}.{k}" for i in range(3) for k in ("bias", "parametrizations.weight.original")
    }


def test_bad_values_fail_when_the_plan_is_built() -> None:
    for sigma in (-0.1, math.nan, math.inf):
        with pytest.raises(ConstraintError, match="finite number >= 0"):
            Lognormal(sigma)
    with pytest.raises(ConstraintError, match="both given"):
        Lognormal(0.1, seed=1, generator=torch.Generator())
    with pytest.raises(ConstraintError, match=r"fix: Lognormal\(0.1, seed=0, fixed=True\)"):
        Lognormal(0.1, fixed=True)
