"""Sums as large as the native engine's bytes and words hold, and one more: each method equals the definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bitspike.integer.engine import Engine, Method
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Convolution,
    Input,
    Integers,
    Linear,
    Neuron,
    Node,
    Readout,
    SumPool,
    Weight,
    window_shape,
)
from bitspike.integer.simulate import simulate
from bitspike.kernels.cpp.loader import SWITCH
from bitspike.kernels.engine.structs import level, library
from bitspike.ops.grids import Grid

STEPS = 3
LOOPS = {"": 1, "avx512": 4, "avx2": 3, "portable": 1}
WAYS = [None, Method.DOT, Method.POPCOUNT, Method.EVENTS, Method.TABLE]


@pytest.fixture(params=LOOPS)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every set of loops that this machine can run; where it cannot, the best that it has."""
    if level() >= LOOPS[request.param]:
        monkeypatch.setenv(SWITCH, request.param)
    return str(request.param)


def fire(id: str, source: Node, *, threshold: int = 1, bias: int = 0, gain: int = 1, signed: bool = False) -> Neuron:
    """Return integrate-and-fire neurons with soft reset and no limits, the same for all channels."""
    ones = np.ones((1, 1), np.int64)
    none = np.zeros(1, np.int64)
    return Neuron(
        id=id, path=id, sources=(source.id,), shape=source.shape, gains=(gain * ones,), bias=bias * ones,
        threshold=threshold * ones, initial=none, v_reset=none, retract=none, unit=np.ones(1), signed=signed,
    )  # fmt: skip


def weights(codes: Integers) -> Weight:
    return Weight(codes=codes, step=np.ones(1), bits=8, low=-128, high=127)


def spikes(*shape: int) -> list[Node]:
    """Return nodes whose neurons send the 0 and 1 that enter."""
    entry = Input(id="input", path="input", shape=shape, grid=Grid(1.0, 0, 1), constant=False)
    return [entry, fire("sent", entry)]


def convolved(nodes: list[Node], codes: Integers, *, stride: int = 1, padding: int = 0) -> list[Node]:
    """Return nodes with a convolution behind the last one."""
    source = nodes[-1]
    inside = window_shape(source.shape[1:], codes.shape[2:], (stride,) * 2, (padding,) * 2, (1, 1))
    layer = Convolution(
        id="layer", path="layer", sources=(source.id,), shape=(len(codes), *inside), weight=weights(codes),
        stride=(stride,) * 2, padding=(padding,) * 2, dilation=(1, 1), groups=source.shape[0] // codes.shape[1],
    )  # fmt: skip
    return [*nodes, layer]


def linear(nodes: list[Node], codes: Integers) -> list[Node]:
    """Return nodes with a linear layer behind the last one."""
    source = nodes[-1]
    shape = (len(codes),)
    return [*nodes, Linear(id="layer", path="layer", sources=(source.id,), shape=shape, weight=weights(codes))]


def finished(nodes: list[Node], neuron: Neuron, steps: int = STEPS) -> IntegerNetwork:
    ones = np.ones((1, 1), np.int64)
    out = Readout(id="out", path="out", sources=(neuron.id,), shape=neuron.shape, gains=(ones,), bias=0 * ones)
    return IntegerNetwork(steps, (*nodes, neuron, out))


def assert_all_ways_agree(net: IntegerNetwork, codes: Integers, ways: list[Method | None] = WAYS) -> None:
    expected = simulate(net, codes)
    for method in ways:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None), engine.reason
        found = engine.run(codes)
        for id, potentials in expected.potentials.items():
            assert np.array_equal(found.potentials[id], potentials), (method, id)
            assert np.array_equal(found.spikes[id], expected.spikes[id]), (method, id)
        # A run without a trace has loops of its own. Its counts after every step tell all spikes.
        for steps in range(1, net.steps + 1):
            counts = expected.spikes["fire"][:steps].sum(0, dtype=np.int64)
            assert np.array_equal(engine.predict(codes[:steps], steps=steps)["out"], counts), (method, steps)


def drawn(kind: str, shape: tuple[int, ...], largest: int) -> Integers:
    """Return codes that are all as large as can be, or signs at random."""
    random = np.random.default_rng(len(kind))
    if kind == "largest":
        return np.full(shape, largest)
    if kind == "smallest":
        return np.full(shape, -largest - (largest == 127))
    return random.choice([-largest, largest], shape)


