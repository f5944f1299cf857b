"""Spikes joined element by element: what torch trains, the integers, their engines and their files do the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from c_programs import CProgram, needs_compiler
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.bounds.widths import survey
from bitspike.integer.nodes import Add, MaxPool
from bitspike.integer.simulate import Trace
from bitspike.kernels.engine.structs import Method
from bitspike.models.spiking.sew import sew_block
from bitspike.nn import IF, LIF, RateReadout, Repeat, ShiftBatchNorm, SignedIF, SpikeElementWise, TimeDistributed
from bitspike.nn.firing import Recorder
from bitspike.weights import Dyadic, MeanAbs, Ternary

PIXELS = bs.Grid(1 / 16, 0, 16)
FUNCTIONS = ("add", "and", "iand")


class Block(nn.Module):
    """A user's own block: two layers with neurons, a pool in the shortcut or none, and the join."""

    def __init__(self, connect: str, neuron: type[nn.Module] = LIF, channels: int = 3) -> None:
        super().__init__()
        self.first = TimeDistributed(nn.Conv2d(channels, channels, 3, padding=1, bias=False), ShiftBatchNorm(channels))
        self.second = TimeDistributed(nn.Conv2d(channels, channels, 3, padding=1, bias=False), ShiftBatchNorm(channels))
        self.neuron1, self.neuron2 = neuron(), neuron()
        self.join = SpikeElementWise(connect)

    def forward(self, s: Tensor) -> Tensor:
        return self.join(self.neuron2(self.second(self.neuron1(self.first(s)))), s)


def network(
    *connect: str, neuron: type[nn.Module] = LIF, pool: Callable[[], nn.Module] = lambda: nn.MaxPool2d(2)
) -> nn.Module:
    torch.manual_seed(2)
    channels, pools = 3, [pool() for _ in connect]
    side = 8 // 2 ** sum(isinstance(each, nn.MaxPool2d) for each in pools)
    stem = TimeDistributed(nn.Conv2d(1, channels, 3, padding=1, bias=False), ShiftBatchNorm(channels))
    blocks = [layer for c, p in zip(connect, pools, strict=True) for layer in (Block(c, neuron), TimeDistributed(p))]
    head = TimeDistributed(nn.Flatten(), nn.Linear(channels * side**2, 4, bias=False))
    model = nn.Sequential(Repeat(5), stem, neuron(), *blocks, head, RateReadout())
    return bs.attach(model, quantize=Ternary(scale=Dyadic(MeanAbs())))


def settled(model: nn.Module, x: Tensor) -> nn.Module:
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(x)
        for module in model.modules():
            if isinstance(module, ShiftBatchNorm):
                module.bias += 0.6
    return model.eval()


def assert_same(found: Trace, expected: Trace) -> None:
    for id, spikes in expected.spikes.items():
        assert np.array_equal(found.spikes[id], spikes), id
    for id, sums in expected.outputs.items():
        assert np.array_equal(found.outputs[id], sums), id


