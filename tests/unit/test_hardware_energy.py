from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hardware_networks import ONE, Builder

from bitspike.errors import ConstraintError
from bitspike.hardware.energy.activity import counts
from bitspike.hardware.energy.operations import MemoryModel, energy
from bitspike.hardware.energy.technology import Technology, load, names
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Convolution,
    CountMaxPool,
    Input,
    Integers,
    Linear,
    Neuron,
    SumPool,
    TransposedConvolution,
)
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Grid


def by_hand(node: Convolution | TransposedConvolution | SumPool, counts: np.ndarray) -> float:
    """Count the additions of a layer spike by spike, without any convolution."""
    total = 0.0
    kernel = node.kernel if isinstance(node, SumPool) else node.weight.codes.shape[2:]
    dilation = (1,) * len(kernel) if isinstance(node, SumPool) else node.dilation
    if isinstance(node, SumPool):
        each = 1
    elif isinstance(node, Convolution):
        each = node.shape[0] // node.groups
    else:
        each = node.weight.codes.shape[1]
    for place in np.ndindex(counts.shape):
        reached = 0
        for out in np.ndindex(node.shape[1:]):
            for tap in np.ndindex(tuple(kernel)):
                if isinstance(node, TransposedConvolution):
                    landed = [
                        x * s - p + d * k
                        for x, s, p, d, k in zip(place[1:], node.stride, node.padding, dilation, tap, strict=True)
                    ]
                    reached += landed == list(out)
                else:
                    read = [
                        o * s - p + d * k
                        for o, s, p, d, k in zip(out, node.stride, node.padding, dilation, tap, strict=True)
                    ]
                    reached += read == list(place[1:])
        total += counts[place] * each * reached
    return total


def spiking(build: Builder) -> IntegerNetwork:
    return build.build()


CONVOLUTIONS = [
    {"kernel": 3, "stride": s, "padding": p, "dilation": d, "groups": g}
    for s, p, d, g in itertools.product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2))
]


@pytest.mark.parametrize("options", CONVOLUTIONS[::2], ids=str)
def test_convert_check_13_synaptic_operations_equal_a_loop_over_spikes(options: dict[str, int]) -> None:
    builder = Builder((2, 7, 7), steps=3, seed=0)
    builder.neuron("spikes", threshold=1)
    builder.conv("conv", 4, **options)  # type: ignore[arg-type]
    builder.neuron("n")
    net = builder.build()
    fired = np.random.default_rng(1).integers(0, 4, (2, 7, 7)).astype(float)
    found = energy(net, {"input": fired, "spikes": fired, "n": np.zeros(net["n"].shape)})
    line = next(x for x in found.layers if x.path == "conv")
    assert line.operations == by_hand(net["conv"], fired)  # type: ignore[arg-type]
    assert line.approximate == pytest.approx(fired.mean() * net["conv"].operations((2, 7, 7)))  # type: ignore[arg-type]
    assert line.ratio == pytest.approx(line.approximate / line.operations)


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (2, 0, 2), (3, 1, 2)])
def test_convert_check_13_a_transposed_convolution_too(stride: int, padding: int, groups: int) -> None:
    builder = Builder((2, 4, 5), seed=0)
    builder.neuron("spikes", threshold=1)
    builder.transposed("up", 4, 4, stride=stride, padding=padding, groups=groups)
    builder.neuron("n")
    net = builder.build()
    fired = np.random.default_rng(1).integers(0, 4, (2, 4, 5)).astype(float)
    found = energy(net, {"input": fired, "spikes": fired, "n": np.zeros(net["n"].shape)})
    assert found.layers[-1].operations == by_hand(net["up"], fired)  # type: ignore[arg-type]


