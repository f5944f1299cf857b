"""NIR files give the simulator's spikes, to an interpreter of the file and to ourselves; what NIR lacks is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import nir
import numpy as np
import pytest
from nir_runs import run_file
from random_networks import Random, neuron, random_codes, random_network, weight

from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.nir.graph import graph_entries
from bitspike.formats.nir.support import HELD, REFUSED
from bitspike.formats.nir.write import read_nir, write_nir
from bitspike.integer import nodes
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Concat,
    Convolution,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    SumPool,
)
from bitspike.integer.simulate import Trace, simulate
from bitspike.ops.grids import Grid

ONE = np.ones((1, 1), np.int64)
KINDS = ("convolution", "sum", "add", "neuron", "neuron", "transposed", "concat", "slice")


def still(node: Node) -> Node:
    """Return a node without what NIR cannot say: changes over time, signs, shifts."""
    if isinstance(node, Add):
        return replace(node, gains=tuple(gain[:1] for gain in node.gains))
    if isinstance(node, Readout):
        return replace(node, gains=tuple(gain[:1] for gain in node.gains), bias=node.bias[:1])
    if isinstance(node, Neuron):
        gains = tuple(gain[:1] for gain in node.gains)
        fixed = {"gains": gains, "bias": node.bias[:1], "threshold": node.threshold[:1]}
        return replace(node, **fixed, signed=False, right_shift=0)
    return node


def sayable(seed: int) -> IntegerNetwork | None:
    """Return a random network of NIR's kinds, or None where its shapes are beyond NIR."""
    net = random_network(np.random.default_rng(seed), kinds=KINDS)
    net = replace(net, nodes=tuple(still(node) for node in net.nodes))
    return None if graph_entries(net).problems else net


def assert_same(spikes: dict[str, np.ndarray], outputs: dict[str, np.ndarray], wanted: Trace) -> None:
    assert spikes.keys() == wanted.spikes.keys()
    assert outputs.keys() == wanted.outputs.keys()
    for found, whole in ((spikes, wanted.spikes), (outputs, wanted.outputs)):
        for name, value in whole.items():
            # What stands after a matrix is a vector in the file.
            assert np.array_equal(found[name].reshape(value.shape), value), name


