"""torch and NumPy int64 give the same spikes, potentials and outputs for every network, batch and number of steps."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from random_networks import random_codes, random_network

from bitspike.errors import ConstraintError
from bitspike.integer import arithmetic
from bitspike.integer.engine import TorchEngine
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Burst, Input, Linear, Readout, Weight
from bitspike.integer.simulate import Trace, simulate
from bitspike.ops.grids import Grid


def assert_equal(a: Trace, b: Trace) -> None:
    assert a.spikes.keys() == b.spikes.keys()
    assert a.outputs.keys() == b.outputs.keys()
    for name in a.spikes:
        assert np.array_equal(a.spikes[name], b.spikes[name]), name
        assert np.array_equal(a.potentials[name], b.potentials[name]), name
        assert a.spikes[name].dtype == b.spikes[name].dtype == np.int8
        assert a.potentials[name].dtype == b.potentials[name].dtype == np.int64
    for name in a.outputs:
        assert np.array_equal(a.outputs[name], b.outputs[name]), name


@pytest.mark.parametrize("block", range(4))
def test_engine_and_definition_agree_on_random_networks(block: int) -> None:
    seen: Counter[str] = Counter()
    for seed in range(block * 60, block * 60 + 60):
        random = np.random.default_rng(seed)
        net = random_network(random)
        codes = random_codes(random, net, samples=int(random.choice([0, 1, 3])))
        found = simulate(net, codes)
        assert_equal(TorchEngine(net).run(codes), found)
        seen.update(type(n).__name__ for n in net.nodes)
        seen.update({int(s): 1 for spikes in found.spikes.values() for s in np.unique(spikes)})
    kinds = {"Convolution", "TransposedConvolution", "SumPool", "MaxPool", "CountMaxPool", "Burst", "Add", "Concat"}
    assert kinds | {"Slice", "Upsample", "Pad", "Transpose", -1, 0, 1} <= set(seen), "the networks are too tame"


def test_fewer_steps_are_the_beginning_of_all_steps() -> None:
    for seed in range(40):
        random = np.random.default_rng(seed)
        net = random_network(random)
        codes = random_codes(random, net, samples=2)
        steps = int(random.integers(1, net.steps + 1))
        some = codes if net.input.constant else codes[:steps]
        short, whole = simulate(net, some, steps=steps), simulate(net, codes)
        assert_equal(TorchEngine(net).run(some, steps=steps), short)
        # A burst brings the charge of all steps that are run, so it asks how many there are.
        for name in whole.spikes if not any(isinstance(n, Burst) for n in net.nodes) else ():
            assert np.array_equal(short.potentials[name], whole.potentials[name][:steps])


def test_samples_do_not_touch_each_other() -> None:
    for seed in range(20):
        random = np.random.default_rng(seed)
        net = random_network(random)
        codes = random_codes(random, net, samples=4)
        together = simulate(net, codes)
        for n in range(4):
            alone = simulate(net, codes[:, n : n + 1])
            for name in together.spikes:
                assert np.array_equal(alone.potentials[name][:, 0], together.potentials[name][:, n])


def test_products_in_floats_equal_products_in_int64(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = [random_network(np.random.default_rng(seed)) for seed in range(40)]
    inputs = [random_codes(np.random.default_rng(seed), net, samples=2) for seed, net in enumerate(networks)]
    usual = [simulate(net, codes) for net, codes in zip(networks, inputs, strict=True)]
    for numbers in (np.float64, np.int64):
        monkeypatch.setattr(arithmetic, "exact_format", lambda x, w, numbers=numbers: numbers)
        for net, codes, expected in zip(networks, inputs, usual, strict=True):
            assert_equal(simulate(net, codes), expected)


def one_sum(code: int, taps: int, high: int) -> IntegerNetwork:
    """A read-out of one sum of ``taps`` products ``code * input``."""
    size = max(abs(code), 1)
    weight = Weight(codes=np.full((1, taps), code), step=np.ones(1), bits=54, low=-size, high=size)
    one = np.ones((1, 1), np.int64)
    return IntegerNetwork(
        1,
        (
            Input(id="input", path="input", shape=(taps,), grid=Grid(1.0, 0, high)),
            Linear(id="linear", path="linear", sources=("input",), shape=(1,), weight=weight),
            Readout(id="out", path="out", sources=("linear",), shape=(1,), gains=(one,), bias=0 * one),
        ),
    )


@pytest.mark.parametrize(
    ("code", "taps", "high", "expected"),
    [
        (2**23, 2, 1, np.float32),  # exactly 2**24
        (2**24 + 1, 1, 1, np.float64),  # the first integer that single precision lacks
        (2**24 - 1, 3, 1, np.float64),
        (2**52, 2, 1, np.float64),  # exactly 2**53
        (2**53 + 1, 1, 1, np.int64),  # the first integer that double precision lacks
        (2**40 + 1, 3, 2**13 + 1, np.int64),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_at_the_bounds_of_the_formats_are_exact(
    code: int, taps: int, high: int, expected: type, sign: int
) -> None:
    net = one_sum(sign * code, taps, high)
    codes = np.full((1, 1, taps), high)
    linear = net["linear"]
    assert isinstance(linear, Linear)
    assert arithmetic.exact_format(codes, linear.weight.codes.T) is expected
    assert int(simulate(net, codes).outputs["out"][0, 0]) == sign * code * taps * high
    if code * taps * high <= 2**53:
        assert int(TorchEngine(net).run(codes).outputs["out"][0, 0]) == sign * code * taps * high
    else:
        with pytest.raises(ConstraintError, match=r"linear.*more than 53 bits hold"):
            TorchEngine(net)


def test_a_sum_beyond_64_bits_is_refused() -> None:
    net = one_sum(2**52, 1, 2**12)
    with pytest.raises(ConstraintError, match="more than 64 bits hold"):
        simulate(net, np.full((1, 1, 1), 2**12))


def test_the_engine_stays_exact_under_autocast_and_shortened_products() -> None:
    net = one_sum(2**23 - 1, 2, 1)
    codes = np.ones((1, 1, 2), np.int64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert int(TorchEngine(net).run(codes).outputs["out"][0, 0]) == 2**24 - 2
    torch.set_float32_matmul_precision("medium")
    try:
        assert int(TorchEngine(net).run(codes).outputs["out"][0, 0]) == 2**24 - 2
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((1, 2, 1, 4, 5), np.int64), r"\[1, 2, 1, 4, 5\], needed is \[1, N, 1, 4, 4\]"),
        (np.zeros((4, 2, 1, 4, 4), np.int64), r"needed is \[1, N"),
        (np.zeros((1, 4, 4), np.int64), "needed is"),
        (np.zeros((1, 1, 1, 4, 4)), "float64, needed are integers"),
        (np.full((1, 1, 1, 4, 4), 9), "reach from 9 to 9, the grid from 0 to 8"),
        (np.full((1, 1, 1, 4, 4), -1), "the grid from 0 to 8"),
    ],
)
def test_codes_that_are_not_the_inputs_are_refused_by_both(codes: np.ndarray, message: str) -> None:
    net = one_convolution()
    for run in (lambda c: simulate(net, c), TorchEngine(net).run):
        with pytest.raises(ConstraintError, match=message):
            run(codes)


@pytest.mark.parametrize("steps", [0, 5])
def test_a_number_of_steps_that_the_network_does_not_have_is_refused(steps: int) -> None:
    with pytest.raises(ConstraintError, match="the network has 1 to 4"):
        simulate(one_convolution(), np.zeros((1, 1, 1, 4, 4), np.int64), steps=steps)
