"""No sum and no potential ever leaves the range that was stated, and the range is no wider than it must be."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import layerwise, neuron, random_codes, random_network

from bitspike.errors import ConstraintError
from bitspike.integer.bounds import intervals
from bitspike.integer.bounds.widths import Interval, bits_of, bounds, magnitudes, survey, widths
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    FewBitNeuron,
    Input,
    Integers,
    Linear,
    Neuron,
    Readout,
    Shape,
    Slice,
    TransposedConvolution,
    Weight,
    per_channel,
)
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic, Grid

ONE = np.ones((1, 1), np.int64)


def readout(source: str, shape: Shape) -> Readout:
    return Readout(id="out", path="out", sources=(source,), shape=shape, gains=(ONE,), bias=0 * ONE)


def weight(codes: Integers) -> Weight:
    return Weight(codes=codes, step=np.ones(1), bits=8, low=-127, high=127)


def plain(threshold: int = 1, *, source: str = "layer", shape: Shape = (1,), **options: object) -> Neuron:
    values = {"gains": (ONE,), "bias": 0 * ONE, "threshold": threshold * ONE, "initial": np.zeros(1, np.int64)}
    return Neuron(id="neuron", path="neuron", sources=(source,), shape=shape, unit=np.ones(1), **{**values, **options})  # type: ignore[arg-type]


def after_reset(node: Neuron, potentials: Integers, spikes: Integers) -> Integers:
    theta = per_channel(node.threshold, len(node.shape))
    if node.reset == "soft":
        return potentials - theta * spikes
    return np.where(spikes == 1, per_channel(node.v_reset, len(node.shape)), potentials)


@pytest.mark.parametrize("block", range(3))
def test_nothing_leaves_its_range_in_random_networks(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        random = np.random.default_rng(seed)
        net = random_network(random)
        stated = {w.layer: w for w in widths(net)}
        for extreme in (False, True):
            trace = simulate(net, random_codes(random, net, samples=8, extreme=extreme))
            for node in net.neurons:
                low, high = stated[node.path].membrane
                h = trace.potentials[node.id]
                v = after_reset(node, h, trace.spikes[node.id])
                assert low <= min(h.min(), v.min()), node
                assert max(h.max(), v.max()) <= high, node
            for node in net.outputs:
                low, high = stated[node.path].membrane
                assert low <= trace.outputs[node.id].min() <= trace.outputs[node.id].max() <= high


@pytest.mark.parametrize("seed", range(30))
def test_a_potential_stays_in_its_range_for_every_train_of_currents(seed: int) -> None:
    random = np.random.default_rng(seed)
    steps = int(random.integers(1, 6))
    currents = random.choice(np.arange(-6, 9), 4, replace=False)
    trains = np.array(list(product(currents, repeat=steps))).T[..., None]
    node = neuron(random, "neuron", ("input",), (1,), steps)
    grid = Grid(1.0, min(0, int(currents.min())), max(1, int(currents.max())))
    entry = Input(id="input", path="input", shape=(1,), grid=grid, constant=False)
    net = IntegerNetwork(steps, (entry, node, readout("neuron", (1,))))
    spikes, h = node.spiking([trains], steps)
    v = after_reset(node, h, spikes)
    low, high = widths(net)[0].membrane
    assert low <= min(h.min(), v.min())
    assert max(h.max(), v.max()) <= high


@pytest.mark.parametrize("steps", range(1, 6))
@pytest.mark.parametrize("threshold", [1, 2, 5, 9])
@pytest.mark.parametrize("shift", [0, 1])
def test_the_range_of_a_plain_neuron_is_reached(steps: int, threshold: int, shift: int) -> None:
    trains = np.array(list(product(range(-3, 5), repeat=steps))).T[..., None]
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, -3, 4), constant=False)
    node = plain(threshold, source="input", leak=Dyadic(1, shift))
    _, h = node.spiking([trains], steps)
    low, high = widths(IntegerNetwork(steps, (entry, node, readout("neuron", (1,)))))[0].membrane
    assert low == min(0, h.min())
    assert high == h.max()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_accumulator_of_a_single_layer_is_reached_by_the_worst_input(data: st.DataObject) -> None:
    draw = data.draw
    groups = draw(st.sampled_from([1, 2]))
    c_in, c_out, k = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2)), draw(st.integers(1, 3))
    low = draw(st.integers(-9, 0))
    grid = Grid(1.0, low, draw(st.integers(low + 1, 9).filter(lambda h: h >= 0)))
    shape = (c_out, c_in // groups, k, k)
    size = int(np.prod(shape))
    codes = np.array(draw(st.lists(st.integers(-7, 7), min_size=size, max_size=size))).reshape(shape)
    bias = draw(st.integers(-20, 20))
    entry = Input(id="input", path="input", shape=(c_in, k, k), grid=grid)
    layer = Convolution(
        id="layer", path="layer", sources=("input",), shape=(c_out, 1, 1), weight=weight(codes), stride=(1, 1),
        padding=(0, 0), dilation=(1, 1), groups=groups,
    )  # fmt: skip
    node = plain(1, shape=(c_out, 1, 1), bias=bias * ONE)
    net = IntegerNetwork(1, (entry, layer, node, readout("neuron", (c_out, 1, 1))))
    # One sample per output channel and side: its own taps at their worst, everything else at 0 or the nearest code.
    full = np.zeros((c_out, c_in, k, k), np.int64)
    for c in range(c_out):
        group = c // (c_out // groups) * (c_in // groups)
        full[c, group : group + c_in // groups] = codes[c]
    for side in (1, -1):
        worst = np.where(side * full > 0, grid.high, np.where(full == 0, max(grid.low, 0), grid.low))[None]
        sums = layer.run([worst], 1)
        reached = [int(s) for s in (sums.min(), sums.max(), (sums + bias).min(), (sums + bias).max(), 0)]
        stated = widths(net)[0].accumulator
        assert stated[0] <= min(reached)
        assert max(reached) <= stated[1]
        assert stated[(1 + side) // 2] == (max(reached) if side > 0 else min(reached))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(-15, 15), min_size=1, max_size=6),
    st.integers(-40, 40),
    st.integers(1, 60),
    st.integers(1, 12),
    st.integers(0, 4),
)
def test_the_range_lies_within_the_closed_form_of_the_specification(
    codes: list[int], bias: int, threshold: int, steps: int, k: int
) -> None:
    """|v| <= max(theta - 1 + I+ + (T - 1) * max(0, I+ - theta), T * I-), conversion specification 9.3, R5."""
    entry = Input(id="input", path="input", shape=(len(codes),), grid=Grid(1.0, 0, 1), constant=False)
    layer = Linear(id="layer", path="layer", sources=("input",), shape=(1,), weight=weight(np.array([codes])))
    node = plain(threshold, gains=(2**k * ONE,), bias=bias * ONE)
    net = IntegerNetwork(steps, (entry, layer, node, readout("neuron", (1,))))
    found = widths(net)[0]
    up = sum(max(c, 0) for c in codes) * 2**k + max(bias, 0)
    down = -sum(min(c, 0) for c in codes) * 2**k - min(bias, 0)
    assert found.accumulator == (-down, up)
    low, high = found.membrane
    assert -steps * down <= low
    assert high <= threshold - 1 + up + (steps - 1) * max(0, up - threshold)


@given(st.integers(-(2**40), 2**40), st.integers(0, 2**40))
def test_bits_hold_the_range_and_one_bit_less_does_not(low: int, span: int) -> None:
    high, bits = low + span, bits_of(low, low + span)
    assert -(2 ** (bits - 1)) <= low
    assert high <= 2 ** (bits - 1) - 1
    assert bits == 1 or low < -(2 ** (bits - 2)) or high > 2 ** (bits - 2) - 1


def test_a_saturating_potential_is_no_wider_than_its_width() -> None:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, -100, 100), constant=False)
    net = IntegerNetwork(9, (entry, plain(50, source="input", width=8), readout("neuron", (1,))))
    assert widths(net)[0].membrane == (-128, 127)
    assert widths(net)[0].membrane_bits == 8


def test_parameters_of_each_step_enter_with_their_own_step() -> None:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, 0, 1))
    gains = np.array([[1], [10], [100]])
    node = plain(1000, source="input", gains=(gains,))
    bias = np.array([[-5], [5], [0]])
    out = Readout(id="out", path="out", sources=("neuron",), shape=(1,), gains=(gains,), bias=bias)
    neuron_widths, out_widths = widths(IntegerNetwork(3, (entry, node, out)))
    assert neuron_widths.membrane == (0, 111)
    assert neuron_widths.accumulator == (0, 100)
    assert out_widths.membrane == (-5, 0 + 15 + 100)


@pytest.mark.parametrize(
    "options",
    [{"gains": (2**53 * ONE,)}, {"gains": (2**50 * ONE,), "leak": Dyadic(2**12 - 1, 12)}, {"bias": 2**62 * ONE}],
)
def test_ranges_beyond_63_bits_are_refused_with_the_layer(options: dict[str, object]) -> None:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, 0, 2**10))
    net = IntegerNetwork(4, (entry, plain(1, source="input", **options), readout("neuron", (1,))))
    with pytest.raises(ConstraintError, match="neuron: a sum may reach"):
        widths(net)


def test_magnitudes_bound_every_number_that_a_neuron_handles() -> None:
    for seed in range(60):
        random = np.random.default_rng(seed)
        net = random_network(random)
        bound = magnitudes(net)
        trace = simulate(net, random_codes(random, net, samples=4, extreme=True))
        for node in net.neurons:
            h = trace.potentials[node.id]
            assert np.abs(h).max() * node.leak.numerator <= bound[node.id]
            assert np.abs(h - per_channel(node.threshold, len(node.shape))).max() <= bound[node.id]


def wires(net: IntegerNetwork, codes: Integers) -> dict[str, Integers]:
    """Return what every wire of a network carries, by the id of its node."""
    found: dict[str, Integers] = {net.input.id: codes}
    for node in net.nodes[1:]:
        inputs = [found[s] for s in node.sources]
        if not isinstance(node, Readout):
            found[node.id] = node.run(inputs, net.steps).astype(np.int64)
    return found


def test_no_wire_and_no_counter_leaves_its_magnitude() -> None:
    for seed in range(120):
        random = np.random.default_rng(seed)
        net = random_network(random)
        bound, found = magnitudes(net), wires(net, random_codes(random, net, samples=4, extreme=seed % 2 == 0))
        for id, values in found.items():
            assert np.abs(values).max() <= bound[id], net[id]
            if isinstance(net[id], CountMaxPool):
                of_source = found[net[id].sources[0]]
                assert np.abs(of_source.cumsum(0)).max() <= bound[id] or len(of_source) == 1


def within(values: Integers, interval: Interval) -> bool:
    """Tell whether [1 or T, N, C, ...] stays in its bounds, step by step and channel by channel."""
    low, high = (per_channel(b, values.ndim - 1 - 1) for b in (interval.low, interval.high))
    return bool(((low <= values) & (values <= high)).all())


def test_every_wire_stays_in_its_bounds_step_by_step_and_channel_by_channel() -> None:
    for seed in range(120):
        random = np.random.default_rng(seed)
        net = random_network(random)
        net = layerwise(net) if seed % 3 == 2 else net
        stated, found = survey(net), wires(net, random_codes(random, net, samples=4, extreme=seed % 2 == 0))
        for id, values in found.items():
            assert within(values, stated[id].wire), net[id]
            assert within(values.sum(0, keepdims=True), stated[id].wire.sum_over_time(len(values))), net[id]


def half_of(node: Neuron) -> int:
    """Return what a neuron that keeps few bits adds before it rounds."""
    return node.half if isinstance(node, FewBitNeuron) else 0


def test_what_a_neuron_keeps_and_what_it_computes_stay_in_their_ranges() -> None:
    for seed in range(120):
        random = np.random.default_rng(seed)
        net = random_network(random)
        stated = survey(net)
        trace = simulate(net, random_codes(random, net, samples=4, extreme=seed % 2 == 0))
        for node in net.neurons:
            of, h = stated[node.id], trace.potentials[node.id]
            left = after_reset(node, h, trace.spikes[node.id])
            kept, read = (node.stored(left), node.carried(left)) if isinstance(node, FewBitNeuron) else (left, left)
            products = read[:-1] * node.leak.numerator if node.leak_order == "before" else read
            work = h, left, left + half_of(node), read, products
            for low, high, values in ((*of.state, kept), *((*of.work, numbers) for numbers in work)):
                assert low <= values.min(initial=0), node
                assert values.max(initial=0) <= high, node
            assert of.state[0] >= of.work[0]
            assert of.state[1] <= of.work[1]


@pytest.mark.parametrize("reverse", [False, True])
def test_a_read_out_has_room_for_every_order_of_its_sum(reverse: bool) -> None:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, -2, 5))
    out = Readout(id="out", path="out", sources=("input",), shape=(1,), gains=(100 * ONE,), bias=-50 * ONE)
    of = survey(IntegerNetwork(3, (entry, out)))["out"]
    assert of.state == of.membrane == (3 * -250, 3 * 450)
    terms = np.array([*[500] * 3, *[-50] * 3] if not reverse else [*[-50] * 3, *[-200] * 3])
    assert of.work == (-750, 1500)
    assert of.work[0] <= terms.cumsum().min()
    assert terms.cumsum().max() <= of.work[1]


def test_bounds_are_the_same_in_integers_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        net = random_network(np.random.default_rng(seed))
        net = layerwise(net) if seed % 3 == 2 else net
        plainly = survey(net)
        with monkeypatch.context() as patched:
            patched.setattr(intervals, "ROOM", 0)
            endless = survey(net)
        for node in net.nodes:
            one, two = plainly[node.id], endless[node.id]
            for name in ("current", "accumulator", "membrane", "state", "work"):
                assert getattr(one, name) == getattr(two, name), (node, name)
            for a, b in ((one.wire, two.wire), (one.sums, two.sums)):
                assert np.array_equal(a.low, b.low), node
                assert np.array_equal(a.high, b.high), node


@pytest.mark.parametrize("power", [0, 30, 55, 61, 62])
def test_bounds_beyond_int64_are_exact(power: int) -> None:
    """A neuron that is charged or discharged at every step, from 8 bits to more than 128."""
    gain, codes, steps = 1 << power, np.array([[3, -2, 5]]) << max(0, power - 6), 7
    unit = gain << max(0, power - 6)
    entry = Input(id="input", path="input", shape=(3,), grid=Grid(1.0, 0, 4), constant=False)
    layer = Linear(id="layer", path="layer", sources=("input",), shape=(1,), weight=large(codes))
    node = plain(9 << power if power < 58 else 1, gains=(gain * ONE,))
    net = IntegerNetwork(steps, (entry, layer, node, readout("neuron", (1,))))
    theta, up, down = int(node.threshold[0, 0]), 32 * unit, 8 * unit
    assert survey(net)["neuron"].current == (-down, up)
    # Every step charges more than a spike takes away.
    assert survey(net)["neuron"].membrane == (-steps * down, up + (steps - 1) * (up - theta))


def large(codes: Integers) -> Weight:
    return Weight(codes=codes, step=np.ones(1), bits=64, low=-(2**62), high=2**62)


def test_all_layers_beyond_63_bits_are_named_at_once() -> None:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, 0, 1))
    first, second = plain(2**61, source="input", gains=(2**62 * ONE,)), plain(1, source="neuron", gains=(2**61 * ONE,))
    net = IntegerNetwork(9, (entry, first, replace(second, id="second", path="second"), readout("second", (1,))))
    with pytest.raises(ConstraintError, match=r"neuron: a sum may reach .*\nsecond: a sum may reach") as caught:
        bounds(net)
    assert "out" not in str(caught.value)


def bounds_of(net: IntegerNetwork, reader: str) -> tuple[int, int]:
    """Return the range that is stated for the sums of a reader."""
    return next(w.accumulator for w in widths(net) if w.layer == reader)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("groups", [1, 2])
def test_the_range_of_a_transposed_convolution_is_reached(dims: int, groups: int) -> None:
    """Every output is a known sum of inputs: the worst of all of them is the range, stride by stride."""
    for seed in range(12):
        random = np.random.default_rng(seed)
        kernel, stride = (tuple(int(n) for n in random.integers(1, 5 - dims + 1, dims)) for _ in range(2))
        dilation = tuple(int(n) for n in random.integers(1, 3, dims))
        inside = (8,) if dims == 1 else (5, 5)  # some place meets all of its taps
        axes = zip(inside, kernel, stride, dilation, strict=True)
        made = tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in axes)
        grid = Grid(1.0, int(random.integers(-5, 1)), 6)
        entry = Input(id="input", path="input", shape=(2, *inside), grid=grid)
        node = TransposedConvolution(
            id="layer", path="layer", sources=("input",), shape=(4, *made), stride=stride, padding=(0,) * dims,
            output_padding=(0,) * dims, dilation=dilation, groups=groups,
            weight=weight(random.integers(-7, 8, (2, 4 // groups, *kernel))),
        )  # fmt: skip
        net = IntegerNetwork(1, (entry, node, readout("layer", (4, *made))))
        size = 2 * int(np.prod(inside))
        taps = node.run([np.eye(size, dtype=np.int64).reshape(1, size, 2, *inside)], 1)[0].reshape(size, -1)
        up, down = np.maximum(taps, 0).sum(0), np.minimum(taps, 0).sum(0)
        worst = int((up * grid.low + down * grid.high).min()), int((up * grid.high + down * grid.low).max())
        assert bounds_of(net, "out") == (min(worst[0], grid.low), max(worst[1], grid.high))


@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("threshold", [1, 5, 9])
def test_the_range_behind_a_burst_is_reached(steps: int, threshold: int) -> None:
    """The whole charge at the first step, and nothing later: no wider than that."""
    trains = np.array(list(product(range(-3, 5), repeat=steps))).T[..., None]
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, -3, 4), constant=False)
    burst = Burst(id="burst", path="burst", sources=("input",), shape=(1,))
    node = plain(threshold, source="burst")
    net = IntegerNetwork(steps, (entry, burst, node, readout("neuron", (1,))))
    h = simulate(net, trains).potentials["neuron"]
    assert widths(net)[0].membrane == (h.min(), h.max())
    assert widths(net)[0].accumulator == (-3 * steps, 4 * steps)


@pytest.mark.parametrize("low", [0, -2])
def test_counts_stay_within_the_range_of_spikes_and_their_counters_within_all_steps(low: int) -> None:
    entry = Input(id="input", path="input", shape=(1, 4), grid=Grid(1.0, low, 1), constant=False)
    pool = CountMaxPool(
        id="pool", path="pool", sources=("input",), shape=(1, 2), kernel=(2,), stride=(2,), padding=(0,)
    )
    net = IntegerNetwork(7, (entry, pool, readout("pool", (1, 2))))
    counted, out = widths(net)
    assert counted.membrane == (7 * low, 7)
    assert out.accumulator == (low, 1)
    assert out.membrane == (7 * low, 7)


def test_channels_keep_their_own_range_through_concatenation_and_slices() -> None:
    entry = Input(id="input", path="input", shape=(2,), grid=Grid(1.0, 0, 1))
    scaled = Add(id="scaled", path="scaled", sources=("input",), shape=(2,), gains=(np.array([[10, -30]]),))
    both = Concat(id="both", path="both", sources=("input", "scaled"), shape=(4,))
    part = Slice(id="part", path="part", sources=("both",), shape=(2,), start=1, stop=3)
    first = Linear(id="first", path="first", sources=("part",), shape=(1,), weight=weight(np.array([[1, 1]])))
    net = IntegerNetwork(2, (entry, scaled, both, part, first, plain(1, source="first"), readout("neuron", (1,))))
    neuron_widths = widths(net)[0]
    assert neuron_widths.membrane == (0, 11 + 10)


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.int8, np.int64]), st.booleans())
def test_bounds_of_a_sum_are_those_of_its_products(seed: int, kind: type, alike: bool) -> None:
    """Each code meets the end of its channel that makes the product largest, or smallest; channels may be alike."""
    draw = np.random.default_rng(seed)
    groups, outs, ins, taps, steps = (int(n) for n in draw.integers(1, 4, 5))
    codes = draw.integers(-128, 128, (groups, outs, ins, taps)).astype(kind)
    channels = (steps, 1) if alike else (steps, groups * ins)
    low, high = (np.broadcast_to(draw.integers(0, 9, channels), (steps, groups * ins)) for _ in range(2))
    known = intervals.weighted(Interval(-low, high), codes)
    ends = np.stack([bound.reshape(steps, groups, 1, ins, 1) * codes.astype(np.int64) for bound in (-low, high)])
    for wanted, bound in ((ends.min(0), known.low), (ends.max(0), known.high)):
        assert np.array_equal(wanted.sum((3, 4)).reshape(steps, -1), bound)
