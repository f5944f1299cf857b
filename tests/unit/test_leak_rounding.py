"""Leaks that round toward zero: by hand, in training, in integers, in files and in recipes; old files round down."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.integer.bounds.widths import survey
from bitspike.integer.engine import Engine
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.saved.manifest import MANIFEST
from bitspike.kernels import fused_neuron
from bitspike.ops.grids import Dyadic, Grid
from bitspike.recipe.load import load

STEP = 2.0**-10


def by_hand(rounding: str, *, leak_order: str = "before") -> IntegerNetwork:
    """One neuron of leak 3/4 that reads -5 and then nothing."""
    net = one_convolution(steps=3)
    bias = np.array([[-5], [0], [0]])
    neuron = replace(net["neuron"], leak=Dyadic(3, 2), leak_order=leak_order, bias=bias, rounding=rounding)
    return replace(net, nodes=tuple(neuron if n.id == "neuron" else n for n in net.nodes))


@pytest.mark.parametrize(
    ("rounding", "order", "expected"),
    [
        ("floor", "before", [-5, -4, -3]),  # -3.75, -3
        ("zero", "before", [-5, -3, -2]),  # -3.75, -2.25
        ("floor", "after", [-4, -3, -3]),  # -3.75, -3, -2.25
        ("zero", "after", [-3, -2, -1]),  # -3.75, -2.25, -1.5
    ],
)
def test_a_trace_by_hand(rounding: str, order: str, expected: list[int]) -> None:
    net = by_hand(rounding, leak_order=order)
    codes = np.zeros((1, 1, 1, 4, 4), np.int64)
    for run in (bs.simulate, lambda net, codes: Engine(net).run(codes)):
        assert run(net, codes).potentials["neuron"][:, 0, 0, 0, 0].tolist() == expected
    assert survey(net)["neuron"].membrane[0] <= min(expected)


def test_the_engine_says_why_it_runs_through_torch() -> None:
    assert "rounds toward zero" in Engine(by_hand("zero")).reason
    assert "rounds toward zero" not in Engine(by_hand("floor")).reason
    unleaked = replace(by_hand("zero")["neuron"], leak=Dyadic(1, 0))
    net = replace(by_hand("zero"), nodes=tuple(unleaked if n.id == "neuron" else n for n in by_hand("zero").nodes))
    assert "rounds toward zero" not in Engine(net).reason  # there is nothing to round


def network(rounding: str, *, resolution: float | None = STEP, leak: str = "before", decay: float = 0.75) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        bs.Repeat(steps=6),
        bs.TimeDistributed(nn.Conv2d(1, 6, 3, bias=False)),
        bs.LIF(decay, 1.0, resolution=resolution, leak=leak, rounding=rounding),  # type: ignore[arg-type]
        bs.TimeDistributed(nn.Flatten(), nn.Linear(96, 5, bias=False)),
        bs.LIF(decay, 0.5, resolution=resolution, reset="hard", rounding=rounding),  # type: ignore[arg-type]
        bs.SumReadout(),
    )
    bs.attach(model, quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))
    return model.eval()


def images(count: int = 64) -> Tensor:
    return torch.randint(0, 17, (count, 1, 6, 6), generator=torch.Generator().manual_seed(1)) / 16


@pytest.mark.parametrize("leak", ["before", "after"])
def test_the_integers_round_as_training_does(leak: str) -> None:
    x = images()
    floor, zero = (network(rounding, leak=leak) for rounding in ("floor", "zero"))
    nets = [bs.lower(model, x[:1], grid=Grid(1 / 16, 0, 16)) for model in (floor, zero)]
    assert [n.rounding for net in nets for n in net.neurons] == ["floor", "floor", "zero", "zero"]
    for model, net in zip((floor, zero), nets, strict=True):
        assert bs.compare(model, net, [(x, torch.zeros(len(x), dtype=torch.long))]).spikes == 1
        assert bs.verify(net, x).equal
    a, b = (bs.simulate(net, bs.encode(net, x)).potentials[net.neurons[0].id] for net in nets)
    assert (a != b).any(), "nothing was rounded"


def test_a_gradient_passes_the_rounding() -> None:
    x = torch.full((3, 1), -0.3, requires_grad=True)
    neuron = bs.LIF(0.75, 1.0, resolution=0.25, rounding="zero", detach_reset=True)
    _, left = neuron.scan(x)
    assert isinstance(left, Tensor)
    left.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [0.75**2, 0.75, 1]


def test_a_kernel_rounds_down_and_leaves_the_rest_to_the_plain_loop() -> None:
    neuron, x = bs.LIF(0.75, 1.0, resolution=0.25, rounding="zero"), torch.randn(4, 3, 8)
    law = neuron.law()
    numbers = {"threshold": law.threshold, "decay": law.decay, "initial": law.initial}
    assert fused_neuron(x, rule=law.rule, **numbers) is None  # type: ignore[arg-type]
    assert torch.equal(neuron(x), neuron.scan(x)[0])


def test_a_real_potential_is_lowered_with_its_rounding_too() -> None:
    for neuron in (bs.LIF(0.75, rounding="zero"), bs.PLIF(4.0, rounding="zero")):
        model = nn.Sequential(bs.Repeat(3), bs.TimeDistributed(nn.Linear(4, 3, bias=False)), neuron, bs.SumReadout())
        bs.attach(model, quantize=bs.Uniform(bits=4, scale=bs.Dyadic()))
        (node,) = bs.lower(model.eval(), torch.zeros(1, 4), grid=Grid(1 / 16, 0, 16)).neurons
        assert node.rounding == "zero"


def test_a_saved_network_keeps_its_rounding_and_an_old_one_rounds_down(tmp_path: Path) -> None:
    folders = {rounding: bs.save(by_hand(rounding), tmp_path / rounding) for rounding in ("floor", "zero")}
    manifests = {key: json.loads((folder / MANIFEST).read_text()) for key, folder in folders.items()}
    assert {key: m["format_version"] for key, m in manifests.items()} == {"floor": 1, "zero": 2}
    (old, new) = (next(n["attrs"] for n in m["nodes"] if n["op"] == "Neuron") for m in manifests.values())
    assert "rounding" not in old  # as every package before it
    assert new["rounding"] == "zero"
    for rounding, folder in folders.items():
        assert bs.load(folder)["neuron"].rounding == rounding
        assert bs.verify(folder).equal


def test_a_nir_file_keeps_it_and_other_words_are_refused(tmp_path: Path) -> None:
    nir = pytest.importorskip("nir", reason='nir is missing: pip install "bitspike[nir]"')
    net = by_hand("zero")
    net = replace(net, nodes=tuple(
        replace(n, bias=np.array([[-5]])) if n.id == "neuron" else n for n in net.nodes
    ))  # fmt: skip
    path = bs.write_nir(net, tmp_path / "net.nir")
    read = bs.read_nir(path)
    assert read.neurons[0].rounding == "zero"
    codes = np.arange(16).reshape(1, 1, 1, 4, 4) % 9
    assert np.array_equal(
        bs.simulate(read, codes).potentials[read.neurons[0].id], bs.simulate(net, codes).potentials["neuron"]
    )
    graph = nir.read(path)
    assert graph.metadata["snn.format_version"] == 2
    with pytest.raises(ExportError, match="rounds toward zero within the steps of a run, and Norse does not round"):
        bs.write_nir(net, tmp_path / "norse.nir", reader="norse")


def test_bad_words_are_refused() -> None:
    with pytest.raises(ConstraintError, match=r"rounding='up': allowed are \('floor', 'zero'\)"):
        by_hand("up")
    with pytest.raises(ConstraintError, match="rounding='up': the leak rounds down"):
        bs.LIF(0.5, rounding="up")  # type: ignore[arg-type]


def test_a_recipe_says_it_and_recipes_without_it_stay_as_they_are() -> None:
    neuron = "neuron={kind: lif, decay: 0.75, resolution: 0.015625, rounding: zero}"
    assert load("quickstart", [neuron]).model_dump()["neuron"]["rounding"] == "zero"
    plain = load("quickstart", ["neuron={kind: lif, decay: 0.75, rounding: floor}"])
    assert "rounding" not in plain.model_dump()["neuron"]
