"""Neurons over time: traces worked out by hand, the numbers a module holds, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bitspike import Dyadic, Grid, Uniform, attach, convert, lower, verify
from bitspike.errors import ConstraintError, LoweringError
from bitspike.nn import IF, LIF, PLIF, Neuron, Repeat, SignedIF, SumReadout, TimeDistributed
from bitspike.ops.dynamics import Law, Rule, SignedState
from bitspike.ops.surrogate import Rectangle


def run(neuron: Neuron, *x: float) -> tuple[list[float], list[float], list[float]]:
    """Return spikes, potentials before reset and potential left after each step, in double precision."""
    spikes, before, left, state = [], [], [], None
    for value in x:
        s, state = neuron.scan(
            torch.tensor([[value]], dtype=torch.float64), state, observe=lambda h, s: before.append(h.item())
        )
        v = state.potential if isinstance(state, SignedState) else state
        spikes.append(s.item())
        left.append(v.item())
    return spikes, pytest.approx(before), pytest.approx(left)  # type: ignore[return-value]


def test_hybrid_check_02_a_leaky_neuron_of_bntt() -> None:
    neuron = LIF(0.95, 1.0, fire="gt", reset="soft", detach_reset=True)
    assert run(neuron, 0.6, 0.6, 0.6) == ([0, 1, 0], [0.6, 1.17, 0.7615], [0.6, 0.17, 0.7615])


def test_qat_check_02_the_leaky_neuron_of_stbp() -> None:
    neuron = LIF(0.25, 0.4, fire="gt", reset="hard")
    spikes, before, _ = run(neuron, 0.3, 0.3, 0.3)
    assert (spikes, before) == ([0, 0, 0], [0.3, 0.375, 0.39375])
    spikes, before, left = run(neuron, 0.5, 0.5)
    assert (spikes, before, left) == ([1, 1], [0.5, 0.5], [0, 0])


def test_qann_check_02_the_signed_neuron_takes_back_and_the_unsigned_does_not() -> None:
    spikes, before, left = run(SignedIF(1.0), 1.2, -1.0, 0.1)
    assert (spikes, before, left) == ([1, -1, 0], [1.7, -0.3, 0.8], [0.7, 0.7, 0.8])
    _, state = SignedIF(1.0).scan(torch.tensor([[1.2], [-1.0], [0.1]]))
    assert isinstance(state, SignedState)
    assert state.emitted.tolist() == [0]

    assert run(IF(1.0, initial=0.5), 1.2, -1.0, 0.1)[0] == [1, 0, 0]
    for neuron in (SignedIF(1.0), IF(1.0, initial=0.5)):
        assert run(neuron, -2, -2, -2)[0] == [0, 0, 0]


@pytest.mark.parametrize(
    ("neuron", "spikes", "left"),
    [
        (IF(1.0), [0, 1, 1, 0, 0], [0.75, 0.5, 0.25, 0.9375, 0.5]),
        (IF(1.0, reset="hard"), [0, 1, 0, 1, 0], [0.75, 0, 0.75, 0, -0.4375]),
        (IF(1.0, reset="hard", v_reset=-0.25), [0, 1, 0, 1, 0], [0.75, -0.25, 0.5, -0.25, -0.6875]),
        (IF(1.0, initial=0.25, fire="gt"), [0, 1, 1, 1, 0], [1, 0.75, 0.5, 0.1875, -0.25]),
        (LIF(0.5, 1.0), [0, 1, 0, 1, 0], [0.75, 0.125, 0.8125, 0.09375, -0.390625]),
        (LIF(0.5, 0.5, leak="after"), [0, 1, 0, 1, 0], [0.375, 0.0625, 0.40625, 0.046875, -0.1953125]),
        (
            LIF(0.25, 1.0, decay_input=True),
            [0, 0, 0, 0, 0],
            [0.5625, 0.703125, 0.73828125, 0.7001953125, -0.153076171875],
        ),
        (LIF(0.5, 1.0, resolution=0.25), [0, 1, 0, 0, 0], [0.75, 0, 0.75, 0.9375, -0.1875]),
        (SignedIF(1.0, initial=0.0), [0, 1, 1, 0, 0], [0.75, 0.5, 0.25, 0.9375, 0.5]),
        (SignedIF(1.0), [1, 1, 0, 1, 0], [0.25, 0, 0.75, 0.4375, 0]),
    ],
    ids=repr,
)
def test_traces_worked_out_by_hand(neuron: Neuron, spikes: list[int], left: list[float]) -> None:
    found = run(neuron, 0.75, 0.75, 0.75, 0.6875, -0.4375)
    assert (found[0], found[2]) == (spikes, left)


def test_plif_starts_at_its_time_constant_and_learns_it() -> None:
    neuron = PLIF(tau=4.0, threshold=1.0, surrogate=Rectangle(width=4.0))
    assert neuron.decay == pytest.approx(0.75)
    spikes, before, left = run(neuron, 2.0, 2.0, 2.0, 2.0)
    # h = 3/4 v + x/4, hard reset: 0.5, 0.875, 1.15625, 0.5
    assert (spikes, before, left) == ([0, 0, 1, 0], [0.5, 0.875, 1.15625, 0.5], [0.5, 0.875, 0, 0.5])
    neuron(torch.full((3, 1), 2.0)).sum().backward()
    assert neuron.w.grad is not None
    assert neuron.w.grad.item() > 0  # a larger w leaks more, takes more of the input, and fires earlier


def test_a_time_constant_in_steps() -> None:
    assert LIF.from_tau(4.0, reset="hard").decay == 0.75
    assert LIF.from_tau(4.0, reset="hard").rule.reset == "hard"
    assert LIF.from_tau(1.0).decay == 0.0


def test_thresholds_of_channels_are_a_buffer_and_a_single_one_is_a_number() -> None:
    assert isinstance(IF(torch.tensor(0.5)).threshold, float)
    per_channel = IF(torch.tensor([0.5, 1.0]))
    assert list(per_channel.state_dict()) == ["threshold"]
    assert isinstance(IF([0.5, 1.0]).threshold, Tensor)  # type: ignore[arg-type]


def test_thresholds_of_channels_lie_on_axis_two() -> None:
    x = torch.full((1, 2, 3, 2, 2), 1.0)
    spikes = IF(torch.tensor([0.5, 1.0, 2.0]))(x)
    assert spikes[0, :, :, 0, 0].tolist() == [[1, 1, 0]] * 2
    assert IF(torch.tensor([0.5, 1.0, 2.0]))(x[..., 0, 0])[0].tolist() == [[1, 1, 0]] * 2


def test_the_signed_neuron_starts_at_half_of_each_threshold() -> None:
    _, state = SignedIF(torch.tensor([1.0, 3.0])).scan(torch.zeros(1, 4, 2, 5))
    assert isinstance(state, SignedState)
    assert state.potential[0, :, 0].tolist() == [0.5, 1.5]
    assert torch.equal(state.emitted, torch.zeros(4, 2, 5))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: IF(0.0), "threshold=0.0: needed is a number above 0, or one per channel"),
        (lambda: IF(float("nan")), "threshold=nan: needed is a number above 0"),
        (lambda: IF(torch.tensor([1.0, -1.0])), "needed is a number above 0, or one per channel"),
        (lambda: IF(torch.ones(2, 2)), r"one per channel as \[C\]"),
        (lambda: IF(torch.ones(0)), r"one per channel as \[C\]"),
        (lambda: IF(initial=float("inf")), "initial=inf: must be finite"),
        (lambda: SignedIF(initial=float("nan")), "initial=nan: must be finite"),
        (lambda: LIF(1.5), r"LIF\(decay=1.5\).*lies in \[0, 1\]\n  fix: .*from_tau"),
        (lambda: LIF(-0.1), r"lies in \[0, 1\]"),
        (lambda: LIF(float("nan")), r"lies in \[0, 1\]"),
        (lambda: LIF.from_tau(0.5), "tau=0.5: a time constant of at least one step"),
        (lambda: PLIF(tau=1.0), r"PLIF\(tau=1.0\): a time constant above one step"),
        (lambda: SignedIF(retract=-1.0), r"SignedIF\(retract=-1.0\): must be finite and at least 0\n  fix: .*bs.IF"),
        (lambda: SignedIF(retract=float("inf")), "must be finite and at least 0"),
    ],
)
def test_a_wrong_value_fails_when_the_neuron_is_built(build: object, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("neuron", "x", "message"),
    [
        (IF(), torch.zeros(3), r"IF got \[3\]: needed is \[T, N, ...\].*\n  fix: bs.Repeat"),
        (IF(), torch.zeros(0, 2), r"with at least one step"),
        (IF(), torch.zeros(2, 2, dtype=torch.int64), r"IF got torch.int64: floating .*\n  fix: x.float\(\)"),
        (IF(torch.ones(3)), torch.zeros(2, 3), r"has 3 thresholds and got \[2, 3\]: needed is \[T, N, C, ...\]"),
        (LIF(threshold=torch.ones(3)), torch.zeros(2, 1, 1), "with C = 3"),
        (LIF(threshold=torch.ones(3)), torch.zeros(2, 1, 4, 4), "with C = 3"),
    ],
)
def test_a_wrong_input_is_refused_instead_of_broadcast(neuron: Neuron, x: Tensor, message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        neuron(x)


def test_one_threshold_given_as_a_list_of_one_serves_all_channels() -> None:
    x = torch.rand(2, 3, 4) * 2
    for cls in (IF, SignedIF):
        assert torch.equal(cls(torch.tensor([0.5]))(x), cls(0.5)(x))
    assert IF(torch.tensor([0.5]))(torch.ones(2, 3)).tolist() == [[1.0] * 3] * 2


def test_a_subclass_with_equations_of_its_own_does_not_run_the_kernel_of_its_parent() -> None:
    class Stubborn(IF):
        def _step(self, state, x, threshold):  # type: ignore[no-untyped-def]
            s, v, h = super()._step(state, x, threshold)
            return s * 0, v, h

    class Renamed(LIF):
        pass

    x = torch.full((3, 2), 2.0)
    assert not Stubborn()(x).any()
    assert torch.equal(Renamed()(x), LIF()(x))
    assert Renamed().fused(x) is None or torch.equal(Renamed().fused(x), LIF()(x))


class Sixteenths(LIF):
    """A neuron of a user: its leak is rounded to sixteenths, which integers hold exactly."""

    def law(self) -> Law:
        return Law(self.threshold, self.rule, self.initial, decay=round(self.decay * 16) / 16)


def network(neuron: Neuron) -> nn.Sequential:
    layers = TimeDistributed(nn.Conv2d(1, 4, 3, bias=False))
    model = nn.Sequential(Repeat(4), layers, neuron, TimeDistributed(nn.Flatten()), SumReadout())
    attach(model, quantize=Uniform(bits=4, scale=Dyadic()))
    return model


def test_a_neuron_of_ones_own_is_fused_and_lowered_by_its_law() -> None:
    neuron, x = Sixteenths(0.7), torch.rand(6, 3, 4) * 2
    assert torch.equal(neuron(x), LIF(11 / 16)(x))
    assert torch.equal(neuron.scan(x)[0], LIF(11 / 16)(x))
    images = torch.randint(0, 17, (6, 1, 5, 5)) / 16
    net = lower(network(neuron), images[:1], grid=Grid(2**-4, 0, 16))
    assert (net.neurons[0].leak.numerator, net.neurons[0].leak.shift) == (11, 4)
    assert verify(net, images).equal


@pytest.mark.parametrize("method", ["_step", "_rest", "scan", "forward"])
def test_equations_without_a_law_that_belongs_to_them_are_not_lowered(method: str) -> None:
    changed = type("Changed", (LIF,), {method: getattr(LIF, method)})
    with pytest.raises(LoweringError, match=r"2: Changed has equations of its own.*\n  fix: give Changed a method law"):
        lower(network(changed(0.5)), torch.zeros(1, 1, 5, 5))
    declared = type("Declared", (changed,), {"law": LIF.law})
    assert lower(network(declared(0.5)), torch.zeros(1, 1, 5, 5)).neurons


def test_a_law_that_no_equation_has_is_refused() -> None:
    with pytest.raises(ConstraintError, match=r"takes spikes back \(retract=0.1\) has no leak"):
        Law(1.0, Rule(), decay=0.5, retract=0.1)


def test_conversion_makes_a_neuron_of_ones_own_where_its_counts_stand_for_values() -> None:
    class Loud(IF):
        pass

    ann, images = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.rand(64, 4)
    snn = convert(ann, images[:1], calibrate=images, steps=4, neuron=Loud)
    assert [type(m) for m in snn.modules() if isinstance(m, Neuron)] == [Loud]
    assert torch.equal(snn(images), convert(ann, images[:1], calibrate=images, steps=4)(images))
    assert verify(lower(snn, images[:1]), images).equal
    with pytest.raises(ConstraintError, match=r"convert\(neuron=LIF\)"):
        convert(ann, images[:1], calibrate=images, neuron=LIF)
