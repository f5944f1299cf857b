"""The definition against loops over Python's own integers, and neurons worked out by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from bitspike.errors import ConstraintError
from bitspike.integer.engine import Engine, TorchEngine
from bitspike.integer.examples import one_convolution
from bitspike.integer.nodes import (
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Integers,
    MaxPool,
    Neuron,
    Pad,
    Shape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weight,
    window_shape,
)
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic

ONE = np.ones((1, 1), np.int64)


def neuron(threshold: int | Integers, **options: object) -> Neuron:
    values = {"gains": (ONE,), "bias": 0 * ONE, "threshold": threshold * ONE, "initial": np.zeros(1, np.int64)}
    return Neuron(id="n", path="n", sources=("x",), shape=(1,), unit=np.ones(1), **{**values, **options})  # type: ignore[arg-type]


def run(node: Neuron, currents: list[int]) -> tuple[list[int], list[int]]:
    spikes, potentials = node.spiking([np.array(currents)[:, None, None]], len(currents))
    return spikes[:, 0, 0].tolist(), potentials[:, 0, 0].tolist()


def test_codes_of_another_kind_are_refused_with_the_way_to_codes() -> None:
    net = one_convolution()
    for run in (lambda codes: simulate(net, codes), Engine(net).predict, Engine(net).run, TorchEngine(net).run):
        for codes in (torch.zeros(1, 2, *net.input.shape, dtype=torch.int64), [[[[[0]]]]]):
            with pytest.raises(ConstraintError, match=r"needed is a NumPy array[\s\S]*bs.encode\(net, images\)"):
                run(codes)  # type: ignore[arg-type]


def test_soft_reset_keeps_what_is_left_and_hard_reset_does_not() -> None:
    assert run(neuron(4), [3, 3, 3, 3]) == ([0, 1, 1, 1], [3, 6, 5, 4])
    assert run(neuron(4, reset="hard"), [3, 3, 3, 3]) == ([0, 1, 0, 1], [3, 6, 3, 6])
    v_reset = np.array([-2])
    assert run(neuron(4, reset="hard", v_reset=v_reset), [3, 3, 3, 3]) == ([0, 1, 0, 1], [3, 6, 1, 4])


def test_equality_fires_with_ge_and_not_with_gt() -> None:
    assert run(neuron(4), [4, 4])[0] == [1, 1]
    assert run(neuron(4, fire="gt"), [4, 4]) == ([0, 1], [4, 8])


def test_a_leak_rounds_down_also_below_zero() -> None:
    leak = Dyadic(3, 2)
    assert run(neuron(99, leak=leak), [-1, 0, 0, 0])[1] == [-1, -1, -1, -1]
    assert run(neuron(99, leak=leak), [5, 0, 0])[1] == [5, 3, 2]
    assert run(neuron(99, leak=leak, leak_order="after"), [5, 1])[1] == [3, 3]


def test_a_right_shift_rounds_down_before_the_bias() -> None:
    assert run(neuron(99, right_shift=1, bias=10 * ONE), [-3, 3])[1] == [-2 + 10, -2 + 10 + 1 + 10]


def test_a_floor_and_a_width_limit_the_potential() -> None:
    assert run(neuron(99, floor=-4), [-9, 1])[1] == [-4, -3]
    assert run(neuron(7, width=4), [20, 0])[1] == [7, 0]
    assert run(neuron(99, width=4), [-20, 1])[1] == [-8, -7]


def test_a_signed_neuron_takes_back_no_more_than_it_sent() -> None:
    node = neuron(4, signed=True, retract=np.array([1]))
    assert run(node, [4, -1, -1, -9, 9]) == ([1, -1, 0, 0, 0], [4, -1, 2, -7, 2])
    # Just below zero is no reason yet where retract asks for more.
    assert run(neuron(4, signed=True, retract=np.array([2])), [4, -1, -1])[0] == [1, 0, -1]


def test_parameters_of_one_step_belong_to_that_step() -> None:
    gains, bias = np.array([[1], [2], [3]]), np.array([[1], [0], [3]])
    node = neuron(np.array([[5], [2], [9]]), bias=bias, gains=(gains,))
    assert run(node, [2, 1, 1]) == ([0, 1, 1], [3, 5, 9])


def test_an_initial_potential_counts_from_the_first_step() -> None:
    assert run(neuron(4, initial=np.array([3])), [1, 0]) == ([1, 0], [4, 0])


def test_several_branches_add_up_with_their_gains() -> None:
    node = neuron(9, gains=(2 * ONE, -3 * ONE))
    constant, timed = np.full((1, 1, 1), 5), np.array([0, 1, 2])[:, None, None]
    _, potentials = node.spiking([constant, timed], 3)
    assert potentials[:, 0, 0].tolist() == [10, 1 + 7, 1 + 7 + 4]


@pytest.mark.parametrize("start", [0, 4])
def test_convert_check_04_a_constant_current_sends_the_closed_form_of_spikes(start: int) -> None:
    """N = clip(floor((T I + v0) / theta), 0, T): 10,000 cases with |I| up to three thresholds."""
    random = np.random.default_rng(0)
    steps = random.integers(1, 17, 10_000)
    theta = random.integers(1, 200, 10_000)
    current = random.integers(-3 * theta, 3 * theta, endpoint=True)
    v0 = theta // 2 if start else np.zeros_like(theta)
    for length in range(1, 17):
        chosen = steps == length
        i, th, v = current[chosen], theta[chosen], v0[chosen]
        node = Neuron(
            id="n", path="n", sources=("x",), shape=(len(i),), unit=np.ones(1), gains=(ONE,), bias=0 * ONE,
            threshold=th[None], initial=v,
        )  # fmt: skip
        spikes, _ = node.spiking([i[None, None]], length)
        assert np.array_equal(spikes.sum(0)[0], np.clip((length * i + v) // th, 0, length))


def loops(x: Integers, codes: Integers, stride: Shape, padding: Shape, dilation: Shape, groups: int) -> Integers:
    """Convolve [N, C, ...] one product at a time, in Python's own integers."""
    n, inside, kernel = len(x), x.shape[2:], codes.shape[2:]
    out = np.zeros((n, len(codes), *window_shape(inside, kernel, stride, padding, dilation)), np.int64)
    for place in np.ndindex(*out.shape):
        sample, channel, *at = place
        first = channel // (len(codes) // groups) * codes.shape[1]
        total = 0
        for c, *tap in product(range(codes.shape[1]), *map(range, kernel)):
            where = [a * s + k * d - p for a, s, k, d, p in zip(at, stride, tap, dilation, padding, strict=True)]
            if all(0 <= w < size for w, size in zip(where, inside, strict=True)):
                total += int(x[(sample, first + c, *where)]) * int(codes[(channel, c, *tap)])
        out[place] = total
    return out


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_convolutions_equal_loops_over_single_products(dims: int) -> None:
    random = np.random.default_rng(dims)
    for groups in (1, 2):
        kernel, stride = tuple(random.integers(1, 4, dims)), tuple(random.integers(1, 3, dims))
        padding, dilation = tuple(random.integers(0, 3, dims)), tuple(random.integers(1, 3, dims))
        x = random.integers(-9, 9, (3, 1, 2, *random.integers(5, 7, dims)))
        codes = random.integers(-7, 8, (4, 2 // groups, *kernel))
        expected = loops(x[:, 0], codes, stride, padding, dilation, groups)
        node = Convolution(
            id="c", path="c", sources=("x",), shape=expected.shape[1:], stride=stride, padding=padding,
            dilation=dilation, groups=groups, weight=Weight(codes=codes, step=np.ones(1), bits=4, low=-8, high=7),
        )  # fmt: skip
        assert np.array_equal(node.run([x], 3)[:, 0], expected)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_pools_equal_loops_over_their_windows(dims: int) -> None:
    random = np.random.default_rng(dims)
    x = random.integers(-9, 9, (2, 2, 3, *[5] * dims))
    kernel, stride, padding = (3,) * dims, (2,) * dims, (1,) * dims
    shape = (3, *window_shape(x.shape[3:], kernel, stride, padding, (1,) * dims))
    for kind, combine in ((SumPool, sum), (MaxPool, max)):
        node = kind(id="p", path="p", sources=("x",), shape=shape, kernel=kernel, stride=stride, padding=padding)
        found = node.run([x], 2)
        for place in np.ndindex(*found.shape):
            t, n, c, *at = place
            ranges = [range(max(0, 2 * a - 1), min(5, 2 * a + 2)) for a in at]
            assert found[place] == combine(int(x[(t, n, c, *w)]) for w in product(*ranges))


def spread(x: Integers, node: TransposedConvolution) -> Integers:
    """Convolve [N, C, ...] transposed, one product at a time, in Python's own integers."""
    codes, groups = node.weight.codes, node.groups
    out = np.zeros((len(x), *node.shape), np.int64)
    for sample, c, *at in np.ndindex(*x.shape):
        group = c // (len(codes) // groups)
        for o, *tap in product(range(codes.shape[1]), *map(range, codes.shape[2:])):
            axes = zip(at, node.stride, tap, node.dilation, node.padding, strict=True)
            where = [i * s + k * d - p for i, s, k, d, p in axes]
            if all(0 <= w < size for w, size in zip(where, node.shape[1:], strict=True)):
                place = (sample, group * codes.shape[1] + o, *where)
                out[place] += int(x[(sample, c, *at)]) * int(codes[(c, o, *tap)])
    return out


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_convolutions_equal_loops_over_single_products(dims: int, groups: int) -> None:
    random = np.random.default_rng(10 * dims + groups)
    for _ in range(6):
        kernel, stride = tuple(random.integers(2, 4, dims)), tuple(random.integers(1, 4, dims))
        dilation, padding = tuple(random.integers(1, 3, dims)), tuple(random.integers(0, 2, dims))
        more = tuple(random.integers(0, 3, dims))
        x = random.integers(-9, 9, (2, 1, 2, *random.integers(2, 4, dims)))
        axes = zip(x.shape[3:], kernel, stride, padding, more, dilation, strict=True)
        made = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in axes)
        codes = random.integers(-7, 8, (2, 3, *kernel))
        node = TransposedConvolution(
            id="t", path="t", sources=("x",), shape=(3 * groups, *made), stride=stride, padding=padding,
            output_padding=more, dilation=dilation, groups=groups,
            weight=Weight(codes=codes, step=np.ones(1), bits=4, low=-8, high=7),
        )  # fmt: skip
        assert np.array_equal(node.run([x], 2)[:, 0], spread(x[:, 0], node))


def counts_pool(kernel: Shape, stride: Shape, padding: Shape, shape: Shape) -> CountMaxPool:
    return CountMaxPool(id="p", path="p", sources=("x",), shape=shape, kernel=kernel, stride=stride, padding=padding)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_convert_check_09_count_max_is_binary_and_its_counts_are_the_largest_counts(dims: int, rate: float) -> None:
    random = np.random.default_rng(dims)
    spikes = (random.random((12, 4, 3, *[5] * dims)) < rate).astype(np.int8)
    wrong = 0
    for kernel, stride, padding in ((2, 2, 0), (3, 1, 1), (3, 2, 1), (2, 1, 0)):  # overlapping and padded ones
        windows = (kernel,) * dims, (stride,) * dims, (padding,) * dims
        shape = (3, *window_shape(spikes.shape[3:], *windows, (1,) * dims))
        found = counts_pool(*windows, shape).run([spikes], 12)
        assert found.shape == (12, 4, *shape)
        assert set(np.unique(found)) <= {0, 1}
        ored = MaxPool(
            id="o", path="o", sources=("x",), shape=shape, kernel=windows[0], stride=windows[1], padding=windows[2]
        )
        expected = ored.run([spikes.sum(0, dtype=np.int64)[None]], 1)[0]
        assert np.array_equal(found.sum(0), expected)
        wrong += int((ored.run([spikes], 12).sum(0) != expected).sum())
    assert wrong > 0  # the largest spike of each step counts too many


def test_a_pool_of_counts_follows_the_neuron_that_leads() -> None:
    spikes = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [1, 0]])[:, None, None]
    # counts 1,1,1,2,3 and 0,1,2,2,2: the largest is 1,1,2,2,3
    found = counts_pool((2,), (2,), (0,), (1, 1)).run([spikes], 5)
    assert found[:, 0, 0, 0].tolist() == [1, 0, 1, 0, 1]


