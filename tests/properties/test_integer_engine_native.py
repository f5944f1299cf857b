"""The native engine gives the integers of the definition: every method, instruction set, batch, layout and network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from random_networks import (
    TRAINED,
    by_channel,
    counting_neuron,
    parameter,
    random_codes,
    random_network,
    weight,
)
from random_networks import neuron as any_neuron

from bitspike.errors import ConstraintError
from bitspike.integer.engine import Engine, Method
from bitspike.integer.engine.pack import methods
from bitspike.integer.examples import convolution_and_pool, few_bits, one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Concat,
    Convolution,
    CountMaxPool,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weight,
    window_shape,
)
from bitspike.integer.simulate import Trace, simulate
from bitspike.kernels.cpp.loader import SWITCH
from bitspike.kernels.engine.structs import level, library
from bitspike.ops.grids import Grid

neuron = partial(any_neuron, few=False)  # potentials of few bits have no native loop
WAYS: list[Method | None] = [None, Method.DOT, Method.POPCOUNT, Method.EVENTS, Method.TABLE]
LOOPS = {"": 5, "avx512": 4, "avx2": 3, "portable": 1, "plain": 0}


@pytest.fixture(
    params=[name for name, wanted in LOOPS.items() if name in ("", "plain", "portable") or level() >= wanted]
)
def loops(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every set of loops that this machine can run; where there is no library, the engine runs through torch."""
    monkeypatch.setenv(SWITCH, "" if request.param == "plain" else request.param)
    if request.param == "plain":
        monkeypatch.setattr("bitspike.integer.engine.library", lambda: None)
    return str(request.param)


def assert_equal(found: Trace, expected: Trace) -> None:
    for name in expected.spikes:
        assert np.array_equal(found.spikes[name], expected.spikes[name]), name
        assert np.array_equal(found.potentials[name], expected.potentials[name]), name
        assert found.spikes[name].dtype == np.int8
        assert found.potentials[name].dtype == np.int64
    for name in expected.outputs:
        assert np.array_equal(found.outputs[name], expected.outputs[name]), name


