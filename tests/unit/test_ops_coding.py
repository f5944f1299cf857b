"""Coders, worked out by hand."""

from __future__ import annotations

import pytest
import torch

from bitspike.ops.coding import bernoulli, even_rate


def test_hybrid_check_01_the_bernoulli_coder_has_the_rate_and_the_sign_of_its_input() -> None:
    generator = torch.Generator().manual_seed(1)
    certain = torch.tensor([2.0, -2.0, 2.5, -7.0])
    assert torch.equal(bernoulli(certain, 50, divisor=2.0, generator=generator), certain.sign().expand(50, 4))

    half = bernoulli(torch.tensor([0.5, -0.5, 0.0]), 20_000, divisor=2.0, generator=generator)
    rates = half.mean(0)
    assert rates[0].item() == pytest.approx(0.25, abs=0.01)
    assert rates[1].item() == pytest.approx(-0.25, abs=0.01)
    assert not half[:, 2].any()
    assert set(half.unique().tolist()) == {-1.0, 0.0, 1.0}


def test_every_step_and_every_element_is_drawn_anew() -> None:
    spikes = bernoulli(torch.full((400,), 0.5), 2)
    assert not torch.equal(spikes[0], spikes[1])
    assert 100 < spikes[0].sum() < 300


def test_the_same_generator_gives_the_same_spikes() -> None:
    x = torch.rand(20)
    a, b = (bernoulli(x, 5, generator=torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(a, b)


def test_an_even_rate_by_hand() -> None:
    spikes = even_rate(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0, -3.0, 3.0]), 4).T.tolist()
    assert spikes == [
        [0, 0, 0, 0],
        [0, 0, 0, 1],
        [0, 1, 0, 1],
        [0, 1, 1, 1],
        [1, 1, 1, 1],
        [0, 0, 0, 0],
        [1, 1, 1, 1],
    ]


def test_an_even_rate_keeps_its_counts_in_half_precision() -> None:
    x = torch.rand(1000).bfloat16()
    spikes = even_rate(x, 100)
    assert spikes.dtype == torch.bfloat16
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert torch.equal(spikes.float().sum(0), torch.round(x.float() * 100))