@pytest.mark.parametrize("block", range(4))
def test_random_networks_are_the_same_in_the_file_and_read_back(block: int, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in range(block * 40, block * 40 + 40):
        net = sayable(seed)
        if net is None:
            continue
        codes = random_codes(np.random.default_rng(seed), net, samples=2)
        wanted = simulate(net, codes)
        path = write_nir(net, tmp_path / "net.nir")
        assert_same(*run_file(path, codes), wanted)
        again = simulate(read_nir(path), codes)
        assert_same(again.spikes, again.outputs, wanted)
        seen.update(type(node).__name__ for node in net.nodes)
        seen["net"] += 1
    assert seen["net"] > 10
    assert {"Convolution", "SumPool", "Add", "Concat", "Slice", "TransposedConvolution"} <= set(seen)


def with_units(net: IntegerNetwork, random: Random, *, dyadic: bool) -> IntegerNetwork:
    """Return a network whose potentials and outputs are worth something else in every channel."""

    def drawn(node: Node) -> np.ndarray:
        size = int(random.choice([1, node.shape[0]]))
        return 2.0 ** random.integers(-9, 4, size) if dyadic else random.uniform(0.01, 3, size)

    nodes = list(net.nodes)
    for k, node in enumerate(nodes):
        if isinstance(node, Neuron):
            nodes[k] = replace(node, unit=drawn(node))
        elif isinstance(node, Readout):
            nodes[k] = replace(node, scale=drawn(node))
    return replace(net, nodes=tuple(nodes))


@pytest.mark.parametrize("block", range(2))
def test_real_units_give_the_same_spikes_and_real_outputs(block: int, tmp_path: Path) -> None:
    """Powers of two are exact to every reader; other units are told apart when we read them back."""
    seen = 0
    for seed in range(block * 20, block * 20 + 20):
        if (plain := sayable(seed)) is None:
            continue
        random = np.random.default_rng(seed)
        codes = random_codes(random, plain, samples=2)
        for dyadic in (True, False):
            net = with_units(plain, random, dyadic=dyadic)
            if graph_entries(net, units="real").problems:
                continue
            wanted = simulate(net, codes)
            path = write_nir(net, tmp_path / "net.nir", units="real")
            back = read_nir(path)
            again = simulate(back, codes)
            assert_same(again.spikes, again.outputs, wanted)
            for node in net.neurons:
                found = back[node.id]
                assert isinstance(found, Neuron)
                places = len(found.unit) // len(node.unit)
                assert np.array_equal(found.unit, np.repeat(node.unit, places)), node.id
            facts = nir.read(path, type_check=False).metadata
            assert facts["snn.exact"] == int(dyadic)
            if not dyadic:
                continue
            spikes, outputs = run_file(path, codes)
            for name, value in wanted.spikes.items():
                assert np.array_equal(spikes[name].reshape(value.shape), value), name
            for node in net.outputs:
                value = wanted.outputs[node.id]
                scale = node.scale.reshape(-1, *[1] * (len(node.shape) - 1))
                assert np.array_equal(outputs[node.id].reshape(value.shape), value * scale), node.id
            seen += 1
    assert seen > 2


def test_real_units_are_the_values_of_the_trained_network(tmp_path: Path) -> None:
    net = lenet(np.random.default_rng(4))
    graph = nir.read(write_nir(net, tmp_path / "net.nir", units="real"), type_check=False)
    conv, fire = net["conv1"], net["if1"]
    assert isinstance(conv, Convolution)
    assert isinstance(fire, Neuron)
    assert np.array_equal(graph.nodes["conv1"].weight, conv.weight.codes * 0.5)
    assert np.array_equal(graph.nodes["conv1"].bias, fire.bias[0] * 0.5)
    assert np.array_equal(graph.nodes["if1"].v_threshold[:, 0, 0], fire.threshold[0] * 0.5)
    assert graph.metadata["snn.units"] == "real"
    with pytest.raises(ConstraintError, match="units='volts': allowed are integer, real"):
        write_nir(net, tmp_path / "net.nir", units="volts")  # type: ignore[arg-type]


def test_a_real_value_that_does_not_tell_its_integer_is_refused(tmp_path: Path) -> None:
    net = with_units(one_convolution(threshold=2**24 - 1), np.random.default_rng(0), dyadic=False)
    with pytest.raises(ExportError, match=r"neuron.*threshold of 16777215"):
        write_nir(net, tmp_path / "net.nir", units="real")


def lenet(random: Random, *, initial: int = 0) -> IntegerNetwork:
    """Conv - IF - sum pool - conv - IF - sum pool - flatten - linear - read-out, with biases."""
    nodes: list[Node] = [Input(id="input", path="input", shape=(1, 12, 12), grid=Grid(1 / 15, 0, 15))]

    def add(kind: type[Node], id: str, shape: tuple[int, ...], **more: object) -> None:
        nodes.append(kind(id=id, path=f"features.{id}", sources=(nodes[-1].id,), shape=shape, **more))  # type: ignore[call-arg]

    def fire(id: str, threshold: int) -> None:
        shape = nodes[-1].shape
        bias = random.integers(-5, 6, (1, shape[0]))
        theta = threshold + random.integers(0, 9, (1, shape[0]))
        start = np.full(1, initial)
        add(Neuron, id, shape, gains=(ONE,), bias=bias, threshold=theta, initial=start, unit=np.full(1, 0.5))

    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    add(Convolution, "conv1", (6, 12, 12), weight=weight(random, (6, 1, 3, 3)), **window)
    fire("if1", 90)
    add(SumPool, "pool1", (6, 6, 6), **pool)
    add(Convolution, "conv2", (8, 6, 6), weight=weight(random, (8, 6, 3, 3)), **window)
    fire("if2", 60)
    add(SumPool, "pool2", (8, 3, 3), **pool)
    add(Reshape, "flat", (72,))
    add(Linear, "fc", (10,), weight=weight(random, (10, 72)))
    add(Readout, "out", (10,), gains=(ONE,), bias=random.integers(-3, 4, (1, 10)), scale=np.full(1, 0.125))
    return IntegerNetwork(8, tuple(nodes))


def test_convert_check_15_a_lenet_like_file_has_all_shapes_and_a_subtract_reset_reader_gives_our_counts(
    tmp_path: Path,
) -> None:
    random = np.random.default_rng(0)
    net = lenet(random)
    path = write_nir(net, tmp_path / "net.nir")
    graph = nir.read(path, type_check=False)
    kinds = Counter(type(node).__name__ for node in graph.nodes.values())
    assert kinds == {"Input": 1, "Conv2d": 2, "IF": 2, "SumPool2d": 2, "Flatten": 1, "Affine": 1, "Output": 1}
    for name, node in graph.nodes.items():
        if type(node).__name__ == "Conv2d":
            assert len(node.input_shape) == 2, name
            assert node.bias.shape == (len(node.weight),), name
        if type(node).__name__ == "IF":
            assert node.v_threshold.shape == node.r.shape == node.v_reset.shape == net[name].shape
    if any(v is None for n in graph.nodes.values() for v in [*n.input_type.values(), *n.output_type.values()]):
        graph.infer_types()  # versions that do not store the shapes of pools
    for name, node in graph.nodes.items():
        assert all(v is not None for v in [*node.input_type.values(), *node.output_type.values()]), name
    assert graph.check_types()
    codes = random_codes(random, net, samples=5)
    wanted = simulate(net, codes)
    spikes, outputs = run_file(path, codes)
    assert_same(spikes, outputs, wanted)
    assert {0, 1} == {int(s) for s in np.unique(wanted.spikes["if2"])}


def test_convert_check_15_a_net_with_max_pool_is_refused_with_the_node_named(tmp_path: Path) -> None:
    net = lenet(np.random.default_rng(0))
    window = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0)}
    nodes = tuple(
        MaxPool(id=n.id, path=n.path, sources=n.sources, shape=n.shape, **window) if isinstance(n, SumPool) else n
        for n in net.nodes
    )
    with pytest.raises(ExportError, match=r"(?s)2 of 10 nodes.*features.pool1 .*no maximum.*features.pool2 ") as caught:
        write_nir(replace(net, nodes=nodes), tmp_path / "net.nir")
    assert "write_onnx" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_everything_that_decides_a_spike_and_every_scale_comes_back(tmp_path: Path) -> None:
    net = lenet(np.random.default_rng(3), initial=7)
    again = read_nir(write_nir(net, tmp_path / "net.nir"))
    assert again.steps == net.steps
    assert [(type(n), n.id, n.path, n.sources, n.shape) for n in again.nodes] == [
        (type(n), n.id, n.path, n.sources, n.shape) for n in net.nodes
    ]
    for a, b in zip(again.nodes, net.nodes, strict=True):
        assert np.array_equal(a.scale, b.scale)
        if isinstance(a, Neuron) and isinstance(b, Neuron):
            assert np.array_equal(a.bias, b.bias)
            assert np.array_equal(a.threshold, b.threshold)
            assert (a.initial, a.unit, a.fire, a.reset) == (b.initial, b.unit, b.fire, b.reset)
        if isinstance(a, Convolution | Linear) and isinstance(b, Convolution | Linear):
            assert np.array_equal(a.weight.codes, b.weight.codes)
            assert (a.weight.bits, a.weight.low, a.weight.high) == (b.weight.bits, b.weight.low, b.weight.high)
    assert again.input.grid == net.input.grid


