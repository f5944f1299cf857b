"""What other libraries make of our NIR files: equal spikes where NIR's text says all, and where it does not, not.

The libraries are optional: the extra ``bench``, with ``nirtorch``, which both need to read files.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest
import torch

from bitspike.export.nir import write_nir
from bitspike.integer.network import Convolution, Input, IntegerNetwork, Linear, Neuron, Readout, Reshape, Weight
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Grid

pytest.importorskip("nirtorch", reason="the extra bench, with the other readers of NIR, is not installed")

ONE = np.ones((1, 1), np.int64)


def small(reset: str) -> IntegerNetwork:
    """Conv - IF - flatten - linear - IF, with biases."""
    random = np.random.default_rng(1)

    def weight(*shape: int) -> Weight:
        return Weight(codes=random.integers(-7, 8, shape), step=np.ones(1), bits=4, low=-7, high=7)

    def fire(id: str, source: str, shape: tuple[int, ...], theta: int) -> Neuron:
        return Neuron(
            id=id, path=id, sources=(source,), shape=shape, gains=(ONE,), bias=random.integers(-3, 4, (1, shape[0])),
            threshold=theta * ONE, initial=0 * ONE[0], unit=np.ones(1), reset="hard" if reset == "hard" else "soft",
        )  # fmt: skip

    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    nodes = (
        Input(id="input", path="input", shape=(2, 6, 6), grid=Grid(1.0, 0, 15)),
        Convolution(id="conv", path="conv", sources=("input",), shape=(4, 6, 6), weight=weight(4, 2, 3, 3), **window),
        fire("if1", "conv", (4, 6, 6), 50),
        Reshape(id="flat", path="flat", sources=("if1",), shape=(144,)),
        Linear(id="fc", path="fc", sources=("flat",), shape=(10,), weight=weight(10, 144)),
        fire("if2", "fc", (10,), 20),
        Readout(id="out", path="out", sources=("if2",), shape=(10,), gains=(ONE,), bias=0 * ONE),
    )
    return IntegerNetwork(8, nodes)


@pytest.mark.filterwarnings("ignore")  # of the other library
@pytest.mark.parametrize(("reset", "same"), [("hard", True), ("soft", False)])
def test_spikingjelly_gives_our_counts_where_spikes_reset_to_a_value(reset: str, same: bool, tmp_path: Path) -> None:
    reader = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    net = small(reset)
    codes = np.random.default_rng(2).integers(0, 16, (1, 3, 2, 6, 6))
    wanted = simulate(net, codes).outputs["out"]
    model = reader.import_from_nir(str(write_nir(net, tmp_path / "net.nir")), dt=1.0)
    state, total = None, torch.zeros(3, 10)
    with torch.no_grad():
        for _ in range(net.steps):
            spikes, state = model(torch.from_numpy(codes[0]).float(), state)
            total += spikes
    assert wanted.any()
    assert np.array_equal(total.numpy(), wanted) is same


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_snntorch_reads_the_weights(tmp_path: Path) -> None:
    reader = pytest.importorskip("snntorch.import_nir")
    net = small("soft")
    model = reader.import_from_nir(nir.read(write_nir(net, tmp_path / "net.nir")))
    found = {name: value.detach().numpy() for name, value in model.named_parameters()}
    for id, reader_id in (("conv", "if1"), ("fc", "if2")):
        layer, neuron = net[id], net[reader_id]
        assert isinstance(layer, Convolution | Linear)
        assert isinstance(neuron, Neuron)
        assert np.array_equal(found[f"{id}.weight"], layer.weight.codes)
        assert np.array_equal(found[f"{id}.bias"], neuron.bias[0])
