"""Laws of surrogates and neurons over random choices and inputs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import bitspike.ops.surrogate
from bitspike.nn import IF, LIF, Neuron, SignedIF
from bitspike.ops.dynamics import SignedState
from bitspike.ops.surrogate import Surrogate, spike

law = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def kinds(base: type[Surrogate]) -> set[type[Surrogate]]:
    """Return what is derived from a class and is no base of others."""
    below = base.__subclasses__()
    return {base} if not below else {kind for cls in below for kind in kinds(cls)}


SURROGATES = sorted(
    (cls for cls in kinds(Surrogate) if cls.__module__.startswith("bitspike.")), key=lambda cls: cls.__name__
)
every_surrogate = pytest.mark.parametrize("cls", SURROGATES, ids=lambda cls: cls.__name__)
widths = st.floats(0.05, 20)


def test_the_collected_surrogates_are_the_known_ones() -> None:
    names = {cls.__name__ for cls in SURROGATES}
    assert names == {"ArcTan", "PiecewiseExponential", "Rectangle", "Sigmoid", "Triangle"}
    assert all(getattr(bitspike.ops.surrogate, name) for name in names)


def built(cls: type[Surrogate], width: float, center: float = 0.0) -> Surrogate:
    """Build any surrogate from the one number that each has: its width, or its steepness alpha."""
    return cls(width, center=center)  # type: ignore[call-arg]


@every_surrogate
@law
@given(width=widths, threshold=st.floats(-3, 3))
def test_a_surrogate_is_non_negative_and_peaks_at_the_threshold(
    cls: type[Surrogate], width: float, threshold: float
) -> None:
    around = torch.linspace(-10, 10, 501, dtype=torch.float64)
    potential = torch.cat([around, torch.tensor([threshold], dtype=torch.float64)])
    potential.requires_grad_()
    spike(potential - threshold, built(cls, width)).sum().backward()
    slope = potential.grad
    assert slope is not None
    assert (slope >= 0).all()
    assert slope[-1] == slope.max()
    assert slope[-1] > 0


@every_surrogate
@law
@given(width=widths, distances=st.lists(st.floats(0, 50), min_size=2, max_size=20))
def test_a_surrogate_is_even_and_falls_with_the_distance(
    cls: type[Surrogate], width: float, distances: list[float]
) -> None:
    x = torch.tensor(sorted(distances), dtype=torch.float64)
    right, left = built(cls, width).derivative(x), built(cls, width).derivative(-x)
    torch.testing.assert_close(right, left, rtol=1e-9, atol=1e-12)
    assert (right.diff() <= 1e-12).all()


@every_surrogate
@law
@given(width=widths, center=st.floats(-2, 2), x=st.floats(-5, 5))
def test_a_center_moves_the_peak_and_nothing_else(cls: type[Surrogate], width: float, center: float, x: float) -> None:
    distance = torch.tensor([x], dtype=torch.float64)
    assert torch.equal(built(cls, width, center).derivative(distance), built(cls, width).derivative(distance - center))


@every_surrogate
@law
@given(width=widths, data=st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=20))
def test_a_derivative_leaves_its_argument_alone(cls: type[Surrogate], width: float, data: list[float]) -> None:
    x = torch.tensor(data, dtype=torch.float64)
    before = x.clone()
    built(cls, width).derivative(x)
    assert torch.equal(x, before)


choices = st.fixed_dictionaries(
    {
        "decay": st.integers(0, 8).map(lambda m: m / 8),
        "threshold": st.integers(1, 24).map(lambda m: m / 8),
        "reset": st.sampled_from(["soft", "hard"]),
        "fire": st.sampled_from(["ge", "gt"]),
        "leak": st.sampled_from(["before", "after"]),
        "initial": st.integers(-8, 8).map(lambda m: m / 8),
        "resolution": st.sampled_from([None, 2**-3, 2**-5]),
    }
)
seeds = st.integers(0, 2**31)


def draw(seed: int, *shape: int) -> torch.Tensor:
    """Return random multiples of 1/8 in [-2, 4): dyadic, so no sum of them rounds."""
    return torch.randint(-16, 32, shape, generator=torch.Generator().manual_seed(seed)) / 8


@law
@given(choice=choices, seed=seeds, steps=st.integers(1, 9), data=st.data())
def test_a_stream_may_be_cut_anywhere(choice: dict[str, Any], seed: int, steps: int, data: st.DataObject) -> None:
    neuron, x = LIF(**choice), draw(seed, steps, 3, 2)
    whole, end = neuron.scan(x)
    spikes, state, at = [], None, 0
    while at < steps:
        to = data.draw(st.integers(at + 1, steps))
        s, state = neuron.scan(x[at:to], state)
        spikes.append(s)
        at = to
    assert torch.equal(torch.cat(spikes), whole)
    assert isinstance(state, torch.Tensor)
    assert isinstance(end, torch.Tensor)
    assert torch.equal(state, end)


@law
@given(choice=choices, seed=seeds)
def test_a_prefix_of_the_input_gives_a_prefix_of_the_spikes(choice: dict[str, Any], seed: int) -> None:
    neuron, x = LIF(**choice), draw(seed, 6, 5)
    assert torch.equal(neuron(x[:4]), neuron(x)[:4])


@law
@given(choice=choices, seed=seeds, power=st.integers(-3, 3))
def test_a_neuron_does_not_know_its_unit(choice: dict[str, Any], seed: int, power: int) -> None:
    x, unit = draw(seed, 6, 5), 2.0**power
    scaled = {k: v * unit if k in ("threshold", "initial", "resolution") and v else v for k, v in choice.items()}
    assert torch.equal(LIF(**choice)(x), LIF(**scaled)(x * unit))


@law
@given(choice=choices, seed=seeds)
def test_a_soft_reset_accounts_for_every_spike(choice: dict[str, Any], seed: int) -> None:
    x = draw(seed, 7, 5)
    neuron = IF(choice["threshold"], fire=choice["fire"], initial=choice["initial"])
    spikes, left = neuron.scan(x)
    assert isinstance(left, torch.Tensor)
    assert torch.equal(left, choice["initial"] + x.sum(0) - choice["threshold"] * spikes.sum(0))


@law
@given(choice=choices, seed=seeds)
def test_a_higher_threshold_never_fires_first(choice: dict[str, Any], seed: int) -> None:
    x = draw(seed, 8, 5)
    low, high = LIF(**choice)(x), LIF(**{**choice, "threshold": choice["threshold"] + 0.5})(x)
    never = torch.full((1, 5), True)
    first_low = torch.cat([low > 0, never]).float().argmax(0)
    first_high = torch.cat([high > 0, never]).float().argmax(0)
    assert (first_low <= first_high).all()


@law
@given(threshold=st.integers(1, 16).map(lambda m: m / 8), seed=seeds)
def test_qann_check_03_a_signed_neuron_never_takes_back_what_it_has_not_sent(threshold: float, seed: int) -> None:
    x = draw(seed, 12, 40) - 0.75
    neuron = SignedIF(threshold)
    spikes, state = neuron.scan(x)
    assert set(spikes.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert (spikes.cumsum(0) >= 0).all()
    assert isinstance(state, SignedState)
    assert torch.equal(state.emitted, spikes.sum(0))
    assert torch.equal(state.potential, threshold / 2 + x.sum(0) - threshold * spikes.sum(0))


@law
@given(seed=seeds)
def test_a_signed_neuron_that_never_falls_below_zero_is_an_if_neuron(seed: int) -> None:
    x = draw(seed, 10, 20).abs()
    assert torch.equal(SignedIF(1.0)(x), IF(1.0, initial=0.5)(x))


@law
@given(seed=seeds, kind=st.sampled_from(["if", "lif", "signed"]), shift=st.integers(-3, 3))
def test_half_precision_decides_as_single_precision_does(seed: int, kind: str, shift: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = (torch.randn(30, 20, generator=generator) * 2.0**shift).bfloat16()
    neurons: dict[str, Neuron] = {"if": IF(0.9), "lif": LIF(0.9, 0.9), "signed": SignedIF(0.9)}
    assert torch.equal(neurons[kind](x).float(), neurons[kind](x.float()))