KINDS = ["largest", "smallest", "signs"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127), (0, 3), (0, 129)])
def test_products_of_the_largest_bytes_do_not_saturate(loops: str, kind: str, low: int, high: int) -> None:
    """Pairs of products beyond 16 bits, just below, and so small that many are added up before they are widened."""
    for channels, outputs, kernel in ((3, 17, 3), (50, 33, 3), (301, 5, 1)):
        shape = (channels, 3, 4)
        entry = Input(id="input", path="input", shape=shape, grid=Grid(1.0, low, high), constant=channels == 3)
        nodes = convolved([entry], drawn(kind, (outputs, channels, kernel, kernel), 127), stride=2, padding=kernel // 2)
        neuron = fire("fire", nodes[-1], threshold=100 * channels, bias=7)
        random = np.random.default_rng(channels)
        steps = 1 if channels == 3 else STEPS
        codes = random.integers(low, high, (steps, 4, *shape), endpoint=True)
        codes[:, 0], codes[:, 1] = high, low
        assert_all_ways_agree(finished(nodes, neuron), codes)


@pytest.mark.parametrize("words", [1, 7, 8, 9, 248, 249, 505])
@pytest.mark.parametrize("largest", [1, 2])
def test_long_rows_of_spikes_are_counted(loops: str, words: int, largest: int) -> None:
    """Rows of words that fill the bytes in which bits are counted, and those that end in the middle of eight words."""
    channels = 32 * words - 5
    random = np.random.default_rng(words)
    codes = random.choice([-1, 1] if largest == 1 else np.arange(-2, 3), (19, channels))
    codes[0], codes[1] = largest, -largest
    nodes = linear(spikes(channels), codes)
    bits = random.integers(0, 2, (STEPS, 5, channels))
    bits[:, 0], bits[:, 1] = 1, 0
    assert_all_ways_agree(finished(nodes, fire("fire", nodes[-1], threshold=channels // 3 + 1)), bits)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "largest"), [(258, 127), (259, 127), (2114, 31), (2115, 31), (4, 63)])
def test_sums_of_spikes_up_to_the_end_of_16_bits(loops: str, kind: str, channels: int, largest: int) -> None:
    nodes = linear(spikes(channels), drawn(kind, (9, channels), largest))
    bits = np.random.default_rng(channels).integers(0, 2, (STEPS, 70, channels))
    bits[:, 0], bits[:, 1] = 1, 0
    assert_all_ways_agree(finished(nodes, fire("fire", nodes[-1], threshold=channels * largest // 4)), bits)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (6, 2), (17, 17), (34, 2), (70, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 2), (3, 1)])
def test_windows_of_awkward_sizes(loops: str, channels: int, groups: int, kernel: int, stride: int) -> None:
    """Channels that fill no vector, strides, groups, and batches that fill none either."""
    random = np.random.default_rng(channels)
    codes = random.integers(-7, 7, (3 * groups, channels // groups, kernel, kernel), endpoint=True)
    nodes = convolved(spikes(channels, 5, 4), codes, stride=stride, padding=kernel // 2)
    net = finished(nodes, fire("fire", nodes[-1], threshold=5, bias=1, gain=3, signed=channels == 6))
    for samples in (1, 37):
        assert_all_ways_agree(net, random.integers(0, 2, (STEPS, samples, channels, 5, 4)))


def by_channel(low: int, high: int, channels: int) -> Integers:
    return np.random.default_rng(channels).integers(low, high, (1, channels), endpoint=True)


@pytest.mark.parametrize(("gain", "skip"), [(1, 0), (128, 0), (7, 3), (128, 2451), (1000, -700), (40000, 9), (-3, 0)])
@pytest.mark.parametrize("steps", [3, 7, 8])
def test_neurons_that_count(loops: str, gain: int, skip: int, steps: int) -> None:
    """Neurons without leak whose sums fit into words, with and without a shortcut: enough samples to count them."""
    channels = 17
    nodes = convolved(spikes(channels, 5, 4), drawn("signs", (channels, channels, 3, 3), 5), padding=1)
    sources, gains = ("layer", "sent")[: 1 + bool(skip)], (gain, skip)[: 1 + bool(skip)]
    neuron = replace(
        fire("fire", nodes[-1]),
        sources=sources,
        gains=tuple(np.full((1, 1), g) for g in gains),
        bias=by_channel(-9 * abs(gain), 9 * abs(gain), channels),
        threshold=by_channel(1, 40 * abs(gain), channels),
        initial=by_channel(-20 * abs(gain), 20 * abs(gain), channels)[0],
        fire="ge" if steps % 2 else "gt",
    )
    net = finished(nodes, neuron, steps)
    assert_all_ways_agree(net, np.random.default_rng(steps).integers(0, 2, (steps, 45, channels, 5, 4)))


@pytest.mark.parametrize("kind", ["smallest", "signs"])
@pytest.mark.parametrize("channels", [149, 150, 151])
@pytest.mark.parametrize("skip", [0, -1])
def test_neurons_that_count_to_the_end_of_16_bits(loops: str, kind: str, channels: int, skip: int) -> None:
    """Sums of seven steps that just fit into 16 bits with a sign, or just do not, and limits that no sum reaches."""
    codes = drawn(kind, (channels if skip else 7, channels, 1, 1), 31)
    nodes = convolved(spikes(channels, 4, 5), codes)
    neuron = replace(
        fire("fire", nodes[-1]),
        threshold=by_channel(1, 9000, len(codes)),
        initial=by_channel(-(2**20), 2**20, len(codes))[0] * (kind == "signs"),
    )
    if skip:
        neuron = replace(neuron, sources=("layer", "sent"), gains=(*neuron.gains, np.full((1, 1), skip)))
    bits = np.random.default_rng(channels).integers(0, 2, (7, 30, channels, 4, 5))
    bits[:, 0], bits[:, 1] = 1, 0
    assert_all_ways_agree(finished(nodes, neuron, 7), bits, [Method.TABLE])


@pytest.mark.parametrize("channels", [1, 9, 33])
def test_windows_of_spikes_add_up_to_a_whole_byte(loops: str, channels: int) -> None:
    shape = (channels, 16, 17)
    made = window_shape(shape[1:], (15, 17), (15, 17), (1, 0), (1, 1))
    pool = SumPool(
        id="pool", path="pool", sources=("sent",), shape=(channels, *made), kernel=(15, 17), stride=(15, 17),
        padding=(1, 0),
    )  # fmt: skip
    bits = np.random.default_rng(channels).integers(0, 2, (STEPS, 3, *shape))
    bits[:, 0], bits[:, 1] = 1, 0
    assert_all_ways_agree(finished([*spikes(*shape), pool], fire("fire", pool, threshold=200)), bits, [None])
