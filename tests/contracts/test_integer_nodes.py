"""Every node of the integer form: it is saved, loaded, run, bounded and refused in the same way as all others."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from bitspike.errors import ConstraintError, PackageError
from bitspike.integer.bounds.widths import magnitudes
from bitspike.integer.engine import TorchEngine
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    KINDS,
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    FewBitNeuron,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Synapse,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weight,
)
from bitspike.integer.saved.folder import load, save
from bitspike.integer.saved.manifest import MANIFEST
from bitspike.integer.saved.replay import replay
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Dyadic, Grid

ONE = np.ones((1, 1), np.int64)
TIMED = np.array([[1, 2], [3, 4], [5, 6]])
WEIGHT = Weight(codes=np.array([[[[1]], [[-2]]], [[[3]], [[0]]]]), step=np.array([0.5, 0.25]), bits=3, low=-3, high=3)


def everything() -> IntegerNetwork:
    """Return a network that holds every kind of node, with values other than the defaults in every field."""
    nodes = (
        Input(id="in_0", path="in", shape=(2, 4, 4), grid=Grid(0.5, -1, 3), constant=False, coding="rate", divisor=2.0),
        Convolution(
            id="conv", path="a.conv", call=1, sources=("in_0",), shape=(2, 2, 2), weight=WEIGHT, stride=(2, 2),
            padding=(0, 0), dilation=(1, 1), scale=np.array([0.25, 0.125]),
        ),
        SumPool(id="sum", path="sum", sources=("in_0",), shape=(2, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0)),
        MaxPool(id="max", path="max", sources=("in_0",), shape=(2, 2, 2), kernel=(2, 2), stride=(2, 2), padding=(0, 0)),
        Add(id="add", path="add", sources=("sum", "max"), shape=(2, 2, 2), gains=(TIMED, -ONE)),
        TransposedConvolution(
            id="transposed", path="b.transposed", sources=("conv",), shape=(2, 3, 5), stride=(2, 2), padding=(1, 0),
            output_padding=(1, 0), dilation=(1, 2), groups=2,
            weight=Weight(
                codes=np.arange(-4, 4).reshape(2, 1, 2, 2), step=np.array([1.0, 2.0]), bits=4, low=-7, high=7
            ),
        ),
        CountMaxPool(
            id="counts", path="counts", sources=("in_0",), shape=(2, 3, 3), kernel=(2, 2), stride=(2, 2), padding=(1, 1)
        ),
        Synapse(
            id="synapse", path="synapse", sources=("counts",), shape=(2, 3, 3), leak=Dyadic(3, 2), left_shift=1
        ),
        Burst(id="burst", path="burst", sources=("synapse",), shape=(2, 3, 3)),
        Pad(id="cut", path="cut", sources=("burst",), shape=(2, 2, 2), before=(-1, 0), after=(0, -1)),
        Concat(id="both", path="both", sources=("cut", "add"), shape=(4, 2, 2)),
        Slice(id="part", path="part", sources=("both",), shape=(2, 2, 2), start=1, stop=3),
        Transpose(id="turned", path="turned", sources=("transposed",), shape=(2, 5, 3), axes=(0, 2, 1)),
        Upsample(id="large", path="large", sources=("turned",), shape=(2, 5, 6), factors=(1, 2)),
        Pad(id="short", path="short", sources=("large",), shape=(2, 2, 2), before=(0, -1), after=(-3, -3)),
        Neuron(
            id="neuron", path="neuron", sources=("conv", "add", "part", "short"), shape=(2, 2, 2),
            gains=(TIMED, 2 * ONE, ONE, -ONE), bias=-TIMED,
            threshold=10 + TIMED, initial=np.array([1, -1]), unit=np.array([0.1, 0.2]), fraction_bits=3, right_shift=1,
            leak=Dyadic(3, 2), leak_order="after", reset="hard", v_reset=np.array([1, 2]), fire="gt", floor=-50,
            width=9, rounding="zero",
        ),
        Reshape(id="flat", path="flat", sources=("neuron",), shape=(8,)),
        Linear(
            id="linear", path="linear", sources=("flat",), shape=(2,),
            weight=Weight(
                codes=np.arange(16).reshape(2, 8) * 100, step=np.ones(1), bits=12, low=-2047, high=2047,
                levels=tuple(range(0, 1600, 100)), scheme="hundreds",
            ),
        ),
        Neuron(
            id="signed", path="signed", sources=("linear",), shape=(2,), gains=(ONE,), bias=0 * ONE, threshold=70 * ONE,
            initial=np.array([35]), unit=np.ones(1), signed=True, retract=np.array([2]),
        ),
        FewBitNeuron(
            id="few", path="few", sources=("signed",), shape=(2,), gains=(3 * ONE,), bias=ONE, threshold=7 * ONE,
            initial=np.array([2, -4]), unit=np.ones(1), leak=Dyadic(1, 1), kept_bits=3, kept_shift=1,
        ),
        Readout(id="out", path="out", sources=("signed", "linear"), shape=(2,), gains=(TIMED, ONE), bias=TIMED),
        Readout(id="more", path="more", sources=("linear",), shape=(2,), gains=(ONE,), bias=2**40 * ONE),
    )  # fmt: skip
    return IntegerNetwork(3, nodes, ("a note",), {"model": "none"})


def codes_of(net: IntegerNetwork, samples: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(-1, 4, (net.steps, samples, *net.input.shape))


def test_the_contract_covers_every_kind_of_node() -> None:
    assert len(KINDS) == 19
    assert {type(n) for n in everything().nodes} == set(KINDS.values())


def same(a: object, b: object) -> bool:
    if dataclasses.is_dataclass(a) and not isinstance(a, type):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def test_every_field_of_every_node_survives_the_folder(tmp_path) -> None:
    net = everything()
    loaded = load(save(net, tmp_path / "network"))
    assert (loaded.steps, loaded.notes, dict(loaded.source)) == (3, ("a note",), {"model": "none"})
    for a, b in zip(net.nodes, loaded.nodes, strict=True):
        assert same(a, b), f"{a}\n{b}"


def test_a_saved_network_of_every_node_proves_itself(tmp_path: Path) -> None:
    assert replay(save(everything(), tmp_path / "network")).equal


def test_every_attribute_of_every_node_is_needed(tmp_path: Path) -> None:
    folder = save(everything(), tmp_path / "network")
    manifest = json.loads((folder / MANIFEST).read_text())
    for entry in manifest["nodes"]:
        for key in list(entry["attrs"]):
            value = entry["attrs"].pop(key)
            (folder / MANIFEST).write_text(json.dumps(manifest))
            with pytest.raises(PackageError):
                load(folder)
            entry["attrs"][key] = value


def test_a_transposed_convolution_says_where_its_output_channels_are(tmp_path: Path) -> None:
    folder = save(everything(), tmp_path / "network")
    manifest = json.loads((folder / MANIFEST).read_text())
    weights = {n["id"]: n["attrs"]["weight"] for n in manifest["nodes"] if "weight" in n["attrs"]}
    assert {id: w["axis"] for id, w in weights.items()} == {"conv": 0, "transposed": 1, "linear": 0}
    weights["transposed"]["axis"] = 0
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(PackageError, match="node 'transposed': output channels along axis 0, needed is axis 1"):
        load(folder)


def keys_of(value: object) -> set[str]:
    """Return every key in plain values, at any depth."""
    if isinstance(value, list):
        return set().union(*map(keys_of, value))
    return set(value).union(*map(keys_of, value.values())) if isinstance(value, dict) else set()


def test_the_document_says_of_every_field_of_the_manifest_what_protects_it(tmp_path: Path) -> None:
    manifest = json.loads((save(everything(), tmp_path / "network") / MANIFEST).read_text())
    names = {"tensors": {}, "source": {}}  # whose keys are names of tensors, and anything
    text = (Path(__file__).parents[2] / "docs" / "network-format.md").read_text(encoding="utf-8")
    table = text.split("## What protects a field")[1].split("\n## ")[0]
    told = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    assert keys_of(manifest | names) == told


def test_every_node_runs_the_same_in_torch_and_numpy() -> None:
    net = everything()
    a, b = simulate(net, codes_of(net)), TorchEngine(net).run(codes_of(net))
    assert all(np.array_equal(a.potentials[k], b.potentials[k]) for k in a.potentials)
    assert all(np.array_equal(a.outputs[k], b.outputs[k]) for k in a.outputs)
    assert any(s.any() for s in a.spikes.values())


def test_every_node_has_a_bound() -> None:
    assert set(magnitudes(everything())) == {n.id for n in everything().nodes}


def replaced(id: str, /, **changes: object) -> IntegerNetwork:
    net = everything()
    nodes = tuple(dataclasses.replace(n, **changes) if n.id == id else n for n in net.nodes)  # type: ignore[arg-type]
    return dataclasses.replace(net, nodes=nodes)


@pytest.mark.parametrize(
    ("id", "changes", "message"),
    [
        ("conv", {"id": "a b"}, "letters, digits and underscores"),
        ("conv", {"id": "in_0"}, "two nodes are called 'in_0'"),
        ("conv", {"sources": ("neuron",)}, "reads 'neuron', which does not stand before it"),
        ("more", {"sources": ("out",)}, "reads 'out', which leaves the network"),
        ("conv", {"shape": (2, 4, 4)}, r"it makes \[2, 2, 2\] of \[2, 4, 4\]"),
        ("conv", {"groups": 2}, "it makes nothing"),
        ("conv", {"sources": ("in_0", "in_0")}, "it reads 2 sources and takes one"),
        ("sum", {"shape": (2, 2, 3)}, "it makes"),
        ("flat", {"shape": (9,)}, "it makes nothing"),
        ("linear", {"shape": (3,)}, "it makes"),
        ("transposed", {"shape": (2, 2, 4)}, r"it makes \[2, 3, 5\] of \[2, 2, 2\]"),
        ("transposed", {"groups": 3}, "it makes nothing"),
        ("counts", {"shape": (2, 2, 2)}, "it makes"),
        ("burst", {"shape": (2, 3, 2)}, "it makes"),
        ("cut", {"before": (0,)}, "it makes nothing"),
        ("both", {"shape": (3, 2, 2)}, "its sources have the shapes"),
        ("both", {"sources": ("cut", "in_0")}, "its sources have the shapes"),
        ("part", {"stop": 5}, "it makes nothing"),
        ("part", {"start": 3}, "it makes nothing"),
        ("turned", {"axes": (0, 2, 2)}, "it makes nothing"),
        ("large", {"factors": (1,)}, "it makes nothing"),
        ("large", {"factors": (1, 0)}, "factors is 0; allowed are whole numbers from 1"),
        ("add", {"gains": (ONE,)}, "2 sources and 1 gains"),
        ("add", {"sources": ("sum", "in_0")}, "its sources have the shapes"),
        ("neuron", {"bias": np.zeros((2, 1), np.int64)}, r"its bias has the shape \[2, 1\]"),
        ("neuron", {"threshold": np.ones((1, 3), np.int64)}, r"its threshold has the shape \[1, 3\]"),
        ("neuron", {"initial": ONE}, r"its initial has the shape \[1, 1\]"),
        ("neuron", {"threshold": 0 * ONE, "fire": "ge"}, "a threshold below 1 for 'ge'"),
        ("neuron", {"threshold": -ONE}, "a threshold below 0 for 'gt'"),
        ("neuron", {"fire": "eq"}, "fire='eq': allowed are"),
        ("neuron", {"reset": "zero"}, "reset='zero': allowed are"),
        ("neuron", {"leak_order": "never"}, "leak_order='never': allowed are"),
        ("neuron", {"signed": True}, "a signed neuron resets by subtraction"),
        ("neuron", {"right_shift": -1}, "a negative shift"),
        ("neuron", {"leak": Dyadic(-1, 1)}, "a negative shift"),
        ("neuron", {"retract": np.array([-1])}, "retract below 0"),
        ("neuron", {"width": 1}, "width=1: at least 2 bits"),
        ("few", {"kept_bits": 1}, "kept_bits=1, kept_shift=1: at least 2 bits"),
        ("few", {"kept_shift": -1}, "a shift of 0 or more"),
        ("few", {"initial": np.array([3])}, "a first potential of 3, which no code of 3 bits stands for"),
        ("few", {"initial": np.array([8])}, "multiples of 2 from -8 to 6"),
        ("in_0", {"shape": ()}, "at least one channel"),
    ],
)
def test_a_node_that_does_not_fit_is_refused_by_name(id: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConstraintError, match=message):
        replaced(id, **changes)


def test_a_network_needs_steps_inputs_and_outputs() -> None:
    net = everything()
    with pytest.raises(ConstraintError, match="steps=0"):
        dataclasses.replace(net, steps=0)
    with pytest.raises(ConstraintError, match="at least one Input and one Readout"):
        dataclasses.replace(net, nodes=net.nodes[:-2])


def test_codes_outside_their_grid_are_refused() -> None:
    with pytest.raises(ConstraintError, match="reach from -2 to 3, the grid 'three' from -1 to 3"):
        Weight(codes=np.array([-2, 3]), step=np.ones(1), bits=3, low=-1, high=3, scheme="three")


def test_several_inputs_have_their_place_but_no_runner_yet() -> None:
    net = everything()
    second = Input(id="in_1", path="in", shape=(2,), grid=Grid(1.0, 0, 1))
    both = dataclasses.replace(net, nodes=(second, *net.nodes))
    assert len(both.inputs) == 2
    with pytest.raises(ConstraintError, match="the network has 2 inputs"):
        simulate(both, codes_of(net))


def test_summaries_count_bits_and_packed_bytes() -> None:
    net = everything()
    assert net.weight_bits() == {"a.conv": 3, "b.transposed": 4, "linear": 12}
    assert net.weight_count() == 4 + 8 + 16
    assert net.weight_bytes() == 2 + 4 + 24  # 4 codes of 3 bits in 2 bytes, 8 of 4 bits in 4, 16 of 12 bits in 24
    assert net.input_grid == Grid(0.5, -1, 3)
    with pytest.raises(KeyError):
        net["nobody"]