def deep_network(random: np.random.Generator, *, largest: int, channels: int) -> IntegerNetwork:
    """A residual network in the shape of those that are run: convolutions, a shortcut, pools, linear layers."""
    steps = int(random.integers(1, 6))
    grid = Grid(1.0, -int(random.integers(0, 2)) * 128, 127)
    nodes: list[Node] = [
        Input(id="input", path="input", shape=(3, 6, 5), grid=grid, constant=bool(random.random() < 0.7))
    ]

    def convolve(
        id: str, source: Node, out: int, kernel: int, stride: int, padding: int, groups: int = 1
    ) -> Convolution:
        made = window_shape(source.shape[1:], (kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1))
        codes = weight(random, (out, source.shape[0] // groups, kernel, kernel), largest=largest)
        node = Convolution(
            id=id, path=id, sources=(source.id,), shape=(out, *made), weight=codes, stride=(stride,) * 2,
            padding=(padding,) * 2, dilation=(1, 1), groups=groups,
        )  # fmt: skip
        nodes.append(node)
        return node

    def fire(id: str, *sources: Node) -> Node:
        nodes.append(neuron(random, id, tuple(s.id for s in sources), sources[0].shape, steps))
        return nodes[-1]

    first = fire("first", convolve("stem", nodes[0], channels, 3, 1, 1))
    inside = fire("inside", convolve("branch", first, channels, 3, 1, 1))
    joined = fire("joined", convolve("back", inside, channels, 3, 1, 1), first)
    down = convolve("down", joined, 2 * channels, 3, 2, 1, groups=2 if channels % 2 == 0 else 1)
    shortcut = convolve("shortcut", joined, 2 * channels, 1, 2, 0)
    last = fire("last", down, shortcut)
    pool = random.choice([MaxPool, SumPool, *([] if last.signed else [CountMaxPool])])
    made = window_shape(last.shape[1:], (2, 2), (2, 2), (1, 1), (1, 1))
    nodes.append(
        pool(
            id="pool",
            path="pool",
            sources=("last",),
            shape=(2 * channels, *made),
            kernel=(2, 2),
            stride=(2, 2),
            padding=(1, 1),
        )
    )
    size = 2 * channels * int(np.prod(made))
    nodes.append(Reshape(id="flat", path="flat", sources=("pool",), shape=(size,)))
    hidden = Linear(
        id="hidden", path="hidden", sources=("flat",), shape=(20,), weight=weight(random, (20, size), largest=largest)
    )
    nodes.append(hidden)
    spiking = fire("spiking", hidden)
    nodes.append(Linear(id="head", path="head", sources=(spiking.id,), shape=(4,), weight=weight(random, (4, 20))))
    gain, bias = parameter(random, steps, 4, -3, 3), parameter(random, steps, 4, -5, 5)
    nodes.append(Readout(id="out", path="out", sources=("head",), shape=(4,), gains=(gain,), bias=bias))
    return IntegerNetwork(steps, tuple(nodes))


def test_every_way_gives_the_integers_of_the_definition(loops: str) -> None:
    seen: Counter[str] = Counter()
    for seed in range(60):
        random = np.random.default_rng(seed)
        net = random_network(random, kinds=TRAINED if seed % 3 == 0 else (*TRAINED, "concat", "counts"), few=False)
        codes = random_codes(random, net, samples=int(random.choice([0, 1, 3, 40])), extreme=seed % 7 == 0)
        expected = simulate(net, codes)
        for method in WAYS if seed % 3 == 0 else [WAYS[seed % len(WAYS)]]:
            engine = Engine(net, method=method)
            seen["native" if engine.native else "torch"] += 1
            assert_equal(engine.run(codes), expected)
            found = engine.predict(codes)
            assert all(np.array_equal(found[id], value) for id, value in expected.outputs.items())
    if library() is not None and loops != "plain":
        assert seen["native"] > 40, "the networks are too wild for the native engine"


@pytest.mark.parametrize("channels", [1, 6, 7, 16, 33])
@pytest.mark.parametrize("largest", [1, 7, 31, 127])
def test_every_way_runs_residual_networks(loops: str, channels: int, largest: int) -> None:
    random = np.random.default_rng(channels * 1000 + largest)
    for samples in (1, 5, 70):
        net = deep_network(random, largest=largest, channels=channels)
        codes = random_codes(random, net, samples=samples)
        expected = simulate(net, codes)
        for method in WAYS:
            engine = Engine(net, method=method)
            assert engine.native == (library() is not None and loops != "plain"), engine.reason
            assert_equal(engine.run(codes), expected)


@pytest.mark.parametrize("gain", [1, 37, 900])
def test_identity_skips_of_any_gain_run_natively(loops: str, gain: int) -> None:
    """A neuron that reads a convolution and, gain times, the spikes next to it: the end of a residual block."""
    random = np.random.default_rng(gain)
    net = deep_network(random, largest=7, channels=8)
    one = np.ones((1, 1), np.int64)
    nodes = [
        type(n)(**vars(n) | {"gains": (one, gain * one), "threshold": 2 * gain * one, "width": None})
        if n.id == "joined"
        else n
        for n in net.nodes
    ]
    net = IntegerNetwork(net.steps, tuple(nodes))
    codes = random_codes(random, net, samples=70)
    expected = simulate(net, codes)
    for method in WAYS:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None and loops != "plain"), engine.reason
        assert_equal(engine.run(codes), expected)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_layers_that_read_a_concatenation_run_natively(loops: str, flat: bool, groups: int) -> None:
    """conv(cat(a, b, c)) = conv_a(a) + conv_b(b) + conv_c(c), for grouped kernels and after a flattening too."""
    random = np.random.default_rng(groups)
    steps = 4
    first = Input(id="input", path="input", shape=(6, 4, 4), grid=Grid(1.0, 0, 15), constant=False)
    a, b = (neuron(random, id, ("input",), (6, 4, 4), steps) for id in "ab")
    pool = SumPool(id="c", path="c", sources=("b",), shape=(6, 4, 4), kernel=(1, 1), stride=(1, 1), padding=(0, 0))
    inner = Concat(id="inner", path="inner", sources=("a", "b"), shape=(12, 4, 4))
    both = Concat(id="both", path="both", sources=("inner", "c"), shape=(18, 4, 4))
    nodes: list[Node] = [first, a, b, pool, inner, both]
    if flat:
        nodes.append(Reshape(id="flat", path="flat", sources=("both",), shape=(288,)))
        nodes.append(Linear(id="layer", path="layer", sources=("flat",), shape=(10,), weight=weight(random, (10, 288))))
    else:
        nodes.append(
            Convolution(
                id="layer", path="layer", sources=("both",), shape=(4, 4, 4), stride=(1, 1), padding=(1, 1),
                dilation=(1, 1), groups=groups, weight=weight(random, (4, 18 // groups, 3, 3)),
            )
        )  # fmt: skip
    nodes.append(neuron(random, "fire", ("layer",), nodes[-1].shape, steps))
    gain, bias = parameter(random, steps, nodes[-1].shape[0], -3, 3), parameter(random, steps, 1, -5, 5)
    nodes.append(Readout(id="out", path="out", sources=("fire",), shape=nodes[-1].shape, gains=(gain,), bias=bias))
    net = IntegerNetwork(steps, tuple(nodes))
    codes = random_codes(random, net, samples=33)
    expected = simulate(net, codes)
    for method in WAYS:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None and loops != "plain"), engine.reason
        assert_equal(engine.run(codes), expected)


def moves_in_front(kind: str) -> tuple[list[Node], tuple[int, ...]]:
    """Return nodes between two neurons ``a`` and ``b`` of [6, 4, 4] and a layer, and the shape that they end in."""
    shape = (6, 4, 4)
    a = {"sources": ("a",), "shape": shape}
    shuffled = [
        Reshape(id="apart", path="apart", sources=("a",), shape=(2, 3, 4, 4)),
        Transpose(id="turned", path="turned", sources=("apart",), shape=(3, 2, 4, 4), axes=(1, 0, 2, 3)),
        Reshape(id="moved", path="moved", sources=("turned",), shape=shape),
    ]
    line = Reshape(id="line", path="line", sources=("a",), shape=(1, 96))
    match kind:
        case "slice":
            return [Slice(id="moved", path="moved", sources=("a",), shape=(3, 4, 4), start=2, stop=5)], (3, 4, 4)
        case "shuffle":
            return shuffled, shape
        case "shuffled parts":
            part = Slice(id="part", path="part", sources=("moved",), shape=(4, 4, 4), start=1, stop=5)
            both = Concat(id="both", path="both", sources=("part", "b", "part"), shape=(14, 4, 4))
            return [*shuffled, part, both], (14, 4, 4)
        case "channels of zeros":
            pad = Pad(id="pad", path="pad", sources=("line",), shape=(1, 144), before=(16,), after=(32,))
            return [line, pad, Reshape(id="moved", path="moved", sources=("pad",), shape=(9, 4, 4))], (9, 4, 4)
        case "zeros before":
            return [Pad(id="moved", path="moved", **a | {"shape": (6, 7, 5)}, before=(2, 1), after=(1, 0))], (6, 7, 5)
        case "zeros behind":
            return [Pad(id="moved", path="moved", **a | {"shape": (6, 5, 7)}, before=(0, 1), after=(1, 2))], (6, 5, 7)
    assert kind == "places"
    large = Upsample(id="large", path="large", sources=("a",), shape=(6, 8, 4), factors=(2, 1))
    turned = Transpose(id="turned", path="turned", sources=("large",), shape=(4, 6, 8), axes=(2, 0, 1))
    cut = Slice(id="cut", path="cut", sources=("turned",), shape=(3, 6, 8), start=1, stop=4)
    return [large, turned, cut], (3, 6, 8)


MOVED = ["slice", "shuffle", "shuffled parts", "channels of zeros", "zeros before", "zeros behind", "places"]


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", MOVED)
def test_layers_behind_moves_run_natively(loops: str, kind: str, flat: bool) -> None:
    """Slices, joins, shuffles and zeros are folded into the codes; of a linear layer any moves are."""
    random = np.random.default_rng(MOVED.index(kind))
    steps = 4
    first = Input(id="input", path="input", shape=(6, 4, 4), grid=Grid(1.0, 0, 15), constant=False)
    a, b = (neuron(random, id, ("input",), (6, 4, 4), steps) for id in "ab")
    moved, shape = moves_in_front(kind)
    nodes: list[Node] = [first, a, b, *moved]
    last = nodes[-1].id
    if flat:
        size = int(np.prod(shape))
        nodes.append(Reshape(id="flat", path="flat", sources=(last,), shape=(size,)))
        codes = weight(random, (10, size), largest=20)
        nodes.append(Linear(id="layer", path="layer", sources=("flat",), shape=(10,), weight=codes))
    else:
        out = window_shape(shape[1:], (3, 3), (2, 1), (1, 1), (1, 1))
        nodes.append(
            Convolution(
                id="layer", path="layer", sources=(last,), shape=(4, *out), stride=(2, 1), padding=(1, 1),
                dilation=(1, 1), groups=1, weight=weight(random, (4, shape[0], 3, 3), largest=20),
            )
        )  # fmt: skip
    nodes.append(neuron(random, "fire", ("layer",), nodes[-1].shape, steps))
    gain, bias = parameter(random, steps, nodes[-1].shape[0], -3, 3), parameter(random, steps, 1, -5, 5)
    nodes.append(Readout(id="out", path="out", sources=("fire",), shape=nodes[-1].shape, gains=(gain,), bias=bias))
    net = IntegerNetwork(steps, tuple(nodes))
    codes = random_codes(random, net, samples=33)
    expected = simulate(net, codes)
    for method in WAYS:
        engine = Engine(net, method=method)
        native = library() is not None and loops != "plain" and (flat or kind != "places")
        assert engine.native == native, engine.reason
        assert_equal(engine.run(codes), expected)


@pytest.mark.parametrize("kind", ["shuffle", "channels of zeros"])
def test_neurons_read_moved_channels_natively(loops: str, kind: str) -> None:
    random = np.random.default_rng(0)
    steps = 4
    first = Input(id="input", path="input", shape=(6, 4, 4), grid=Grid(1.0, 0, 15), constant=False)
    a, b = (neuron(random, id, ("input",), (6, 4, 4), steps) for id in "ab")
    moved, shape = moves_in_front(kind)
    fire = neuron(random, "fire", ("moved",), shape, steps)
    gain, bias = parameter(random, steps, shape[0], -3, 3), parameter(random, steps, 1, -5, 5)
    out = Readout(id="out", path="out", sources=("fire",), shape=shape, gains=(gain,), bias=bias)
    net = IntegerNetwork(steps, (first, a, b, *moved, fire, out))
    codes = random_codes(random, net, samples=5)
    for method in WAYS:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None and loops != "plain"), engine.reason
        assert_equal(engine.run(codes), simulate(net, codes))


def test_what_has_no_fused_step_runs_through_torch_and_is_named() -> None:
    image, _, fire, *end = one_convolution().nodes
    weight = Weight(codes=np.ones((1, 1, 3, 3), np.int64), step=np.ones(1), bits=2, low=-1, high=1)
    ones = (1, 1)
    spread = TransposedConvolution(
        id="transposed", path="transposed", sources=("input",), shape=(1, 4, 4), weight=weight, stride=ones,
        padding=ones, output_padding=(0, 0), dilation=ones,
    )  # fmt: skip
    net = IntegerNetwork(4, (image, spread, replace(fire, sources=("transposed",)), *end))
    engine = Engine(net)
    codes = random_codes(np.random.default_rng(0), net, samples=9)
    assert_equal(engine.run(codes), simulate(net, codes))
    if library() is not None:
        assert not engine.native
        assert engine.reason == "transposed: a TransposedConvolution has no fused step"


def test_batches_of_all_sizes_in_any_order_and_fewer_steps() -> None:
    random = np.random.default_rng(0)
    net = deep_network(random, largest=7, channels=8)
    engine = Engine(net, chunk=16)
    codes = random_codes(random, net, samples=50)
    expected = simulate(net, codes)
    for first, last in ((0, 50), (0, 1), (7, 24), (0, 16), (49, 50), (0, 50), (3, 3), (0, 33), (0, 17), (5, 13)):
        assert np.array_equal(engine.predict(codes[:, first:last])["out"], expected.outputs["out"][first:last])
    steps = max(1, net.steps - 1)
    some = codes if net.input.constant else codes[:steps]
    assert_equal(engine.run(some, steps=steps), simulate(net, some, steps=steps))
    assert_equal(engine.run(codes), expected)


def test_one_thread_and_two_give_the_same() -> None:
    random = np.random.default_rng(1)
    net = deep_network(random, largest=7, channels=20)
    codes = random_codes(random, net, samples=33)
    for method in WAYS:
        assert_equal(Engine(net, threads=2, method=method).run(codes), Engine(net, threads=1, method=method).run(codes))


def test_the_fastest_method_is_chosen_by_measurement() -> None:
    net = deep_network(np.random.default_rng(2), largest=7, channels=16)
    engine = Engine(net)
    assert engine.timings == ()
    engine.predict(random_codes(np.random.default_rng(2), net, samples=40))
    if not engine.native:
        return
    assert {t.layer for t in engine.timings} >= {"stem", "branch", "back", "down", "hidden", "head"}
    raced = [t for t in engine.timings if t.seconds]
    for timing in raced:
        if timing.layer != "shortcut":  # it stays in the family of the layer that it is added to
            assert timing.seconds[timing.method] == min(timing.seconds.values()), timing


@pytest.mark.parametrize(
    ("low", "high", "left_out"),
    [(-1, 1, set()), (-127, 127, {"EVENTS", "TABLE"}), (0, 0, set()), (5, 5, set()), (-128, -128, {"EVENTS", "TABLE"})],
)
def test_a_method_is_offered_where_it_is_exact(low: int, high: int, left_out: set[str]) -> None:
    codes = np.random.default_rng(0).integers(low, high, (4, 64, 3, 3), endpoint=True).astype(np.int8)
    codes.flat[0], codes.flat[1] = low, high
    if library() is None:
        return
    tables = {"TABLE"} if level() >= 3 else set()
    found = {m.name for m in methods(codes, binary=True)}
    assert found == ({"DOT", "POPCOUNT", "EVENTS"} | tables) - left_out
    assert [m.name for m in methods(codes, binary=False)] == ["DOT"]


def huge(what: str) -> IntegerNetwork:
    """One convolution and neuron with something that is too large for the native engine."""
    net = one_convolution()
    entry, conv, fire, *rest = net.nodes
    assert isinstance(entry, Input)
    assert isinstance(conv, Convolution)
    if what == "a code":
        conv = Convolution(
            **vars(conv)
            | {"weight": Weight(codes=conv.weight.codes * 200, step=np.ones(1), bits=9, low=-200, high=200)}
        )
    elif what == "an input":
        entry = Input(**vars(entry) | {"grid": Grid(1.0, 0, 300)})
    elif what == "a potential":
        fire = type(fire)(**vars(fire) | {"threshold": np.full((1, 1), 2**31)})
    elif what == "a membrane":
        return few_bits(bits=2, shift=1)
    return IntegerNetwork(net.steps, (entry, conv, fire, *rest))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("a code", "weight codes from 0 to 200"),
        ("an input", "its integers reach from 0 to 300"),
        ("a potential", "more than 32 bits hold"),
        ("a membrane", "it keeps its potential in 2 bits"),
    ],
)
def test_what_does_not_fit_runs_through_torch_and_says_why(what: str, reason: str) -> None:
    net = huge(what)
    engine = Engine(net)
    codes = np.full((1, 2, 1, 4, 4), 5)
    assert_equal(engine.run(codes), simulate(net, codes))
    if library() is not None:
        assert not engine.native
        assert reason in engine.reason


