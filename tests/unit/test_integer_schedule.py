"""A network says when its neurons get their charge, and its manifest says the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Add, Burst, Input, Integers, Neuron, Node, Readout
from bitspike.integer.saved.folder import save
from bitspike.integer.saved.manifest import MANIFEST
from bitspike.integer.schedule import schedule, timings
from bitspike.ops.grids import Grid

ONE = np.ones((1, 1), np.int64)
FIRST = np.array([[7], [0], [0]])


def fires(id: str, *sources: str, bias: Integers = 0 * ONE, gain: Integers = ONE) -> Neuron:
    return Neuron(
        id=id, path=id, sources=sources, shape=(1,), gains=(gain,) * len(sources), bias=bias, threshold=3 * ONE,
        initial=np.zeros(1, np.int64), unit=np.ones(1),
    )  # fmt: skip


def burst(id: str, source: str) -> Burst:
    return Burst(id=id, path=id, sources=(source,), shape=(1,))


def network(*nodes: Node, constant: bool = True, steps: int = 3) -> IntegerNetwork:
    entry = Input(id="input", path="input", shape=(1,), grid=Grid(1.0, 0, 9), constant=constant)
    out = Readout(id="out", path="out", sources=(nodes[-1].id,), shape=(1,), gains=(ONE,), bias=0 * ONE)
    return IntegerNetwork(steps, (entry, *nodes, out))


A, B = fires("a", "input"), burst("b", "a")
CASES = {
    "no burst": (network(A, fires("c", "a")), "synchronous"),
    "every neuron": (network(burst("x", "input"), fires("a", "x"), B, fires("c", "b")), "layerwise"),
    "constant charge needs none": (network(A, B, fires("c", "b")), "layerwise"),
    "a constant bias beside it": (network(fires("a", "input", bias=ONE), B, fires("c", "b")), "layerwise"),
    "a bias at the first step": (network(A, B, fires("c", "b", bias=FIRST)), "layerwise"),
    "a bias at every step": (network(A, B, fires("c", "b", bias=ONE)), "mixed"),
    "a changing gain of a constant": (network(fires("a", "input", gain=FIRST + ONE), B, fires("c", "b")), "mixed"),
    "a gain of the first step": (network(fires("a", "input", gain=FIRST), B, fires("c", "b")), "layerwise"),
    "a changing input": (network(A, B, fires("c", "b"), constant=False), "mixed"),
    "one branch of two": (network(A, B, fires("c", "b", "a")), "mixed"),
    "a burst in front of the read-out only": (network(A, B), "synchronous"),
    "a burst behind a sum": (
        network(
            A, Add(id="s", path="s", sources=("a", "a"), shape=(1,), gains=(ONE, ONE)), burst("b", "s"), fires("c", "b")
        ),
        "layerwise",
    ),
    "a sum behind two bursts": (
        network(A, B, Add(id="s", path="s", sources=("b", "b"), shape=(1,), gains=(ONE, ONE)), fires("c", "s")),
        "layerwise",
    ),
    "one step": (network(A, B, fires("c", "b", "a"), steps=1), "layerwise"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_network_says_when_its_charge_arrives(name: str, tmp_path: Path) -> None:
    net, expected = CASES[name]
    assert schedule(net) == expected
    folder = save(net, tmp_path / "network")
    assert json.loads((folder / MANIFEST).read_text())["schedule"] == expected


def test_every_wire_has_its_timing() -> None:
    net = network(A, B, fires("c", "b", bias=FIRST))
    assert timings(net) == {"input": "constant", "a": "changing", "b": "first", "c": "changing", "out": "changing"}