def test_convert_check_13_the_firing_ratio_of_an_all_ones_run_is_1() -> None:
    builder = Builder((2, 5, 5), steps=3)
    builder.neuron("spikes", threshold=1)
    builder.conv("conv", 3, kernel=3)
    builder.neuron("n", threshold=1)
    net = builder.build()
    trace = simulate(net, np.ones((3, 2, 2, 5, 5), np.int64))
    found = energy(net, trace, codes=np.ones((3, 2, 2, 5, 5), np.int64))
    assert [line.rate for line in found.neurons] == [1.0, 1.0]
    assert found.rate == 1.0
    assert found.layers[-1].rate == 1.0
    assert found.layers[-1].operations == 3 * found.layers[-1].macs  # nothing is padded
    assert found.layers[-1].ratio == 1.0
    assert found.samples == 2


def test_the_fan_out_is_the_adjoint_of_the_layer_applied_to_ones() -> None:
    builder = Builder((2, 6, 7), seed=0)
    builder.conv("conv", 4, kernel=3, stride=2, padding=1)
    node = builder.nodes[-1]
    assert isinstance(node, Convolution)
    reach = np.broadcast_to(node.reach((2, 6, 7)), (2, 6, 7))
    # <reach, x> = sum of the layer with all weights 1 applied to x
    ones = replace(node, weight=replace(node.weight, codes=np.ones_like(node.weight.codes)))
    x = np.random.default_rng(0).integers(0, 2, (1, 1, 2, 6, 7))
    assert (reach * x[0, 0]).sum() == ones.run([x], 1).sum()


def test_a_pool_without_neurons_counts_a_value_as_so_many_spikes() -> None:
    builder = Builder((2, 6, 6), steps=4, seed=0)
    builder.neuron("spikes", threshold=1)
    builder.pool("pool", 3, 2)
    builder.conv("conv", 4, kernel=2)
    builder.neuron("n")
    net = builder.build()
    fired = np.random.default_rng(1).integers(0, 5, (2, 6, 6)).astype(float)
    found = {x.path: x for x in energy(net, {"input": fired, "spikes": fired, "n": np.zeros((4, 1, 1))}).layers}
    pooled = np.array([[[fired[c, i : i + 3, j : j + 3].sum() for j in (0, 2)] for i in (0, 2)] for c in range(2)])
    assert found["pool"].operations == by_hand(net["pool"], fired)  # type: ignore[arg-type]
    assert found["conv"].operations == by_hand(net["conv"], pooled)  # type: ignore[arg-type]


def test_the_first_layer_is_counted_once_and_at_every_step() -> None:
    builder = Builder((3, 6, 6), steps=5, high=255, seed=0)
    builder.conv("conv", 4, bits=8)
    builder.neuron("n")
    net = builder.build()
    found = energy(net, {"n": np.zeros((4, 4, 4))})
    macs = 4 * 3 * 9 * 16
    assert (found.macs, found.macs_repeated, found.dense_macs) == (macs, 5 * macs, macs)
    line = found.layers[0]
    assert (line.kind, line.weight_bits, line.input_bits) == ("mac", 8, 8)
    assert line.operation_pj == pytest.approx(0.2 + 0.03 + 8 * (0.1 - 0.03) / 24)  # an 8x8 product, a 16-bit addition
    assert found.repeated_pj - found.energy_pj == pytest.approx(4 * line.energy_pj)
    assert found.papers_pj("float32") == (pytest.approx(4.6 * macs), pytest.approx(4.6 * macs))
    assert found.papers_pj("int8")[1] == pytest.approx(0.23 * macs)


def test_neurons_biases_and_resets_are_lines_of_their_own() -> None:
    builder = Builder((4,), steps=6)
    builder.linear("linear", 3)
    builder.neuron("n", bias=2)
    builder.nodes[-1] = replace(builder.nodes[-1], bias=np.array([[2, 0, 1]]))  # type: ignore[call-arg]
    net = builder.build()
    (line,) = energy(net, {"input": np.full(4, 6.0), "n": np.array([1.0, 2.0, 0.0])}).neurons
    assert (line.updates, line.bias_additions, line.resets) == (18, 12, 3)
    assert line.rate == pytest.approx(3 / 18)
    hard = replace(net["n"], reset="hard")  # type: ignore[call-arg]
    other = IntegerNetwork(6, tuple(hard if n.id == "n" else n for n in net.nodes))
    assert energy(other, {"input": np.full(4, 6.0), "n": np.ones(3)}).neurons[0].resets == 0