def test_codes_that_are_not_the_inputs_are_refused() -> None:
    engine = Engine(convolution_and_pool())
    with pytest.raises(ConstraintError, match="needed is"):
        engine.predict(np.zeros((1, 4, 4), np.int64))
    with pytest.raises(ConstraintError, match="the grid from 0 to 8"):
        engine.predict(np.full((1, 1, 1, 4, 4), 9))


def test_by_channel_parameters_are_those_of_the_channel() -> None:
    """Seventeen channels with a threshold of their own: two vectors of sixteen, one of them nearly empty."""
    random = np.random.default_rng(3)
    entry = Input(id="input", path="input", shape=(17,), grid=Grid(1.0, 0, 9))
    identity = Weight(codes=np.eye(17, dtype=np.int64), step=np.ones(1), bits=2, low=-1, high=1)
    linear = Linear(id="linear", path="linear", sources=("input",), shape=(17,), weight=identity)
    fire = neuron(random, "fire", ("linear",), (17,), 4)
    fire = type(fire)(**vars(fire) | {"threshold": np.arange(1, 18)[None], "v_reset": by_channel(random, 17, -2, 2)})
    out = Readout(
        id="out",
        path="out",
        sources=("fire",),
        shape=(17,),
        gains=(np.ones((1, 1), np.int64),),
        bias=np.zeros((1, 1), np.int64),
    )
    net = IntegerNetwork(4, (entry, linear, fire, out))
    codes = random_codes(random, net, samples=35)
    for method in WAYS:
        assert_equal(Engine(net, method=method).run(codes), simulate(net, codes))


