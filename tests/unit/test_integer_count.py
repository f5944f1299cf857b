"""Count mode by hand: the closed form of soft reset, what it says of uneven charge, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from uneven import uneven

from bitspike.errors import ConstraintError
from bitspike.integer.count import count
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Burst, CountMaxPool, Input, Integers, MaxPool, Neuron, Node, Readout, Shape
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic, Grid

ONE = np.ones((1, 1), np.int64)


def entry(shape: Shape = (1,), low: int = -99, high: int = 99, *, constant: bool = False) -> Input:
    return Input(id="input", path="input", shape=shape, grid=Grid(1.0, low, high), constant=constant)


def fires(threshold: int | Integers, *, source: str = "input", shape: Shape = (1,), **options: object) -> Neuron:
    values = {"gains": (ONE,), "bias": 0 * ONE, "threshold": threshold * ONE, "initial": np.zeros(1, np.int64)}
    return Neuron(
        id="neuron", path="block.neuron", sources=(source,), shape=shape, unit=np.ones(1), **{**values, **options}
    )  # type: ignore[arg-type]


def reads(source: str = "neuron", shape: Shape = (1,), **options: object) -> Readout:
    values = {"gains": (ONE,), "bias": 0 * ONE}
    return Readout(id="out", path="head.out", sources=(source,), shape=shape, **{**values, **options})  # type: ignore[arg-type]


def network(*nodes: Node, steps: int = 4) -> IntegerNetwork:
    return IntegerNetwork(steps, nodes)


def train(*values: int) -> Integers:
    return np.array(values)[:, None, None]


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("fire", ["ge", "gt"])
def test_convert_check_04_constant_charge_is_counted_exactly(start: int, fire: str) -> None:
    """N = clip(floor((T I + v0) / theta), 0, T): 10,000 cases, |I| up to three thresholds, v0 of 0 and theta / 2."""
    random = np.random.default_rng(start)
    theta = random.integers(1, 200, 10_000)
    current = random.integers(-3 * theta, 3 * theta, endpoint=True)
    v0 = start * (theta // 2)
    for steps in (1, 2, 3, 7, 16):
        node = fires(theta, shape=(10_000,), initial=v0, fire=fire)
        net = network(entry((10_000,), -999, 999, constant=True), node, reads(shape=(10_000,)), steps=steps)
        codes = current[None, None]
        found = count(net, codes)["neuron"]
        expected = np.clip((steps * current + v0 - (fire == "gt")) // theta, 0, steps)
        assert np.array_equal(found[0], expected)
        trace = simulate(net, codes)
        assert np.array_equal(found, trace.spikes["neuron"].sum(0))
        assert not np.any(uneven(node, trace))


@pytest.mark.parametrize("fire", ["ge", "gt"])
def test_the_final_potential_tells_over_fired_and_under_fired_apart(fire: str) -> None:
    """50,000 trains of uneven charge: the count differs from the closed form exactly where the potential says so."""
    random = np.random.default_rng(0)
    for steps in (1, 2, 5, 10):
        theta, v0 = random.integers(1, 30, 12_500), random.integers(-20, 20, 12_500)
        codes = random.integers(-60, 60, (steps, 1, 12_500), endpoint=True)
        bias = random.integers(-9, 9, (steps, 12_500))
        node = fires(theta, shape=(12_500,), initial=v0, bias=bias, fire=fire)
        net = network(entry((12_500,)), node, reads(shape=(12_500,)), steps=steps)
        trace = simulate(net, codes)
        sent, expected = trace.spikes["neuron"].sum(0, dtype=np.int64), count(net, codes)["neuron"]
        over, under = uneven(node, trace)
        assert np.array_equal(over, sent > expected)
        assert np.array_equal(under, sent < expected)
        assert steps == 1 or (over.any() and under.any())


def test_charge_that_comes_too_early_or_too_late() -> None:
    net = network(entry(), fires(4), reads())
    codes = np.concatenate([train(8, 0, -8, 0), train(0, 0, 0, 9), train(1, 1, 1, 1)], axis=1)
    trace = simulate(net, codes)
    assert trace.spikes["neuron"].sum(0)[:, 0].tolist() == [2, 1, 1]
    assert count(net, codes)["neuron"][:, 0].tolist() == [0, 2, 1]
    over, under = uneven(net.neurons[0], trace)
    assert over[:, 0].tolist() == [True, False, False]
    assert under[:, 0].tolist() == [False, True, False]


def test_a_silent_neuron_below_zero_and_a_busy_one_above_its_threshold_are_no_error() -> None:
    net = network(entry(), fires(4), reads())
    trace = simulate(net, np.concatenate([train(-9, -9, -9, -9), train(9, 9, 9, 9)], axis=1))
    assert not np.any(uneven(net.neurons[0], trace))


def test_convert_check_07_one_layer_rounds_by_at_most_half_a_step() -> None:
    """|decoded - clipped real value| <= lambda / (2 T) with v0 = theta / 2, in units of lambda = 1."""
    theta, steps = 30, 8
    charge = np.arange(-500, 500)[None, None]
    node = fires(theta, shape=(1000,), initial=np.array([theta // 2]))
    net = network(entry((1000,), -500, 500, constant=True), node, reads(shape=(1000,)), steps=steps)
    decoded = count(net, charge)["neuron"] / steps
    assert np.abs(decoded - np.clip(charge[0] / theta, 0, 1)).max() <= 1 / (2 * steps) + 1e-12


def test_pools_of_counts_take_the_largest_count() -> None:
    pool = CountMaxPool(
        id="pool", path="pool", sources=("neuron",), shape=(1, 2), kernel=(3,), stride=(2,), padding=(1,)
    )
    net = network(entry((1, 4), constant=True), fires(4, shape=(1, 4)), pool, reads("pool", (1, 2)))
    codes = np.array([[[[1, 3, 0, 2]]]])
    found = count(net, codes)
    assert found["neuron"].tolist() == [[[1, 3, 0, 2]]]
    assert found["out"].tolist() == simulate(net, codes).outputs["out"].tolist() == [[[3, 3]]]


def test_biases_of_all_steps_and_shorter_runs_count() -> None:
    bias = np.array([[8], [0], [1], [3]])
    burst = Burst(id="burst", path="burst", sources=("input",), shape=(1,))
    net = network(entry(), burst, fires(4, source="burst", bias=bias), reads(bias=bias))
    assert count(net, train(1, 1, 1, 1))["neuron"].tolist() == [[4]]
    assert count(net, train(1, 1, 1, 1))["out"].tolist() == [[4 + 12]]
    assert count(net, train(1, 1), steps=2)["neuron"].tolist() == [[2]]
    assert count(net, train(1, 1), steps=2)["out"].tolist() == [[2 + 8]]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_a_shorter_run_of_a_constant_input_is_that_of_the_simulator(steps: int) -> None:
    net = one_convolution(threshold=5)
    codes = np.random.default_rng(0).integers(0, 9, (1, 6, 1, 4, 4))
    found, trace = count(net, codes, steps=steps), simulate(net, codes, steps=steps)
    assert np.array_equal(found["readout"], trace.outputs["readout"])
    assert np.array_equal(found["neuron"], trace.spikes["neuron"].sum(0))


def test_no_samples_are_no_counts() -> None:
    net = one_convolution()
    assert count(net, np.zeros((1, 0, 1, 4, 4), np.int64))["readout"].shape == (0, 16)


TIMED = np.array([[1], [1], [2], [1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leak": Dyadic(3, 2)}, r"leaks by 0.75; needed is a leak of 1 \(IF\)"),
        ({"reset": "hard"}, "resets to a value; needed is reset='soft'"),
        ({"signed": True}, "takes spikes back; needed is signed=False"),
        ({"floor": -4}, "has a floor of -4; needed is floor=None"),
        ({"width": 8}, "saturates at 8 bits; needed is width=None"),
        ({"threshold": 4 * TIMED}, "has thresholds that change over time; needed is one for all steps"),
        ({"threshold": 0 * ONE, "fire": "gt"}, "has a threshold of 0; needed is 1 or more"),
        ({"right_shift": 2}, r"shifts its charge right by 2 at every step; .*times 2\*\*2"),
        ({"gains": (TIMED,)}, "has gains that change over time; needed is one for all steps"),
    ],
)
def test_what_has_no_count_mode_is_named_with_a_way_out(options: dict[str, object], message: str) -> None:
    net = network(entry(), fires(**{"threshold": 4, **options}), reads())  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match=rf"\n  block\.neuron \(Neuron 'neuron'\) {message}") as error:
        count(net, train(1, 1, 1, 1))
    assert error.value.fix is not None
    assert "bs.simulate(net, codes)" in error.value.fix


def test_parameters_of_every_step_that_are_all_the_same_are_no_hindrance() -> None:
    same = np.repeat(3 * ONE, 4, axis=0)
    net = network(entry(), fires(same, gains=(same,), leak=Dyadic(8, 3)), reads(gains=(same,)))
    assert count(net, train(1, 1, 1, 0))["out"].tolist() == [[9]]


def test_gains_of_sums_and_read_outs_that_change_are_refused_and_all_are_named_together() -> None:
    add = Add(id="add", path="block.add", sources=("input",), shape=(1,), gains=(TIMED,))
    net = network(entry(), add, fires(4, source="add", signed=True), reads(gains=(TIMED,)))
    with pytest.raises(ConstraintError) as error:
        count(net, train(1, 1, 1, 1))
    for words in ("block.neuron (Neuron", "block.add (Add", "head.out (Readout"):
        assert words in error.value.message


def test_a_pool_of_single_spikes_is_refused_unless_its_source_does_not_change() -> None:
    pool = MaxPool(id="pool", path="pool", sources=("neuron",), shape=(1, 2), kernel=(2,), stride=(2,), padding=(0,))
    net = network(entry((1, 4), constant=True), fires(4, shape=(1, 4)), pool, reads("pool", (1, 2)))
    with pytest.raises(ConstraintError, match=r"pool \(MaxPool 'pool'\) looks at each step by itself; needed is"):
        count(net, np.zeros((1, 1, 1, 4), np.int64))
    first = dataclasses.replace(pool, sources=("input",))
    net = network(entry((1, 4), constant=True), first, fires(4, source="pool", shape=(1, 2)), reads(shape=(1, 2)))
    codes = np.array([[[[-3, 3, -9, -2]]]])
    assert count(net, codes)["out"].tolist() == simulate(net, codes).outputs["out"].tolist() == [[[3, 0]]]


def test_charge_beyond_64_bits_is_refused() -> None:
    net = network(entry(high=2**40), fires(4, gains=(2**22 * ONE,)), reads())
    assert count(net, train(2**36, 0, 0, 0))["neuron"].tolist() == [[4]]
    with pytest.raises(ConstraintError, match=r"block\.neuron: a charge may reach \d+, more than 64 bits hold"):
        count(net, train(2**40, 2**40, 0, 0))


def test_codes_that_are_not_the_inputs_are_refused() -> None:
    with pytest.raises(ConstraintError, match="needed is"):
        count(one_convolution(), np.zeros((4, 1, 1, 4, 4), np.int64))
