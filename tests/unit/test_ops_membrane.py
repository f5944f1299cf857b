"""Potentials that are kept in few bits: worked out by hand, and as laws over random currents."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

import bitspike as bs
from bitspike.errors import ConstraintError
from bitspike.nn import Neuron
from bitspike.ops.dynamics import Law, Rule, SignedState, rest, step
from bitspike.ops.membrane import Membrane, kept

NEURONS: dict[str, type[Neuron]] = {"if": bs.IF, "lif": bs.LIF, "plif": bs.PLIF, "signed": bs.SignedIF}
every_neuron = pytest.mark.parametrize("kind", NEURONS)


def at(*values: float) -> Tensor:
    return torch.tensor(values)


def test_the_nearest_code_is_kept_and_half_a_step_rounds_up() -> None:
    v = at(-0.26, -0.25, -0.24, 0.0, 0.24, 0.25)
    assert kept(v, Membrane(4, step=0.5)).tolist() == [-0.5, 0.0, 0.0, 0.0, 0.0, 0.5]


def test_what_leaves_the_codes_is_clipped_to_their_ends() -> None:
    v = at(-9.0, -1.0, 0.5, 9.0)
    assert kept(v, Membrane(2, step=0.5)).tolist() == [-1.0, -1.0, 0.5, 0.5]
    assert kept(v, Membrane(2, step=0.5, saturate=False)).tolist() == v.tolist()


def test_the_gradient_passes_the_rounding_and_stops_at_the_clip() -> None:
    v = at(-9.0, -0.3, 0.2, 0.74, 0.76).requires_grad_()
    kept(v, Membrane(2, step=0.5)).sum().backward()
    assert v.grad is not None
    assert v.grad.tolist() == [0, 1, 1, 1, 0]
    wide = at(9.0).requires_grad_()
    kept(wide, Membrane(2, step=0.5, saturate=False)).sum().backward()
    assert wide.grad is not None
    assert wide.grad.tolist() == [1]


def test_a_step_per_channel_lies_along_the_channels() -> None:
    v = torch.full((2, 2, 3), 0.3)
    out = kept(v, Membrane(4, step=at(0.5, 0.25)))
    assert out[:, 0].eq(0.5).all()
    assert out[:, 1].eq(0.25).all()


def test_the_step_follows_the_threshold_where_none_is_declared() -> None:
    law = Law(2.0, Rule(), membrane=Membrane(3))
    assert law.membrane == Membrane(3, step=0.5)
    thresholds = Law(at(1.0, 3.0), Rule(), membrane=Membrane(2)).membrane
    assert thresholds is not None
    assert isinstance(thresholds.step, Tensor)
    assert thresholds.step.tolist() == [0.5, 1.5]


def test_a_leaky_neuron_of_two_bits_by_hand() -> None:
    # threshold 1, codes -1, -0.5, 0, 0.5, a leak of one half before the input:
    #   h = 0.7          no spike, 0.7 becomes 0.5
    #   h = 0.25 + 0.7   no spike, 0.95 is above 0.75 and clipped to 0.5
    #   h = 0.25 + 0.8   spike, 0.05 becomes 0
    #   h = 0 - 3        no spike, clipped to -1
    #   h = -0.5 + 1.4   no spike
    neuron = bs.LIF(0.5, membrane=Membrane(2))
    seen: list[float] = []
    spikes, state = neuron.scan(at(0.7, 0.7, 0.8, -3.0, 1.4).view(5, 1), observe=lambda h, s: seen.append(h.item()))
    assert seen == pytest.approx([0.7, 0.95, 1.05, -3.0, 0.9])
    assert spikes.flatten().tolist() == [0, 0, 1, 0, 0]
    assert isinstance(state, Tensor)
    assert state.item() == 0.5


def test_the_potential_before_the_first_step_is_kept_too() -> None:
    law = Law(1.0, Rule(), initial=0.3, membrane=Membrane(2))
    assert rest(law, torch.zeros(1, 1)).tolist() == [[0.5]]  # type: ignore[union-attr]


def test_a_signed_neuron_keeps_its_potential_and_counts_its_spikes() -> None:
    law = Law(1.0, Rule(), retract=0.0, membrane=Membrane(2))
    s, state, h = step(law, rest(law, torch.zeros(1, 1)), torch.full((1, 1), 1.7), law.threshold)
    assert isinstance(state, SignedState)
    assert (s.item(), h.item(), state.emitted.item()) == (1.0, pytest.approx(1.7), 1.0)
    assert state.potential.item() == 0.5


@every_neuron
def test_every_potential_between_two_steps_is_a_code(kind: str) -> None:
    neuron = NEURONS[kind](membrane=Membrane(3))
    x = torch.randn(6, 50, 4)
    state = None
    for x_t in x.split(1):
        _, state = neuron.scan(x_t, state)
        potential = state.potential if isinstance(state, SignedState) else state
        codes = potential / 0.25
        assert torch.equal(codes, codes.round())
        assert codes.min() >= -4
        assert codes.max() <= 3
    assert codes.unique().numel() > 3


@pytest.mark.parametrize("kind", ["if", "lif", "signed"])  # a learned decay leaves every grid
def test_many_bits_and_fine_steps_are_no_membrane(kind: str) -> None:
    x = (torch.randn(5, 20, 3) * 64).round() / 64
    plain, fine = NEURONS[kind](), NEURONS[kind](membrane=Membrane(16, step=2.0**-11))
    assert torch.equal(plain(x), fine(x))


@every_neuron
def test_a_gradient_reaches_the_first_step_from_the_last(kind: str) -> None:
    x = (torch.rand(4, 30, 3) * 0.3).requires_grad_()
    NEURONS[kind](membrane=Membrane(4))(x)[-1].sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad[0].any()


@every_neuron
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_halves_are_kept_as_single_precision_keeps_them(kind: str, dtype: torch.dtype) -> None:
    neuron, x = NEURONS[kind](membrane=Membrane(2)), torch.randn(4, 9, 3).to(dtype)
    assert neuron(x).dtype == dtype
    if dtype != torch.float64:
        assert torch.equal(neuron(x).float(), neuron(x.float()))


@every_neuron
@pytest.mark.parametrize("shape", [(1, 0, 3), (1, 1, 1), (3, 2)])
def test_one_step_one_channel_or_no_sample(kind: str, shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, requires_grad=True)
    spikes = NEURONS[kind](membrane=Membrane(2))(x)
    assert spikes.shape == shape
    spikes.sum().backward()


@every_neuron
def test_copies_know_the_membrane(kind: str) -> None:
    neuron = NEURONS[kind](threshold=at(1.0, 0.5), membrane=Membrane(2))
    x = torch.randn(4, 9, 2)
    assert torch.equal(copy.deepcopy(neuron)(x), neuron(x))
    assert neuron.state_dict().keys() == NEURONS[kind](threshold=at(1.0, 0.5)).state_dict().keys()
    assert "membrane=Membrane(bits=2" in repr(neuron)


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_kept_before_the_leak_is_kept_after_it_in_steps_times_the_leak(bits: int, reset: str) -> None:
    """The order of MINT: u = q(leak * what the reset leaves), and h = u + x at the next step."""
    leak, step = 0.5, 2.0 ** (1 - bits)
    x = (torch.randn(8, 200, 3) * 64).round() / 64  # so that no sum is rounded
    ours = bs.LIF(leak, reset=reset, membrane=Membrane(bits, step=step))(x)  # type: ignore[arg-type]
    u, theirs = torch.zeros(200, 3), []
    for current in x:
        h = u + current
        s = (h >= 1).float()
        left = h - s if reset == "soft" else h * (1 - s)
        u = (leak * left / (leak * step) + 0.5).floor().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * leak * step
        theirs.append(s)
    assert torch.equal(torch.stack(theirs), ours)
    assert 0 < ours.mean() < 1


def test_a_compiled_neuron_keeps_the_same_codes() -> None:
    neuron, x = bs.LIF(0.5, membrane=Membrane(2)), torch.randn(3, 8, 4)
    compiled = torch.compile(neuron, backend="eager")
    assert torch.equal(compiled(x), neuron(x))


@pytest.mark.parametrize("bits", [1, 17, 2.0, True, None])
def test_other_widths_are_refused(bits: object) -> None:
    with pytest.raises(ConstraintError, match="kept in 2 to 16 bits"):
        Membrane(bits)  # type: ignore[arg-type]


@pytest.mark.parametrize("step", [0.0, -1.0, float("inf"), float("nan"), torch.zeros(2), torch.ones(2, 2)])
def test_other_steps_are_refused(step: float | Tensor) -> None:
    with pytest.raises(ConstraintError, match="a finite number above 0"):
        Membrane(2, step=step)


def test_what_is_no_membrane_is_refused() -> None:
    with pytest.raises(ConstraintError, match="is no membrane"):
        bs.LIF(membrane=2)  # type: ignore[arg-type]


def test_steps_of_other_channels_are_refused() -> None:
    neuron = bs.IF(membrane=Membrane(2, step=at(0.5, 0.25)))
    with pytest.raises(ConstraintError, match="2 steps of its potential"):
        neuron(torch.zeros(1, 1, 3))


class WithoutMembrane(bs.LIF):
    """A neuron of a user who writes the whole law and forgets the membrane."""

    def law(self) -> Law:
        return Law(self.threshold, self.rule, decay=0.25)


def test_a_law_that_forgets_the_membrane_is_refused() -> None:
    assert WithoutMembrane()(torch.ones(2, 1)).shape == (2, 1)
    with pytest.raises(ConstraintError, match="its law has none"):
        WithoutMembrane(membrane=Membrane(2))(torch.ones(2, 1))


@pytest.mark.parametrize("step", [[0.5, 0.5], (0.5,), "a", torch.ones(2, 2), 0.0])
def test_a_step_that_no_neuron_could_use_is_refused_where_it_is_given(step: Any) -> None:
    with pytest.raises(ConstraintError, match=r"a tensor \[C\]"):
        Membrane(2, step=step)


def test_membranes_with_a_step_per_channel_can_be_compared_and_hashed() -> None:
    steps = torch.tensor([0.5, 0.25])
    one, same, other = (Membrane(4, step=s) for s in (steps, steps.clone(), steps * 2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert Membrane(4, step=torch.tensor(0.5)) == Membrane(4, step=0.5) != Membrane(4, step=steps)
    assert Membrane(4) != Membrane(4, saturate=False)
    assert Membrane(4) != "Membrane"