def test_channels_that_fill_a_row_up_never_fire(loops: str) -> None:
    """A charge of 2**20 at each of 2049 steps adds up to 2**31 - 1 where no spike takes any of it away."""
    channels, charge, one = 17, 2**20, np.ones((1, 1), np.int64)
    codes = np.random.default_rng(0).integers(-7, 7, (channels, channels), endpoint=True)
    silent = Weight(codes=np.zeros((channels, 2), np.int64), step=np.ones(1), bits=4, low=-7, high=7)
    mixed = Weight(codes=codes, step=np.ones(1), bits=4, low=-7, high=7)
    net = IntegerNetwork(
        2049,
        (
            Input(id="input", path="input", shape=(2,), grid=Grid(1.0, 0, 15)),
            Linear(id="linear", path="linear", sources=("input",), shape=(channels,), weight=silent),
            Neuron(
                id="fire", path="fire", sources=("linear",), shape=(channels,), gains=(one,), bias=charge * one,
                threshold=charge * one, initial=np.full(1, charge - 1), unit=np.ones(1),
            ),
            Linear(id="head", path="head", sources=("fire",), shape=(channels,), weight=mixed),
            Readout(id="out", path="out", sources=("head",), shape=(channels,), gains=(one,), bias=0 * one),
        ),
    )  # fmt: skip
    entered = np.ones((1, 3, 2), np.int64)
    for method in WAYS:
        engine = Engine(net, method=method)
        assert engine.native == (library() is not None and loops != "plain"), engine.reason
        assert_equal(engine.run(entered), simulate(net, entered))