def test_a_pool_of_counts_below_zero_sees_the_zeros_of_its_padding_only() -> None:
    values = np.array([[-1, -2, -3, -4]] * 2)[:, None, None]
    assert counts_pool((2,), (2,), (0,), (1, 2)).run([values], 2).tolist() == [[[[-1, -3]]], [[[-1, -3]]]]
    assert counts_pool((2,), (2,), (1,), (1, 3)).run([values], 2).tolist() == [[[[0, -2, 0]]], [[[0, -2, 0]]]]


def test_a_constant_wire_counts_and_bursts_over_all_steps_that_are_run() -> None:
    constant = np.array([[[3, 5]]])
    for steps in (1, 2, 4):
        timed = np.repeat(constant, steps, axis=0)
        for node in (counts_pool((2,), (2,), (0,), (1, 1)), counts_pool((2,), (1,), (1,), (1, 3))):
            a, b = (node.run([x[:, :, None]], steps) for x in (constant, timed))
            assert np.array_equal(np.broadcast_to(a, b.shape), b)
        burst = Burst(id="b", path="b", sources=("x",), shape=(2,))
        expected = [[[3 * steps, 5 * steps]], *[[[0, 0]]] * (steps - 1)]
        assert burst.run([constant], steps).tolist() == burst.run([timed], steps).tolist() == expected


