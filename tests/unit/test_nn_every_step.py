"""Answers after every step from one run: the bits of the shorter runs, and refusals where one run cannot tell."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import IF, LIF, BernoulliCoder, RateReadout, Repeat, SumReadout, TimeDistributed, set_steps
from bitspike.nn.aside import aside
from bitspike.nn.every_step import after_every_step, reads_ahead


def network(readout: nn.Module, encoder: nn.Module | None = None, *after: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    layer = TimeDistributed(nn.Conv2d(1, 5, 3), nn.BatchNorm2d(5))
    linear = TimeDistributed(nn.Flatten(), nn.Linear(5 * 36, 4))
    return nn.Sequential(encoder or Repeat(5), layer, LIF(decay=0.5, threshold=0.3), linear, readout, *after).eval()


@pytest.mark.parametrize("readout", [RateReadout(), SumReadout()])
@pytest.mark.parametrize("samples", [1, 3])
def test_every_step_is_the_run_that_stops_there(readout: nn.Module, samples: int) -> None:
    model, x = network(readout), torch.rand(samples, 1, 8, 8)
    steps = after_every_step(model, x)
    assert torch.equal(steps[-1], model(x))
    for t, outputs in enumerate(steps, start=1):
        with set_steps(model, t):
            torch.testing.assert_close(outputs, model(x))


def test_one_step_and_no_sample_are_no_special_cases() -> None:
    assert [y.shape for y in after_every_step(network(RateReadout(), Repeat(1)), torch.rand(2, 1, 8, 8))] == [(2, 4)]
    assert [y.shape for y in after_every_step(nn.Sequential(Repeat(2), SumReadout()), torch.rand(0, 3))] == [(0, 3)] * 2


def test_random_spikes_are_those_of_the_whole_run() -> None:
    coder = BernoulliCoder(4, generator=torch.Generator().manual_seed(1))
    model, x = nn.Sequential(coder, SumReadout()), torch.rand(6, 3)
    steps = after_every_step(model, x)
    coder.generator = torch.Generator().manual_seed(1)
    spikes = coder(x)
    assert all(torch.equal(outputs, spikes[: t + 1].sum(0)) for t, outputs in enumerate(steps))


def test_what_follows_the_readout_and_several_outputs_are_followed() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate, self.sum = RateReadout(), SumReadout()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"rate": self.rate(x).softmax(1), "sum": 2 * self.sum(x)}

    x = torch.rand(3, 2, 4)
    steps = after_every_step(Two(), x)
    assert torch.equal(steps[1]["rate"], x[:2].mean(0).softmax(1))
    assert torch.equal(steps[1]["sum"], 2 * x[:2].sum(0))


def test_a_readout_of_ones_own_is_asked_by_its_own_forward() -> None:
    class Last(RateReadout):
        def forward(self, x: Tensor) -> Tensor:
            return x[-1]

    x = torch.rand(3, 2, 4)
    assert all(torch.equal(y, x[t]) for t, y in enumerate(after_every_step(nn.Sequential(Last()), x)))


def test_a_wrapped_network_is_followed_inside() -> None:
    model = network(RateReadout())
    wrapped, x = nn.DataParallel(model), torch.rand(2, 1, 8, 8)
    assert torch.equal(after_every_step(wrapped, x)[-1], model(x))


def test_what_one_run_cannot_tell_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConstraintError, match=r"calls no read-out[\s\S]*bs\.RateReadout"):
        after_every_step(nn.Sequential(IF()), torch.rand(2, 1, 3))

    class Mixes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(0, keepdim=True)

    with pytest.raises(ConstraintError, match=r"gives \[1, 3\] for 4 samples[\s\S]*bs\.set_steps"):
        after_every_step(nn.Sequential(Repeat(2), SumReadout(), Mixes()), torch.rand(2, 3))


class Attention(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * x.mean(0, keepdim=True).sigmoid()


def test_a_layer_that_reads_later_steps_is_found_wherever_it_stands() -> None:
    x = torch.full((3, 1, 8, 8), 0.5)
    assert not reads_ahead(network(RateReadout()), x)
    assert not reads_ahead(network(RateReadout(), BernoulliCoder(4)), x)
    assert not reads_ahead(network(RateReadout(), Repeat(1)), x)
    frames = nn.Sequential(IF(), RateReadout())
    assert not reads_ahead(frames, torch.rand(4, 2, 3))
    assert reads_ahead(nn.Sequential(IF(), Attention(), RateReadout()), torch.rand(4, 2, 3))
    assert reads_ahead(nn.Sequential(Repeat(4), Attention(), IF(), RateReadout()), x)
    # Statistics of the batch mix all steps, since time is folded into it.
    assert reads_ahead(
        nn.Sequential(Repeat(4), TimeDistributed(nn.BatchNorm2d(1, track_running_stats=False)), RateReadout()),
        torch.rand(3, 1, 8, 8),
    )


def test_nan_is_no_step_that_is_read_ahead() -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([x, x * torch.nan], 2)

    x = torch.rand(4, 2, 3)
    assert not reads_ahead(nn.Sequential(IF(), Broken(), RateReadout()), x)
    assert reads_ahead(nn.Sequential(IF(), Broken(), Attention(), RateReadout()), x)


def test_asking_leaves_no_trace() -> None:
    model = network(RateReadout(), BernoulliCoder(4, generator=torch.Generator().manual_seed(3))).train()
    before, own = torch.get_rng_state(), model[0].generator.get_state()
    reads_ahead(model, torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model[0].generator.get_state(), own)
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_generators_inside_settings_are_put_back_too() -> None:
    from dataclasses import dataclass

    @dataclass(frozen=True)
    class Settings:
        generator: torch.Generator

    model = nn.Identity()
    model.settings = Settings(torch.Generator().manual_seed(5))
    before = model.settings.generator.get_state()
    with aside(model):
        torch.rand(3, generator=model.settings.generator)
    assert torch.equal(model.settings.generator.get_state(), before)