@pytest.mark.parametrize("channels", [1, 33, 70])
@pytest.mark.parametrize("padding", [0, 1])
def test_pools_of_counts_run_natively(loops: str, channels: int, padding: int) -> None:
    """Overlapping windows, a pool of a pool, layers and neurons after them; every number of samples."""
    random = np.random.default_rng(channels)
    steps = 6
    entry = Input(id="input", path="input", shape=(channels, 7, 6), grid=Grid(1.0, 0, 15), constant=channels == 1)
    first = counting_neuron(random, "first", ("input",), (channels, 7, 6), steps)
    made = window_shape((7, 6), (3, 3), (2, 2), (padding,) * 2, (1, 1))
    nodes: list[Node] = [entry, first]
    for id, source, shape, kernel, stride in (("a", "first", made, 3, 2), ("b", "a", made, 1, 1)):
        nodes.append(
            CountMaxPool(
                id=id, path=id, sources=(source,), shape=(channels, *shape), kernel=(kernel,) * 2, stride=(stride,) * 2,
                padding=(padding,) * 2 if id == "a" else (0, 0),
            )
        )  # fmt: skip
    plain = MaxPool(
        id="c", path="c", sources=("b",), shape=(channels, *made), kernel=(1, 1), stride=(1, 1), padding=(0, 0)
    )
    codes = weight(random, (5, channels, 2, 2))
    shape = (5, *window_shape(made, (2, 2), (1, 1), (1, 1), (1, 1)))
    layer = Convolution(
        id="layer",
        path="layer",
        sources=("c",),
        shape=shape,
        weight=codes,
        stride=(1, 1),
        padding=(1, 1),
        dilation=(1, 1),
    )
    nodes += [plain, layer, neuron(random, "second", ("layer",), shape, steps)]
    one = np.ones((1, 1), np.int64)
    for id, source in (("out", "second"), ("pooled", "b")):
        of = next(n for n in nodes if n.id == source)
        nodes.append(Readout(id=id, path=id, sources=(source,), shape=of.shape, gains=(one,), bias=0 * one))
    net = IntegerNetwork(steps, tuple(nodes))
    for samples in (1, 5, 70):
        codes_in = random_codes(random, net, samples=samples)
        expected = simulate(net, codes_in)
        assert expected.spikes["first"].any()
        for method in WAYS:
            engine = Engine(net, method=method)
            assert engine.native == (library() is not None and loops != "plain"), engine.reason
            assert_equal(engine.run(codes_in), expected)


def test_counts_of_anything_but_spikes_run_through_torch() -> None:
    net = one_convolution()
    pool = CountMaxPool(
        id="pool", path="pool", sources=("input",), shape=(1, 4, 4), kernel=(1, 1), stride=(1, 1), padding=(0, 0)
    )
    entry, conv, *rest = net.nodes
    assert isinstance(conv, Convolution)
    net = IntegerNetwork(net.steps, (entry, pool, Convolution(**vars(conv) | {"sources": ("pool",)}), *rest))
    codes = random_codes(np.random.default_rng(0), net, samples=3)
    assert_equal(Engine(net).run(codes), simulate(net, codes))
    if library() is not None:
        assert "it counts other things than the spikes" in Engine(net).reason