def test_a_burst_of_changing_values_is_their_sum() -> None:
    burst = Burst(id="b", path="b", sources=("x",), shape=(1,))
    values = np.array([1, 0, -1, 1, 1], np.int8)[:, None, None]
    assert burst.run([values], 5)[:, 0, 0].tolist() == [2, 0, 0, 0, 0]
    many = np.ones((300, 1, 1), np.int8)  # beyond what a byte holds
    assert burst.run([many], 300)[0, 0, 0] == 300


def test_integers_are_moved_and_left_as_they_are() -> None:
    x = np.arange(12).reshape(1, 1, 2, 2, 3)
    base = {"id": "n", "path": "n", "sources": ("x",)}
    pad = Pad(**base, shape=(2, 3, 2), before=(1, -1), after=(0, 0))
    assert pad.run([x], 1)[0, 0, 1].tolist() == [[0, 0], [7, 8], [10, 11]]
    beyond = Pad(**base, shape=(2, 2, 1), before=(-3, 0), after=(3, -2))  # cut away, then zeros
    assert not beyond.run([x], 1).any()
    large = Upsample(**base, shape=(2, 4, 3), factors=(2, 1))
    assert large.run([x], 1)[0, 0, 0].tolist() == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    turned = Transpose(**base, shape=(3, 2, 2), axes=(2, 0, 1))
    assert turned.run([x], 1)[0, 0, 2].tolist() == [[2, 5], [8, 11]]
    part = Slice(**base, shape=(1, 2, 3), start=1, stop=2)
    assert part.run([x], 1)[0, 0, 0].tolist() == [[6, 7, 8], [9, 10, 11]]


def test_a_concatenation_of_a_constant_and_a_changing_wire_changes() -> None:
    constant, timed = np.array([[[7]]]), np.array([0, 1, 1], np.int8)[:, None, None]
    both = Concat(id="c", path="c", sources=("x", "y"), shape=(2,))
    assert both.run([constant, timed], 3)[:, 0].tolist() == [[7, 0], [7, 1], [7, 1]]
    assert both.run([constant, constant], 3).tolist() == [[[7, 7]]]