def images(count: int = 6) -> Tensor:
    return torch.randint(0, 17, (count, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 16


@pytest.mark.parametrize("connect", FUNCTIONS)
def test_a_network_of_joined_spikes_is_the_same_in_integers(connect: str) -> None:
    x = images()
    model = settled(network(connect, connect), x)
    with Recorder(model) as recorder:
        model(x)
    rates = {name: layer.rate for name, layer in recorder.layers().items()}
    assert all(0.02 < rate < 0.98 for rate in rates.values()), rates
    net = bs.lower(model, x[:1], grid=PIXELS)
    assert net.notes == ()
    labels = torch.zeros(len(x)).long()
    found = bs.compare(model, net, [(x, labels)])
    assert found.spikes == found.predictions == 1.0
    assert ("3.join" in found.layers) == (connect != "add"), "and and iand are compared spike for spike, like neurons"
    assert bs.verify(net, x).equal


def test_a_join_is_one_node_whoever_reads_it() -> None:
    x = images()
    added = bs.lower(settled(network("add", "add"), x), x[:1], grid=PIXELS)
    assert [len(node.sources) for node in added.nodes if isinstance(node, Add)] == [2, 2]
    gates = [n for n in bs.lower(settled(network("and", "iand"), x), x[:1], grid=PIXELS).neurons if "join" in n.path]
    assert [(n.path, int(n.threshold.item()), n.leak.numerator, [g.item() for g in n.gains]) for n in gates] == [
        ("3.join", 2, 0, [1, 1]),
        ("5.join", 1, 0, [1, -1]),
    ]


def test_integers_above_one_pass_through_layers_and_pools() -> None:
    x = images()
    net = bs.lower(settled(network("add", "add"), x), x[:1], grid=PIXELS)
    first, second = [node.id for node in net.nodes if isinstance(node, Add)]
    known = survey(net)
    assert (known[first].wire.span, known[second].wire.span) == ((0, 2), (0, 3))
    (pooled,) = [node.id for node in net.nodes if node.sources == (first,) and isinstance(node, MaxPool)]
    assert known[pooled].wire.span == (0, 2)


def random_network(random: np.random.Generator) -> tuple[nn.Module, Tensor]:
    """Draw blocks of any join, neuron, pool and shortcut, over 1 to 5 steps; joins of 0 and 1 where they have to be."""
    neurons = (
        LIF,
        lambda: LIF(0.25, fire="gt", reset="hard"),
        lambda: IF(0.75, reset="hard"),
        lambda: IF(initial=0.5),
        lambda: LIF(0.5, leak="after", resolution=2**-6),
    )
    torch.manual_seed(int(random.integers(1000)))
    make = neurons[int(random.integers(len(neurons)))]
    norm = partial(ShiftBatchNorm, grid=2**-4)
    channels = int(random.integers(1, 5))
    conv = TimeDistributed(nn.Conv2d(1, channels, 3, padding=1, bias=False), norm(channels))
    layers, binary, side = [Repeat(int(random.integers(1, 6))), conv, make()], True, 8
    for _ in range(int(random.integers(1, 4))):
        connect = str(random.choice(FUNCTIONS if binary else ("add",)))
        out, stride = (channels, 1) if random.random() < 0.6 else (int(random.integers(1, 5)), 2)
        changes = stride > 1 and side >= 4
        out, stride, side = (out, 2, side // 2) if changes else (channels, 1, side)
        layers.append(sew_block(channels, out, neuron=make, norm=norm, connect=connect, stride=stride))
        # What comes through a shortcut with a neuron, and through the branch, is 0 or 1; a sum of both is not.
        binary, channels = binary and connect != "add", out
        if side >= 4 and random.random() < 0.5:
            side //= 2
            layers.append(TimeDistributed(nn.MaxPool2d(2) if random.random() < 0.5 else nn.MaxPool2d(3, 2, 1)))
        if not binary and random.random() < 0.3:  # a neuron makes spikes of sums again
            layers, binary = [*layers, make()], True
    head = TimeDistributed(nn.Flatten(), nn.Linear(channels * side**2, 3, bias=False))
    model = bs.attach(nn.Sequential(*layers, head, RateReadout()), quantize=Ternary(scale=Dyadic(MeanAbs())))
    x = images(3)
    return settled(model, x), x


@pytest.mark.parametrize("block", range(4))
def test_random_networks_of_joined_spikes_agree_in_every_spike(block: int) -> None:
    for seed in range(block * 15, block * 15 + 15):
        model, x = random_network(np.random.default_rng(seed))
        precision = bs.Precision(max_fraction_bits=30)
        net = bs.lower(model, x[:1], grid=PIXELS, precision=precision)
        assert bs.compare(model, net, [(x, torch.zeros(3).long())]).spikes == 1.0, (seed, net.notes)
        assert bs.verify(net, x).equal, seed
        codes, readout = bs.encode(net, x), net.outputs[0].id
        wanted = bs.simulate(net, codes).outputs[readout]
        assert np.array_equal(bs.Engine(net).predict(codes)[readout], wanted), seed


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("connect", FUNCTIONS)
def test_every_method_of_the_native_engine_joins_spikes_alike(connect: str, method: Method) -> None:
    x = images()
    net = bs.lower(settled(network(connect, "add"), x), x[:1], grid=PIXELS)
    codes, readout = bs.encode(net, x), net.outputs[0].id
    found = bs.Engine(net, method=method).predict(codes)[readout]
    assert np.array_equal(found, bs.simulate(net, codes).outputs[readout])


@needs_compiler
@pytest.mark.parametrize("connect", FUNCTIONS)
def test_the_c_program_joins_spikes_as_the_simulator_does(connect: str, tmp_path: Path) -> None:
    x = images(3)
    net = bs.lower(settled(network(connect, "add"), x), x[:1], grid=PIXELS)
    codes = bs.encode(net, x)
    assert_same(CProgram(net, tmp_path).run(codes), bs.simulate(net, codes))


@pytest.mark.parametrize("connect", FUNCTIONS)
def test_onnx_runtime_joins_spikes_as_the_simulator_does(connect: str, tmp_path: Path) -> None:
    x = images(3)
    net = bs.lower(settled(network(connect, "add"), x), x[:1], grid=PIXELS)
    codes, wanted = bs.encode(net, x), bs.simulate(net, bs.encode(net, x))
    path = bs.write_onnx(net, tmp_path / "net.onnx", mode="sequence")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts, names = session.get_modelmeta().custom_metadata_map, [value.name for value in session.get_outputs()]
    (entry,) = json.loads(facts["snn.inputs"])
    found = dict(zip(names, session.run(names, {entry["id"]: codes.astype(facts["snn.numbers"])}), strict=True))
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(found[f"{id}.spikes"], spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(found[f"{id}.sum"], sums), id


@pytest.mark.parametrize("connect", FUNCTIONS)
def test_nir_holds_joined_spikes(connect: str, tmp_path: Path) -> None:
    x = images(3)
    model = settled(network(connect, "add", pool=nn.Identity), x)  # NIR has no maximum
    net = bs.lower(model, x[:1], grid=PIXELS)
    codes = bs.encode(net, x)
    again = bs.read_nir(bs.write_nir(net, tmp_path / "net.nir"))
    assert_same(bs.simulate(again, codes), bs.simulate(net, codes))


def test_a_saved_network_of_joined_spikes_is_proven_from_its_folder(tmp_path: Path) -> None:
    x = images(3)
    net = bs.lower(settled(network("iand", "add"), x), x[:1], grid=PIXELS)
    bs.save(net, tmp_path / "network")
    assert bs.verify(tmp_path / "network").equal


# ---- what is no spike, and what does not fit ----------------------------------------------------------------------


@pytest.mark.parametrize("connect", ["and", "iand"])
def test_and_and_iand_take_zeros_and_ones_alone(connect: str) -> None:
    x = images()
    with pytest.raises(LoweringError, match=rf"5\.join: '{connect}' of a shortcut that may send more than 0 and 1"):
        bs.lower(settled(network("add", connect), x), x[:1], grid=PIXELS)
    with pytest.raises(LoweringError, match=rf"3\.join: '{connect}' of a branch that may send more than 0 and 1"):
        bs.lower(settled(network(connect, neuron=SignedIF), x), x[:1], grid=PIXELS)
    bs.lower(settled(network(connect, connect), x), x[:1], grid=PIXELS)


class Joined(nn.Module):
    def __init__(self, connect: str, second: nn.Module) -> None:
        super().__init__()
        self.encoder, self.a, self.b = Repeat(2), TimeDistributed(nn.Conv2d(1, 2, 3, bias=False)), second
        self.neuron1, self.neuron2, self.join = LIF(), LIF(), SpikeElementWise(connect)
        self.readout = RateReadout()

    def forward(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        return self.readout(self.join(self.neuron1(self.a(x)), self.neuron2(self.b(x))))


@pytest.mark.parametrize("connect", FUNCTIONS)
def test_two_shapes_are_refused_by_the_join_and_by_its_name(connect: str) -> None:
    narrow = Joined(connect, TimeDistributed(nn.Conv2d(1, 1, 3, bias=False)))
    with pytest.raises(ConstraintError, match=r"branch of \[2, 3, 2, 6, 6\] and a shortcut of \[2, 3, 1, 6, 6\]"):
        narrow(images(3))
    with pytest.raises(LoweringError, match=r"join: joins \[2, 6, 6\] and \[1, 6, 6\] per sample"):
        bs.lower(narrow, images(1), grid=PIXELS)


def test_a_join_that_is_called_by_names_is_refused_with_the_call_that_works() -> None:
    class Named(Joined):
        def forward(self, x: Tensor) -> Tensor:
            x = self.encoder(x)
            return self.readout(self.join(a=self.neuron1(self.a(x)), s=self.neuron2(self.b(x))))

    layer = TimeDistributed(nn.Conv2d(1, 2, 3, bias=False))
    with pytest.raises(LoweringError, match=r"join: is called with named tensors\n  fix: join\(a, s\)"):
        bs.lower(Named("add", layer), images(1), grid=PIXELS)
    bs.lower(Joined("add", layer), images(1), grid=PIXELS)


def test_an_unknown_function_is_refused() -> None:
    with pytest.raises(ConstraintError, match="allowed are 'add', 'and' and 'iand'"):
        SpikeElementWise("or")
    with pytest.raises(ConstraintError, match="allowed are"):
        SpikeElementWise(["add"])


# ---- training -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("connect", FUNCTIONS)
def test_gradients_are_those_of_the_function_and_nothing_is_changed_in_place(connect: str) -> None:
    a, s = (torch.tensor(values, requires_grad=True) for values in ([0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]))
    SpikeElementWise(connect)(a, s).sum().backward()
    wanted = {
        "add": ([1, 1, 1, 1], [1, 1, 1, 1]),
        "and": ([0, 1, 0, 1], [0, 0, 1, 1]),
        "iand": ([0, -1, 0, -1], [1, 1, 0, 0]),
    }
    assert (a.grad.tolist(), s.grad.tolist()) == wanted[connect]
    assert (a.tolist(), s.tolist()) == ([0, 0, 1, 1], [0, 1, 0, 1])