def test_weights_are_billed_by_their_width_and_sums_in_the_band() -> None:
    def found(bits: int) -> float:
        builder = Builder((64,), seed=0)
        builder.linear("linear", 8, bits=bits)
        builder.neuron("n")
        report = energy(builder.build(), {"input": np.ones(64), "n": np.zeros(8)})
        (line,) = report.layers
        assert line.operations == 64 * 8
        assert line.operation_high_pj > line.operation_pj
        assert report.high_pj > report.energy_pj
        return line.operation_pj

    assert found(2) == pytest.approx(0.03 * 2 / 8)  # ternary weights are 2-bit additions
    assert found(8) == pytest.approx(0.03)


def test_a_skip_costs_one_addition_per_spike() -> None:
    builder = Builder((2, 4, 4), seed=0)
    builder.neuron("a", threshold=1)
    builder.conv("conv", 2, padding=1)
    builder.neuron("b", "conv", "a", gains=(1, 9))
    fired = np.arange(32.0).reshape(2, 4, 4) % 4
    found = energy(builder.build(), {"input": fired, "a": fired, "b": fired})
    skips = [x for x in found.layers if x.kind == "skip" and x.path == "b"]
    assert [(x.operations, x.weight_bits) for x in skips] == [(fired.sum(), 4)]


def test_max_pools_are_followed_sample_by_sample() -> None:
    builder = Builder((1, 2, 2), steps=3)
    builder.neuron("a", threshold=1)
    builder.add(
        CountMaxPool(
            id="pool", path="pool", sources=("a",), shape=(1, 1, 1), kernel=(2, 2), stride=(2, 2), padding=(0, 0)
        )
    )
    builder.linear("linear", 5)
    builder.neuron("n")
    net = builder.build()
    spikes = np.zeros((3, 2, 1, 2, 2), np.int8)
    spikes[:, 0, 0, 0, 0] = 1  # sample 0: one pixel, three spikes
    spikes[0, 1, 0, 0, 0] = spikes[1, 1, 0, 1, 1] = 1  # sample 1: two pixels, one spike each
    trace = SimpleNamespace(spikes={"a": spikes, "n": np.zeros((3, 2, 5), np.int8)})
    found = counts(net, trace, codes=spikes)
    assert found["pool"].item() == 2.0  # the mean of 3 and 1
    report = energy(net, trace, codes=spikes)
    assert next(x for x in report.layers if x.path == "linear").operations == 10
    with pytest.raises(ConstraintError, match="no counts of pool"):
        energy(net, {"input": np.zeros((1, 2, 2)), "a": np.zeros((1, 2, 2)), "n": np.zeros(5)})


def test_memory_is_billed_by_bits() -> None:
    builder = Builder((64,), steps=4, seed=0)
    builder.linear("linear", 8, bits=4)
    builder.neuron("n")
    net = builder.build()
    activity = {"input": np.ones(64), "n": np.zeros(8)}
    plain, billed = energy(net, activity), energy(net, activity, memory=MemoryModel())
    assert plain.memory_pj == 0
    per_bit = 10 / 64  # everything fits 8 KB
    bits = billed.neurons[0].potential_bits
    assert billed.layers[0].memory_pj == pytest.approx(64 * 8 * 4 * per_bit)
    assert billed.neurons[0].memory_pj == pytest.approx(2 * 4 * 8 * bits * per_bit)
    assert billed.energy_pj == pytest.approx(plain.energy_pj + billed.memory_pj)
    # At its best the other network fetches each of 512 weights once, writes and reads 8 activations of 3 bits.
    assert billed.quantized.memory_pj == pytest.approx((512 * 4 + 2 * 8 * 3) * per_bit)
    far = energy(net, activity, memory=MemoryModel(weights="DRAM"))
    assert far.layers[0].memory_pj == pytest.approx(64 * 8 * 4 * 1300 / 64)
    with pytest.raises(ConstraintError, match=r"memory 'L2'.*'DRAM'"):
        energy(net, activity, memory=MemoryModel(weights="L2"))


