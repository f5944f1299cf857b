"""ONNX Runtime, given an exported file alone, gives the spikes, potentials and outputs of the definition."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx_runs import facts_of, open_file, run_steps, run_whole
from random_networks import as_large_as, layerwise, random_codes, random_network

from bitspike import models
from bitspike.errors import ExportError
from bitspike.formats.onnx.numbers import ranges
from bitspike.formats.onnx.write import PROBLEMS, Mode, graph_of, write_onnx
from bitspike.integer.codes import encode
from bitspike.integer.count import count
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Burst, Convolution, Input, Linear, Neuron, Readout, Slice, Weight
from bitspike.integer.simulate import Trace, simulate
from bitspike.lowering.lower import lower
from bitspike.ops.grids import Grid
from bitspike.weights import Uniform, attach

BLOCKS = [range(block * 30, block * 30 + 30) for block in range(4)]


def assert_spikes(found: dict[str, np.ndarray], wanted: Trace) -> None:
    assert found.keys() == wanted.spikes.keys()
    for name, spikes in wanted.spikes.items():
        assert np.array_equal(found[name], spikes), name


def assert_sums(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, sums in wanted.items():
        assert np.array_equal(found[name], sums), name


@pytest.mark.parametrize("seeds", BLOCKS)
def test_a_step_in_a_loop_is_the_definition_on_random_networks(seeds: range, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(seed)
        net = random_network(random)
        codes = random_codes(random, net, samples=int(random.choice([1, 3])), extreme=bool(seed % 2))
        if PROBLEMS["step"](net):
            assert any(isinstance(node, Burst) for node in net.nodes)
            continue
        session = open_file(write_onnx(net, tmp_path / "net.onnx"))
        found, wanted = run_steps(session, codes), simulate(net, codes)
        assert_spikes(found.spikes, wanted)
        assert_sums(found.sums, wanted.outputs)
        for node in net.neurons:
            if node.reset == "soft":
                theta = np.broadcast_to(node.threshold, (net.steps, node.threshold.shape[1]))[-1]
                last = theta.reshape(-1, *[1] * (len(node.shape) - 1)) * wanted.spikes[node.id][-1]
                left = node.carried(wanted.potentials[node.id][-1] - last)
                assert np.array_equal(found.states[f"{node.id}.v"], left)
        seen.update(type(node).__name__ for node in net.nodes)
        seen.update(facts_of(session)["snn.numbers"].split())
    assert {"Convolution", "TransposedConvolution", "SumPool", "MaxPool", "CountMaxPool", "Add", "int32"} <= set(seen)
    assert {"Concat", "Slice", "Upsample", "Pad", "Transpose"} <= set(seen), "the networks are too tame"


@pytest.mark.parametrize("seeds", BLOCKS)
def test_a_whole_run_is_the_definition_on_random_networks(seeds: range, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(1000 + seed)
        net = random_network(random)
        codes = random_codes(random, net, samples=int(random.choice([1, 3])))
        found = run_whole(open_file(write_onnx(net, tmp_path / "net.onnx", mode="sequence")), codes)
        wanted = simulate(net, codes)
        assert_spikes(found.spikes, wanted)
        assert_sums(found.sums, wanted.outputs)
        seen.update(type(node).__name__ for node in net.nodes)
    assert {"Burst", "CountMaxPool", "Concat"} <= set(seen), "the networks are too tame"


@pytest.mark.parametrize("seeds", BLOCKS)
def test_counts_are_those_of_the_run_layer_by_layer(seeds: range, tmp_path: Path) -> None:
    for seed in seeds:
        random = np.random.default_rng(2000 + seed)
        net = layerwise(random_network(random, counting=True))
        codes = random_codes(random, net, samples=2)
        session = open_file(write_onnx(net, tmp_path / "net.onnx", mode="count"))
        found = run_whole(session, codes[0] if net.input.constant else codes.sum(0))
        wanted = simulate(net, codes)
        for name, spikes in wanted.spikes.items():
            assert np.array_equal(found.spikes[name], spikes.sum(0)), name
        assert_sums(found.sums, wanted.outputs)
        assert_sums(found.spikes | found.sums, count(net, codes))


def assert_counts(net: IntegerNetwork, codes: np.ndarray, path: Path) -> None:
    """Compare a file of mode "qonnx", as ONNX Runtime executes it, with the definition of counts."""
    entry, wanted = codes[0] if net.input.constant else codes.sum(0), count(net, codes)
    found = run_whole(open_file(write_onnx(net, path, mode="qonnx")), entry)
    assert_sums(found.spikes | found.sums, wanted)
    last = run_whole(open_file(write_onnx(net, path, mode="qonnx-readouts")), entry)
    assert not last.spikes
    assert_sums(last.sums, {node.id: wanted[node.id] for node in net.outputs})
    nodes = onnx.load(path).graph.node
    read = {name for node in nodes for name in node.input}
    assert {name for node in nodes for name in node.output} - read == {f"{node.id}.sum" for node in net.outputs}
    assert all("dilations" in {a.name for a in node.attribute} for node in nodes if node.op_type.startswith("Conv"))


@pytest.mark.parametrize("seeds", BLOCKS)
def test_counts_in_qonnx_are_the_counts(seeds: range, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for seed in seeds:
        random = np.random.default_rng(2000 + seed)
        net = random_network(random, counting=True)
        codes = random_codes(random, net, samples=2, extreme=bool(seed % 2))
        if found := PROBLEMS["qonnx"](net):
            assert {reason for _, reason in found} == {"its output padding is no smaller than its stride"}
            continue
        assert_counts(net, codes, tmp_path / "net.onnx")
        seen.update(type(node).__name__ for node in net.nodes)
    assert {"Convolution", "SumPool", "CountMaxPool", "Add", "Concat", "Upsample", "Pad"} <= set(seen)


@pytest.mark.parametrize("limit", [2**23, 2**24, 2**52])
def test_floats_hold_every_count_up_to_their_end(limit: int, tmp_path: Path) -> None:
    """Networks whose neurons add up ever more, in float32 with halves, in float32, in doubles, are exact."""
    near = 0
    for seed in range(8):
        random = np.random.default_rng(4000 + seed)
        net = random_network(random, counting=True)

        def fits(n: IntegerNetwork) -> bool:
            return ranges(n, totals=True).largest < limit and not PROBLEMS["qonnx"](n)

        if fits(net):
            net = as_large_as(net, fits)
            near += ranges(net, totals=True).largest > limit // 4
            assert_counts(net, random_codes(random, net, samples=3, extreme=bool(seed % 2)), tmp_path / "net.onnx")
    assert near > 2


@pytest.mark.parametrize(
    ("low", "high", "levels", "quant"),
    [
        (-8, 7, None, (4, 1, 0)),
        (-7, 7, None, (4, 1, 1)),
        (-1, 1, (-1, 0, 1), (2, 1, 1)),
        (-255, 255, None, (9, 1, 1)),
        (0, 1, (0, 1), (1, 0, 0)),
        (-1, 1, (-1, 1), None),
    ],
)
def test_a_quant_says_the_bits_of_the_codes(
    low: int, high: int, levels: tuple[int, ...] | None, quant: tuple[int, int, int] | None, tmp_path: Path
) -> None:
    net = one_product(high, 7, 0, 15, convolution=False)
    codes = np.array([[low, high, low, high, high, low, high]])
    weight = Weight(codes=codes, step=np.ones(1), bits=8, low=low, high=high, levels=levels)
    net = replace(net, nodes=tuple(replace(n, weight=weight) if isinstance(n, Linear) else n for n in net.nodes))
    assert_counts(net, np.arange(14).reshape(1, 2, 7), tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model, full_check=True)
    (node,) = (node for node in model.graph.node if node.output[0] == "/layer/weight")
    assert node.domain == "qonnx.custom_op.general"
    if quant is None:
        assert (node.op_type, len(node.input)) == ("BipolarQuant", 2)
        return
    values = {constant.name: onnx.numpy_helper.to_array(constant) for constant in model.graph.initializer}
    facts = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    scale, zero, bits = (values[name] for name in node.input[1:])
    assert (float(scale), float(zero)) == (1, 0)
    assert (int(bits), facts["signed"], facts["narrow"]) == quant
    assert node.op_type == "Quant"


def test_integers_that_float32_skips_are_refused_in_qonnx(tmp_path: Path) -> None:
    net = one_product(2**20, 17, 0, 1, convolution=True)
    with pytest.raises(ExportError, match=r"layer  Convolution layer: its sums over all steps reach 17825792, and"):
        write_onnx(net, tmp_path / "net.onnx", mode="qonnx")


@pytest.mark.parametrize("mode", ["step", "sequence", "count"])
def test_int32_holds_every_number_up_to_its_end(mode: Mode, tmp_path: Path) -> None:
    """Networks whose numbers grow until one more would ask for int64 still give the same spikes."""
    near = 0
    for seed in range(20):
        random = np.random.default_rng(3000 + seed)
        net = random_network(random, counting=mode == "count")
        net = layerwise(net) if mode == "count" else net
        if PROBLEMS[mode](net) or ranges(net, totals=mode == "count").largest >= 2**31:
            continue
        net = as_large_as(net, lambda n: ranges(n, totals=mode == "count").largest < 2**31)
        near += ranges(net, totals=mode == "count").largest > 2**30
        codes = random_codes(random, net, samples=4, extreme=bool(seed % 2))
        session = open_file(write_onnx(net, tmp_path / "net.onnx", mode=mode))
        assert facts_of(session)["snn.numbers"] == "int32"
        wanted = simulate(net, codes)
        if mode == "count":
            found = run_whole(session, codes[0] if net.input.constant else codes.sum(0))
            assert_sums(found.spikes, {name: spikes.sum(0) for name, spikes in wanted.spikes.items()})
        else:
            found = (run_steps if mode == "step" else run_whole)(session, codes)
            assert_spikes(found.spikes, wanted)
        assert_sums(found.sums, wanted.outputs)
    assert near > 5


def digits_network() -> IntegerNetwork:
    model = models.digits_net().eval()
    attach(model, quantize=Uniform(bits=4))
    return lower(model, example=torch.zeros(1, 1, 8, 8))


def test_a_trained_form_of_network_is_the_same_in_all_three_modes(tmp_path: Path) -> None:
    net = digits_network()
    images = torch.rand(4, 1, 8, 8)
    codes = encode(net, images)
    wanted = simulate(net, codes)
    step = run_steps(open_file(write_onnx(net, tmp_path / "step.onnx")), codes)
    whole = run_whole(open_file(write_onnx(net, tmp_path / "whole.onnx", mode="sequence")), codes)
    assert any(spikes.any() for spikes in wanted.spikes.values())
    for found in (step, whole):
        assert_spikes(found.spikes, wanted)
        assert_sums(found.sums, wanted.outputs)


def one_product(code: int, taps: int, low: int, high: int, *, convolution: bool) -> IntegerNetwork:
    """A read-out of ``taps`` products of one code and the input."""
    codes = np.full((1, taps, 1) if convolution else (1, taps), code)
    weight = Weight(codes=codes, step=np.ones(1), bits=40, low=min(code, 0), high=max(code, 1))
    one = np.ones((1, 1), np.int64)
    shape = (taps, 1) if convolution else (taps,)
    window = {"stride": (1,), "padding": (0,), "dilation": (1,)}
    head = {"id": "layer", "path": "layer", "sources": ("input",), "weight": weight}
    layer = Convolution(**head, shape=(1, 1), **window) if convolution else Linear(**head, shape=(1,))
    return IntegerNetwork(
        1,
        (
            Input(id="input", path="input", shape=shape, grid=Grid(1.0, low, high)),
            layer,
            Readout(id="out", path="out", sources=("layer",), shape=layer.shape, gains=(one,), bias=0 * one),
        ),
    )


@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("code", [1, -1, 127, -128, 128, 255, -255, 40000, -(2**33)])
@pytest.mark.parametrize(("low", "high"), [(0, 255), (-128, 127), (0, 256), (-9, 300), (-70000, 70000), (-1, 0)])
def test_products_at_the_bounds_of_the_digits_are_exact(
    code: int, low: int, high: int, convolution: bool, tmp_path: Path
) -> None:
    net = one_product(code, 70, low, high, convolution=convolution)
    session = open_file(write_onnx(net, tmp_path / "net.onnx"))
    for value in (low, high):
        codes = np.full((1, 2, *net.input.shape), value)
        assert np.array_equal(run_steps(session, codes).sums["out"], simulate(net, codes).outputs["out"])


def test_the_file_holds_integers_only_and_says_what_onnx_cannot(tmp_path: Path) -> None:
    net = one_convolution()
    path = write_onnx(net, tmp_path / "net.onnx")
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    allowed = {onnx.TensorProto.INT32, onnx.TensorProto.INT64, onnx.TensorProto.UINT8, onnx.TensorProto.BOOL}
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    kinds = {value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    kinds |= {value.type.tensor_type.elem_type for value in [*model.graph.input, *model.graph.output]}
    assert kinds | {constant.data_type for constant in model.graph.initializer} <= allowed
    facts = facts_of(open_file(path))
    assert facts["snn.T"] == "4"
    assert facts["snn.numbers"] == "int32"
    assert '"reset": "subtract"' in facts["snn.neurons"]
    assert '"high": 8' in facts["snn.inputs"]


PRODUCTS = {"ConvInteger", "MatMulInteger"}
QUANTIZED = PRODUCTS | {"QLinearConv", "QLinearMatMul", "QGemm", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"}


@pytest.mark.parametrize("mode", ["step", "sequence", "count"])
def test_every_product_is_of_two_unsigned_operands(mode: Mode, tmp_path: Path) -> None:
    """Mixed signs are added up in 16 bits, and saturate, where a processor has no VNNI; unsigned ones never do."""
    seen: Counter[str] = Counter()
    for seed in range(30):
        random = np.random.default_rng(seed)
        net = layerwise(random_network(random, counting=True)) if mode == "count" else random_network(random)
        if PROBLEMS[mode](net):
            continue
        model = onnx.load(write_onnx(net, tmp_path / "net.onnx", mode=mode))
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
        kinds |= {constant.name: constant.data_type for constant in inferred.graph.initializer}
        bodies = [a.g for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
        assert not [node.op_type for body in bodies for node in body.node if node.op_type in QUANTIZED]
        for node in model.graph.node:
            if node.op_type in QUANTIZED:
                assert node.op_type in PRODUCTS
                assert [kinds[name] for name in node.input] == 4 * [onnx.TensorProto.UINT8]
                seen[node.op_type] += 1
    assert set(seen) == PRODUCTS, "the networks are too tame"


def test_wide_numbers_travel_as_int64(tmp_path: Path) -> None:
    net = one_convolution(threshold=2**31)
    assert graph_of(net, "step")[1] == "int64"
    neuron = net["neuron"]
    assert isinstance(neuron, Neuron)
    biased = replace(neuron, bias=np.full((1, 1), 2**30))
    net = replace(net, nodes=tuple(biased if node is neuron else node for node in net.nodes))
    codes = np.full((1, 1, 1, 4, 4), 8)
    for mode, run in (("step", run_steps), ("sequence", run_whole)):
        found = run(open_file(write_onnx(net, tmp_path / "net.onnx", mode=mode)), codes)
        assert_spikes(found.spikes, simulate(net, codes))
        assert found.spikes["neuron"].any()


def test_several_inputs_enter_side_by_side(tmp_path: Path) -> None:
    one, start = np.ones((1, 1), np.int64), np.zeros(1, np.int64)
    grid = Grid(1.0, 0, 7)
    shape = (2, 3)
    fire = Neuron(
        id="fire", path="fire", sources=("a", "b"), shape=shape, gains=(one, 2 * one), bias=0 * one, threshold=9 * one,
        initial=start, unit=np.ones(1),
    )  # fmt: skip
    out = Readout(id="out", path="out", sources=("fire",), shape=shape, gains=(one,), bias=0 * one)
    apart = tuple(Input(id=id, path=id, shape=shape, grid=grid) for id in "ab")
    joined = Input(id="both", path="both", shape=(4, 3), grid=grid)
    cuts = tuple(
        Slice(id=id, path=id, sources=("both",), shape=shape, start=2 * k, stop=2 * k + 2) for k, id in enumerate("ab")
    )
    codes = np.random.default_rng(0).integers(0, 8, (1, 5, 4, 3))
    wanted = simulate(IntegerNetwork(5, (joined, *cuts, fire, out)), codes).outputs["out"]
    session = open_file(write_onnx(IntegerNetwork(5, (*apart, fire, out)), tmp_path / "net.onnx", mode="sequence"))
    (sums,) = session.run(["out.sum"], {"a": codes[:, :, :2].astype(np.int32), "b": codes[:, :, 2:].astype(np.int32)})
    assert np.array_equal(sums, wanted)


def test_the_runtime_is_the_one_that_the_extra_names() -> None:
    assert tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= (1, 18)