def test_a_residual_sum_is_two_edges_into_one_neuron(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    shape = (2, 5, 5)
    nodes = (
        Input(id="input", path="input", shape=shape, grid=Grid(1.0, 0, 1), constant=False),
        Convolution(
            id="conv", path="conv", sources=("input",), shape=shape, weight=weight(random, (2, 2, 3, 3)), **window
        ),
        still(replace(neuron(random, "sum", ("conv", "input"), shape, 4), gains=(ONE, ONE))),
        Readout(id="out", path="out", sources=("sum",), shape=shape, gains=(ONE,), bias=0 * ONE),
    )  # fmt: skip
    graph = nir.read(write_nir(IntegerNetwork(4, nodes), tmp_path / "net.nir"), type_check=False)
    assert sorted(graph.edges) == [("conv", "sum"), ("input", "conv"), ("input", "sum"), ("sum", "out")]


def test_a_concatenation_is_slices_of_the_weights_that_read_it(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    window = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
    a, b = (still(neuron(random, name, ("input",), (2, 3, 3), 4)) for name in "ab")
    conv = Convolution(
        id="conv", path="conv", sources=("cat",), shape=(3, 2, 2), weight=weight(random, (3, 4, 2, 2)), **window
    )
    nodes = (
        Input(id="input", path="input", shape=(2, 3, 3), grid=Grid(1.0, 0, 9)),
        a,
        b,
        Concat(id="cat", path="cat", sources=("a", "b"), shape=(4, 3, 3)),
        conv,
        still(neuron(random, "c", ("conv",), (3, 2, 2), 4)),
        Readout(id="out", path="out", sources=("c",), shape=(3, 2, 2), gains=(ONE,), bias=0 * ONE),
    )
    graph = nir.read(write_nir(IntegerNetwork(4, nodes), tmp_path / "net.nir"), type_check=False)
    slices = sorted(name for name, node in graph.nodes.items() if node.metadata.get("snn.path") == "conv")
    assert len(slices) == 2
    assert all((name, "c") in graph.edges for name in slices)
    assert all(graph.nodes[name].weight.shape == (3, 2, 2, 2) for name in slices)


def padded(before: int, after: int, *, shape: tuple[int, ...]) -> IntegerNetwork:
    """Return a network whose shortcut pads [2, 2, 2] as a row of 8, and reads it as an image of ``shape``."""
    random = np.random.default_rng(7)
    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    pool = {"kernel": (1, 1), "stride": (2, 2), "padding": (0, 0)}
    length = 8 + before + after
    made = weight(random, (shape[0], shape[0], 3, 3))
    nodes = (
        Input(id="input", path="input", shape=(2, 4, 4), grid=Grid(1.0, 0, 9)),
        SumPool(id="every", path="every", sources=("input",), shape=(2, 2, 2), **pool),
        Reshape(id="row", path="pad", sources=("every",), shape=(1, 8)),
        Pad(id="pad", path="pad", sources=("row",), shape=(1, length), before=(before,), after=(after,)),
        Reshape(id="image", path="pad", sources=("pad",), shape=shape),
        Convolution(id="conv", path="conv", sources=("image",), shape=shape, weight=made, **window),
        still(replace(neuron(random, "sum", ("conv", "image"), shape, 4), gains=(ONE, 3 * ONE))),
        Readout(id="out", path="out", sources=("sum",), shape=shape, gains=(ONE,), bias=0 * ONE),
    )  # fmt: skip
    return IntegerNetwork(4, nodes)


@pytest.mark.parametrize(("before", "after"), [(4, 8), (0, 4), (4, 0), (8, 8)])
def test_channels_of_zeros_are_a_place_among_the_channels(before: int, after: int, tmp_path: Path) -> None:
    net = padded(before, after, shape=((8 + before + after) // 4, 2, 2))
    codes = random_codes(np.random.default_rng(before), net, samples=3)
    wanted = simulate(net, codes)
    assert wanted.spikes["sum"].any()
    path = write_nir(net, tmp_path / "net.nir")
    assert_same(*run_file(path, codes), wanted)
    back = simulate(read_nir(path), codes)
    assert_same(back.spikes, back.outputs, wanted)
    assert not [n for n in nir.read(path, type_check=False).nodes.values() if isinstance(n, nir.Flatten | nir.Affine)]


@pytest.mark.parametrize(
    ("before", "after", "shape"), [(2, 2, (3, 2, 2)), (-4, 8, (3, 2, 2)), (4, 4, (2, 2, 4)), (8, 8, (6, 4, 1))]
)
def test_other_padding_is_refused(before: int, after: int, shape: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="pad  Pad pad: NIR pads inside a convolution, or whole channels"):
        write_nir(padded(before, after, shape=shape), tmp_path / "net.nir")


def test_a_weight_that_float32_would_round_is_refused(tmp_path: Path) -> None:
    net = one_convolution(threshold=2**24 + 1)
    with pytest.raises(ExportError, match=r"neuron.*threshold of 16777217"):
        write_nir(net, tmp_path / "net.nir")


def test_all_that_a_neuron_cannot_say_is_listed_at_once(tmp_path: Path) -> None:
    net = one_convolution()
    node = net["neuron"]
    assert isinstance(node, Neuron)
    bad = replace(node, signed=True, right_shift=1, threshold=np.array([[1], [2], [3], [4]]))
    net = replace(net, nodes=tuple(bad if n is node else n for n in net.nodes))
    with pytest.raises(ExportError, match=r"(?s)1 of 5 nodes.*threshold changes over time.*signed.*shifts"):
        write_nir(net, tmp_path / "net.nir")


def test_every_kind_of_node_is_held_or_refused() -> None:
    assert set(HELD) | set(REFUSED) == set(nodes.KINDS.values())
    assert not set(HELD) & set(REFUSED)


def foreign(path: Path, *, weight: float = 2.0) -> Path:
    """A file as another library would write it, without our metadata."""
    ones = np.ones(3, np.float32)
    affine = nir.Affine(weight=np.full((3, 2), weight, np.float32), bias=0 * ones)
    nodes = {
        "input": nir.Input(np.array([2])),
        "0": affine,
        "lif.1": nir.IF(r=ones, v_threshold=3 * ones, v_reset=0 * ones),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "0"), ("0", "lif.1"), ("lif.1", "output")]
    nir.write(path, nir.NIRGraph(nodes=nodes, edges=edges, metadata={}))
    return path


def test_a_foreign_file_needs_its_steps_and_warns_of_what_is_assumed(tmp_path: Path) -> None:
    path = foreign(tmp_path / "net.nir")
    with pytest.raises(ExportError, match=r"not written by bs.write_nir(?s:.*)steps=T"):
        read_nir(path)
    with pytest.warns(UserWarning, match="fire above the threshold and are set to v_reset"):
        net = read_nir(path, steps=3)
    found = simulate(net, np.ones((3, 1, 2), np.int64))
    assert found.outputs["output"].tolist() == [[3, 3, 3]]
    with pytest.raises(ExportError, match="weights are real numbers"), pytest.warns(UserWarning, match="assumed"):
        read_nir(foreign(path, weight=0.1), steps=3)
    assert read_nir(foreign(path, weight=0.5), steps=3, fire="ge", reset="hard").notes == (
        f"{path} was not written by bs.write_nir; assumed: codes of 0 and 1 at every step, potentials that start at 0, "
        "fire at the threshold (given) and are set to v_reset (given)",
    )


def test_what_is_no_nir_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="does not exist"):
        read_nir(tmp_path / "nothing.nir")
    (tmp_path / "text.nir").write_text("no HDF5")
    with pytest.raises(ExportError, match="is no NIR file"):
        read_nir(tmp_path / "text.nir")