def test_the_network_without_spikes_has_as_many_levels_as_steps() -> None:
    for steps, bits in ((1, 1), (3, 2), (4, 3), (7, 3), (8, 4)):
        builder = Builder((4,), steps=steps)
        builder.linear("linear", 3, bits=4)
        builder.neuron("n")
        ann = energy(builder.build(), {"input": np.ones(4), "n": np.zeros(3)}).quantized
        assert ann.activation_bits == bits
        table = load("horowitz-45nm")
        assert ann.compute_pj == pytest.approx(12 * (table.multiply(4, bits) + table.add(4 + bits)))


def hidden(rate: float, *, steps: int = 8) -> IntegerNetwork:
    builder = Builder((256,), steps=steps, seed=0)
    builder.neuron("a", threshold=1)
    builder.linear("linear", 64, bits=8)
    builder.neuron("n")
    return builder.build()


def test_the_report_says_who_wins_and_from_where_on() -> None:
    net = hidden(0.5)

    def at(rate: float) -> object:
        fired = np.full(256, rate * 8)
        return energy(net, {"input": fired, "a": fired, "n": np.full(64, rate * 8)})

    sparse, busy = at(0.05), at(0.9)
    assert sparse.wins  # type: ignore[attr-defined]
    assert sparse.verdict.startswith("The spiking network wins: ")  # type: ignore[attr-defined]
    assert not busy.wins  # type: ignore[attr-defined]
    assert busy.verdict.startswith("The spiking network loses: ")  # type: ignore[attr-defined]
    level = busy.break_even_rate  # type: ignore[attr-defined]
    assert f"below a firing ratio of {level:.3g}" in busy.verdict  # type: ignore[attr-defined]
    even = at(level)
    assert even.energy_pj == pytest.approx(even.quantized.energy_pj)  # type: ignore[attr-defined]


def test_a_network_that_never_fires_saves_nothing() -> None:
    found = energy(hidden(0.5), {"input": np.zeros(256), "a": np.zeros(256), "n": np.zeros(64)})
    assert found.energy_pj < found.quantized.energy_pj
    assert not found.wins
    assert found.verdict.startswith("No neuron fires: ")
    assert not found.to_dict()["wins"]


def test_a_network_that_cannot_win_says_so() -> None:
    builder = Builder((2,), steps=64)
    builder.linear("linear", 2, bits=1)
    builder.neuron("n")
    found = energy(builder.build(), {"input": np.ones(2), "n": np.ones(2)})
    assert "no firing ratio would change that" in found.verdict


def test_a_report_becomes_json_and_text() -> None:
    net = hidden(0.5)
    fired = np.full(256, 2.0)
    found = energy(net, {"input": fired, "a": fired, "n": np.zeros(64)}, samples=7, data="digits, test")
    values = json.loads(json.dumps(found.to_dict()))
    assert values["steps"] == 8
    assert values["operations"]["sops"] == found.sops
    assert values["unit"] == "pJ per sample"
    assert any("memory accesses" in text for text in values["excluded"])
    text = str(found)
    assert "T = 8, horowitz-45nm (45 nm CMOS, 0.9 V), mean of 7 samples of digits, test" in text
    assert found.verdict in text
    assert "not counted:" in text
    assert "as papers count, float32" in text


@pytest.mark.parametrize(
    ("activity", "match"),
    [
        ({}, "the input input carries spikes"),
        ({"input": np.ones(256)}, "no counts of a"),
        ({"input": np.ones(255)}, r"is \[255\]; needed is \[256\]"),
        ({"inputs": np.ones(256)}, "the network has no such node"),
        (SimpleNamespace(spikes={}), "no spikes of a"),
        (SimpleNamespace(spikes={"a": np.ones((3, 1, 4))}), "spikes of a are"),
        (3, "spikes are needed"),
    ],
)
def test_an_activity_that_does_not_fit(activity: object, match: str) -> None:
    with pytest.raises(ConstraintError, match=match):
        energy(hidden(0.5), activity)  # type: ignore[arg-type]


# ---- technology tables --------------------------------------------------------------------------------------------


