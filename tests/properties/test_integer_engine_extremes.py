"""Sums as large as the native engine's bytes and words hold, and one more: each method equals the definition."""

from __future__ import annotations

import numpy as np
import pytest

from bitspike.integer.engine import Engine, Method
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Input, Integers, Linear, Neuron, Node, Readout, Weight, window_shape
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


def finished(nodes: list[Node], neuron: Neuron) -> IntegerNetwork:
    ones = np.ones((1, 1), np.int64)
    out = Readout(id="out", path="out", sources=(neuron.id,), shape=neuron.shape, gains=(ones,), bias=0 * ones)
    return IntegerNetwork(STEPS, (*nodes, neuron, out))


def assert_all_ways_agree(net: IntegerNetwork, codes: Integers) -> None:
    expected = simulate(net, codes)
    for method in WAYS:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None), engine.reason
        found = engine.run(codes)
        for id, potentials in expected.potentials.items():
            assert np.array_equal(found.potentials[id], potentials), (method, id)
            assert np.array_equal(found.spikes[id], expected.spikes[id]), (method, id)
        for id, value in expected.outputs.items():
            assert np.array_equal(engine.predict(codes)[id], value), (method, id)


def drawn(kind: str, shape: tuple[int, ...], largest: int) -> Integers:
    """Return codes that are all as large as can be, or signs at random, or a run of one sign after one of the other."""
    random = np.random.default_rng(len(kind))
    if kind == "largest":
        return np.full(shape, largest)
    if kind == "smallest":
        return np.full(shape, -largest - (largest == 127))
    if kind == "runs":
        return np.where(np.arange(np.prod(shape)).reshape(shape) % 128 < 64, largest, -largest)
    return random.choice([-largest, largest], shape)


KINDS = ["largest", "smallest", "runs", "signs"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127), (0, 3), (0, 129), (-1, 1)])
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


@pytest.mark.parametrize("words", [1, 7, 8, 9, 31, 247, 248, 249, 505])
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
@pytest.mark.parametrize(
    ("channels", "largest"), [(258, 127), (259, 127), (516, 127), (2114, 31), (2115, 31), (40, 127), (4, 63)]
)
def test_sums_of_spikes_up_to_the_end_of_16_bits(loops: str, kind: str, channels: int, largest: int) -> None:
    nodes = linear(spikes(channels), drawn(kind, (9, channels), largest))
    bits = np.random.default_rng(channels).integers(0, 2, (STEPS, 70, channels))
    bits[:, 0], bits[:, 1] = 1, 0
    assert_all_ways_agree(finished(nodes, fire("fire", nodes[-1], threshold=channels * largest // 4)), bits)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (6, 2), (17, 17), (34, 2), (70, 1)])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2)])
def test_windows_of_awkward_sizes(loops: str, channels: int, groups: int, kernel: int, stride: int) -> None:
    """Channels that fill no vector, strides, groups, and batches that fill none either."""
    random = np.random.default_rng(channels)
    codes = random.integers(-7, 7, (3 * groups, channels // groups, kernel, kernel), endpoint=True)
    nodes = convolved(spikes(channels, 5, 4), codes, stride=stride, padding=kernel // 2)
    net = finished(nodes, fire("fire", nodes[-1], threshold=5, bias=1, gain=3, signed=channels == 6))
    for samples in (1, 37):
        assert_all_ways_agree(net, random.integers(0, 2, (STEPS, samples, channels, 5, 4)))
