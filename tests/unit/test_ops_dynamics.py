"""The step of every neuron, worked out by hand: choices of leak, comparison, reset and resolution."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.ops.dynamics import (
    Law,
    Rule,
    SignedState,
    fire_and_reset,
    if_step,
    integrate,
    lif_step,
    rest,
    signed_if_step,
    step,
)
from bitspike.ops.surrogate import Rectangle


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_if_adds_fires_and_subtracts() -> None:
    s, v, h = if_step(at(0.5, 0.5, -1.0), at(0.25, 0.75, 0.5), 1.0, Rule())
    assert h.tolist() == [0.75, 1.25, -0.5]
    assert s.tolist() == [0, 1, 0]
    assert v.tolist() == [0.75, 0.25, -0.5]


@pytest.mark.parametrize(("fire", "expected"), [("ge", [0, 1, 1]), ("gt", [0, 0, 1])])
def test_the_comparison_decides_at_the_threshold(fire: str, expected: list[int]) -> None:
    s, _ = fire_and_reset(at(0.75, 1.0, 1.25), 1.0, Rule(fire=fire))  # type: ignore[arg-type]
    assert s.tolist() == expected


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        (Rule(reset="soft"), [0.75, 0.5, 1.5]),  # one spike per step: what is above two thresholds stays above one
        (Rule(reset="hard"), [0.75, 0.0, 0.0]),
        (Rule(reset="hard", v_reset=-0.25), [0.75, -0.25, -0.25]),
    ],
)
def test_resets(rule: Rule, left: list[float]) -> None:
    s, v = fire_and_reset(at(0.75, 1.5, 2.5), 1.0, rule)
    assert s.tolist() == [0, 1, 1]
    assert v.tolist() == left


def test_the_reset_subtracts_the_threshold_of_each_channel() -> None:
    threshold = at(0.5, 2.0)
    s, v = fire_and_reset(at(1.0, 3.0), threshold, Rule())
    assert s.tolist() == [1, 1]
    assert v.tolist() == [0.5, 1.0]


@pytest.mark.parametrize(
    ("leak", "decay_input", "expected"),
    [
        ("before", False, 1.5),  # v/4 + x
        ("after", False, 0.75),  # (v + x)/4
        ("before", True, 1.25),  # v/4 + 3x/4
        ("after", True, 0.6875),  # (v + 3x/4)/4
    ],
)
def test_order_of_the_leak_and_scaling_of_the_input(leak: str, decay_input: bool, expected: float) -> None:
    rule = Rule(leak=leak, decay_input=decay_input)  # type: ignore[arg-type]
    assert integrate(at(2.0), at(1.0), 0.25, rule).item() == expected


def test_a_law_runs_the_equation_that_its_numbers_belong_to() -> None:
    rule, w = Rule(decay_input=True), torch.tensor(-1.5, dtype=torch.float64)
    v, x = torch.randn(2, 50, dtype=torch.float64) * 2
    learned = Law(1.0, rule, decay=1 - w.sigmoid())
    for a, b in zip(step(learned, v, x, 1.0), lif_step(v, x, 1 - w.sigmoid(), 1.0, rule), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(step(Law(1.0, rule), v, x, 1.0), if_step(v, x, 1.0, rule), strict=True):
        assert torch.equal(a, b)
    signed = Law(1.0, rule, initial=0.5, retract=0.1)
    (s, state, h), (s2, state2, h2) = (
        step(signed, rest(signed, x), x, 1.0),
        signed_if_step(SignedState(torch.full_like(x, 0.5), torch.zeros_like(x)), x, 1.0, rule, retract=0.1),
    )
    assert all(torch.equal(a, b) for a, b in zip((s, *state, h), (s2, *state2, h2), strict=True))


def test_if_is_lif_without_a_leak() -> None:
    v, x = torch.randn(2, 50)
    for a, b in zip(if_step(v, x, 1.0, Rule()), lif_step(v, x, 1.0, 1.0, Rule()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("numerator", [1, 3, 5, 7])
def test_a_resolution_rounds_the_leak_down_as_an_arithmetic_shift_does(numerator: int, shift: int) -> None:
    v, x = range(-40, 41), range(-3, 4)
    pairs = torch.tensor(list(itertools.product(v, x)))
    unit, decay = 2**-5, numerator / 2**shift
    real = (pairs * unit).double()
    before = integrate(real[:, 0], real[:, 1], decay, Rule(resolution=unit))
    assert torch.equal(before / unit, (((pairs[:, 0] * numerator) >> shift) + pairs[:, 1]).double())
    after = integrate(real[:, 0], real[:, 1], decay, Rule(resolution=unit, leak="after"))
    assert torch.equal(after / unit, (((pairs[:, 0] + pairs[:, 1]) * numerator) >> shift).double())


@pytest.mark.parametrize("shift", [1, 2, 3])
@pytest.mark.parametrize("numerator", [1, 3, 5, 7])
def test_a_leak_that_rounds_toward_zero_divides_as_c_does(numerator: int, shift: int) -> None:
    v, x = range(-40, 41), range(-3, 4)
    pairs = torch.tensor(list(itertools.product(v, x)))
    unit, decay = 2**-5, numerator / 2**shift
    real = (pairs * unit).double()
    before = integrate(real[:, 0], real[:, 1], decay, Rule(resolution=unit, rounding="zero"))
    quotients = [math.trunc(n * numerator / 2**shift) + i for n, i in pairs.tolist()]
    assert (before / unit).tolist() == quotients
    after = integrate(real[:, 0], real[:, 1], decay, Rule(resolution=unit, leak="after", rounding="zero"))
    assert (after / unit).tolist() == [math.trunc((n + i) * numerator / 2**shift) for n, i in pairs.tolist()]


def test_a_resolution_does_not_hold_up_the_gradient() -> None:
    v = at(0.3, -0.3).requires_grad_()
    integrate(v, at(0.0, 0.0), 0.5, Rule(resolution=0.25)).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0.5, 0.5]


def test_the_signed_neuron_takes_back_no_more_than_it_sent() -> None:
    state = SignedState(at(0.5), at(0.0))
    spikes, left = [], []
    for x in (1.5, 0.5, -3.0, -1.0, -1.0, 3.0):
        s, state, _ = signed_if_step(state, at(x), 1.0, Rule())
        spikes.append(int(s))
        left.append((state.potential.item(), int(state.emitted)))
    # 2.0 fires; 1.5 fires; -2.5 takes back; -2.5 takes back; -2.5 may not; 0.5 is below the threshold
    assert spikes == [1, 1, -1, -1, 0, 0]
    assert left == [(1.0, 1), (0.5, 2), (-1.5, 1), (-1.5, 0), (-2.5, 0), (0.5, 0)]


@pytest.mark.parametrize(("h", "expected"), [(-0.001, -1), (-0.0009, 0), (0.0, 0), (-0.5, -1)])
def test_the_signed_neuron_has_a_dead_zone_below_zero(h: float, expected: int) -> None:
    state = SignedState(torch.zeros(1), torch.ones(1))
    s, _, _ = signed_if_step(state, torch.tensor([h]), 1.0, Rule(), retract=1e-3)
    assert s.item() == expected


def test_a_detached_reset_leaves_the_potential_without_the_gradient_of_the_spike() -> None:
    slopes = {}
    for reset, detach in itertools.product(("soft", "hard"), (False, True)):
        h = at(1.25).requires_grad_()
        rule = Rule(reset=reset, detach_reset=detach, surrogate=Rectangle(width=1.0))  # type: ignore[arg-type]
        fire_and_reset(h, 1.0, rule)[1].sum().backward()
        assert h.grad is not None
        slopes[reset, detach] = h.grad.item()
    # soft: 1 - threshold * surrogate;  hard: (1 - s) - h * surrogate
    assert slopes == {("soft", True): 1, ("soft", False): 0, ("hard", True): 0, ("hard", False): -1.25}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reset": "none"}, "reset='none': allowed are 'soft' .* and 'hard'"),
        ({"fire": "eq"}, "fire='eq': allowed are 'ge' .* and 'gt'"),
        ({"leak": "never"}, "leak='never': allowed are 'before' and 'after'"),
        ({"rounding": "up"}, r"rounding='up': the leak rounds down \('floor'.*\) or toward zero \('zero'\)"),
        ({"v_reset": 0.5}, "no meaning for a soft reset"),
        ({"v_reset": float("nan"), "reset": "hard"}, "v_reset=nan: must be finite"),
        ({"resolution": 0.0}, "resolution=0.0: must be finite and above 0, or None"),
        ({"resolution": float("inf")}, "resolution=inf: must be finite and above 0, or None"),
        ({"surrogate": "triangle"}, r"is not a surrogate; there are ArcTan, .*\n  fix: surrogate=bs.Triangle"),
    ],
)
def test_a_wrong_choice_is_refused_with_what_is_allowed(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        Rule(**wrong)  # type: ignore[arg-type]