def test_the_published_figures() -> None:
    table = load("horowitz-45nm")
    expected = {"float32": (0.9, 4.6), "float16": (0.4, 1.5), "int32": (0.1, 3.2), "int8": (0.03, 0.23)}
    for format, (ac, mac) in expected.items():
        assert table.ac(format) == ac
        assert table.mac(format) == pytest.approx(mac)
    assert table.add(8) == 0.03
    assert table.add(32) == 0.1
    assert table.multiply(32, 32) == 3.1
    assert names() == ["horowitz-45nm"]
    assert "ISSCC 2014" in table.sources[0]


def test_energies_grow_with_the_width() -> None:
    table = load("horowitz-45nm")
    adds = [table.add(bits) for bits in range(1, 65)]
    assert all(a < b for a, b in itertools.pairwise(adds))
    assert table.multiply(1, 8) < table.multiply(2, 8) < table.multiply(8, 8) < table.multiply(8, 16)
    assert table.multiply(3, 5) == table.multiply(5, 3)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    text = (
        'format = 1\nname = "mine"\nadd_pj = {int8 = 1.0, float32 = 2.0}\nmultiply_pj = {int8 = 3.0, float32 = 4.0}\n'
    )
    path.write_text(text)
    table = load(path)
    assert (table.add(4), table.add(16), table.mac("float32")) == (0.5, 2.0, 6.0)
    with pytest.raises(ConstraintError, match="has no memory"):
        table.memory_for(8)
    path.write_text(text.replace("add_pj", "adds_pj"))
    with pytest.raises(ConstraintError, match="unknown adds_pj; allowed are"):
        load(path)
    path.write_text(text.replace("format = 1", "format = 9"))
    with pytest.raises(ConstraintError, match="reads format = 1"):
        load(path)
    path.write_text(text.replace("int8 = 1.0, ", ""))
    with pytest.raises(ConstraintError, match="add_pj lacks int8"):
        load(path)
    path.write_text(text.replace("int8 = 1.0", "int8 = 0.0"))
    with pytest.raises(ConstraintError, match="must be above 0"):
        load(path)
    path.write_text("format")
    with pytest.raises(ConstraintError, match="cannot be read"):
        load(path)
    with pytest.raises(ConstraintError, match="neither a shipped table nor a file"):
        load("horowitz")
    assert isinstance(load(load("horowitz-45nm")), Technology)


def test_every_part_of_a_run_is_counted_once() -> None:
    """A small network with everything, against numbers worked out by hand."""
    builder = Builder((1, 4, 4), steps=2, high=8)
    builder.conv("conv", 2, kernel=3, bits=2)
    builder.neuron("a", threshold=20)
    builder.pool("pool", 2)
    builder.linear("linear", 3, bits=2)
    net = builder.build()
    codes: Integers = np.full((1, 1, 1, 4, 4), 8)
    trace = simulate(net, codes)
    found = energy(net, trace)
    sums = 9 * 8  # every neuron of the first layer gets 72 at both steps and fires both times
    assert sums > 20
    assert found.macs == 2 * 4 * 9
    assert {x.path: x.operations for x in found.layers} == {"conv": 72, "pool": 16, "linear": 16 * 3}
    assert isinstance(net["linear"], Linear)
    assert isinstance(net["a"], Neuron)
    assert math.prod(net["a"].shape) == 8
    assert found.neurons[0].updates == 16
    assert found.dense_macs == 72 + 6


def test_a_constant_spiking_input_needs_codes() -> None:
    entry = Input(id="input", path="input", shape=(4,), grid=Grid(1.0, 0, 1), constant=True)
    builder = Builder((4,), steps=3)
    builder.nodes[0] = entry
    builder.linear("linear", 2)
    builder.neuron("n")
    net = builder.build()
    codes = np.array([[[1, 0, 1, 1]]])
    found = energy(net, simulate(net, codes), codes=codes)
    assert found.layers[0].operations == 3 * 3 * 2
    with pytest.raises(ConstraintError, match="codes=codes"):
        energy(net, simulate(net, codes))
    assert ONE.shape == (1, 1)
