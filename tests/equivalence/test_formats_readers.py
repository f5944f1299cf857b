"""What other libraries make of our NIR files: equal spikes where NIR's text says all, and where it does not, not.

The extra ``readers`` has the libraries that install next to ``nir`` 1.0.8, and ``bench`` has SpikingJelly. sinabs asks
for nir <= 1.0.4, which cannot open these files, so it is in neither; ``pip install --no-deps sinabs pbr`` has it read
them.
"""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import numpy.typing as npt
import pytest
import torch
from benchmarks.nir_readers import FOR, quietly
from benchmarks.reader_networks import FEATURES, firing

from bitspike.errors import ExportError
from bitspike.formats.nir.graph import graph_entries
from bitspike.formats.nir.write import write_nir
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Input, Linear, Neuron, Readout, Reshape, Weight
from bitspike.integer.simulate import simulate
from bitspike.ops.grids import Fire, Grid, Reset

pytest.importorskip("nirtorch", reason="the extra readers, with the other readers of NIR, is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the other libraries

EXTRA = {
    "SpikingJelly": "SpikingJelly reads this file; it comes with the extra bench",
    "snnTorch": "snnTorch reads this file; it comes with the extra readers",
    "Norse": "Norse reads this file; it comes with the extra readers",
    "sinabs": "sinabs reads this file; it asks for nir <= 1.0.4, which cannot: pip install --no-deps sinabs pbr",
}
ONE = np.ones((1, 1), np.int64)
CODES = np.random.default_rng(2).integers(0, 16, (1, 3, 2, 6, 6))
IMAGES = torch.from_numpy(CODES[0]).float()


def small(
    reset: Reset, fire: Fire = "ge", *, low: int = -7, high: int = 7, thresholds: tuple[int, int] = (50, 20)
) -> IntegerNetwork:
    """Conv - IF - flatten - linear - IF, with biases and weights from low to high."""
    random = np.random.default_rng(1)

    def weight(*shape: int) -> Weight:
        return Weight(codes=random.integers(low, high + 1, shape), step=np.ones(1), bits=4, low=-7, high=7)

    def neuron(id: str, source: str, shape: tuple[int, ...], theta: int) -> Neuron:
        return Neuron(
            id=id, path=id, sources=(source,), shape=shape, gains=(ONE,), bias=random.integers(-3, 4, (1, shape[0])),
            threshold=theta * ONE, initial=0 * ONE[0], unit=np.ones(1), reset=reset, fire=fire,
        )  # fmt: skip

    window = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
    nodes = (
        Input(id="input", path="input", shape=(2, 6, 6), grid=Grid(1.0, 0, 15)),
        Convolution(id="conv", path="conv", sources=("input",), shape=(4, 6, 6), weight=weight(4, 2, 3, 3), **window),
        neuron("if1", "conv", (4, 6, 6), thresholds[0]),
        Reshape(id="flat", path="flat", sources=("if1",), shape=(144,)),
        Linear(id="fc", path="fc", sources=("flat",), shape=(10,), weight=weight(10, 144)),
        neuron("if2", "fc", (10,), thresholds[1]),
        Readout(id="out", path="out", sources=("if2",), shape=(10,), gains=(ONE,), bias=0 * ONE),
    )
    return IntegerNetwork(8, nodes)


def our_counts(net: IntegerNetwork) -> npt.NDArray[np.int64]:
    counts = simulate(net, CODES).outputs["out"]
    assert counts.any()
    return counts


@pytest.mark.parametrize(("reset", "same"), [("hard", True), ("soft", False)])
def test_spikingjelly_gives_our_counts_where_spikes_reset_to_a_value(reset: Reset, same: bool, tmp_path: Path) -> None:
    reader = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason=EXTRA["SpikingJelly"])
    net = small(reset)
    model = reader.import_from_nir(str(write_nir(net, tmp_path / "net.nir")), dt=1.0)
    state, counts = None, torch.zeros(3, 10)
    with torch.no_grad():
        for _ in range(net.steps):
            spikes, state = model(IMAGES, state)
            counts += spikes
    assert np.array_equal(counts.numpy(), our_counts(net)) is same


@pytest.mark.parametrize(
    ("reset", "fire", "same"), [("hard", "gt", True), ("hard", "ge", False), ("soft", "gt", False)]
)
def test_norse_gives_our_counts_where_spikes_come_above_the_threshold_and_reset_to_a_value(
    reset: Reset, fire: Fire, same: bool, tmp_path: Path
) -> None:
    norse = pytest.importorskip("norse.torch", reason=EXTRA["Norse"])
    net = small(reset, fire)
    model = norse.from_nir(nir.read(write_nir(net, tmp_path / "net.nir")), dt=1.0)
    counts = torch.zeros(3, 10)
    with torch.no_grad():
        for image, count in zip(IMAGES, counts, strict=True):  # it flattens what it is given, so one sample at a time
            state = None
            for _ in range(net.steps):
                spikes, state = model(image, state)
                count += spikes
    assert np.array_equal(counts.numpy(), our_counts(net)) is same


@pytest.mark.parametrize(("low", "high", "thresholds", "same"), [(-1, 3, (400, 100), True), (-7, 7, (50, 20), False)])
def test_sinabs_gives_our_counts_where_a_step_has_one_spike_and_no_potential_is_held_at_minus_the_threshold(
    low: int, high: int, thresholds: tuple[int, int], same: bool, tmp_path: Path
) -> None:
    reader = pytest.importorskip("sinabs.nir", reason=EXTRA["sinabs"])
    net = small("soft", low=low, high=high, thresholds=thresholds)
    path = write_nir(net, tmp_path / "net.nir")
    model = reader.from_nir(str(path), batch_size=len(IMAGES))
    with torch.no_grad():
        spikes = model(IMAGES[:, None].expand(-1, net.steps, -1, -1, -1).flatten(0, 1))[0]
    counts = spikes.unflatten(0, (len(IMAGES), net.steps)).sum(1)
    assert np.array_equal(counts.numpy(), our_counts(net)) is same


@pytest.mark.parametrize("name", list(FEATURES))
@pytest.mark.parametrize(
    ("title", "package"),
    [("SpikingJelly", "spikingjelly"), ("snnTorch", "snntorch"), ("Norse", "norse"), ("sinabs", "sinabs")],
)
def test_a_file_for_a_reader_has_every_count_in_it(title: str, package: str, name: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason=EXTRA[title])
    reader, run = FOR[title]
    for net, codes, wanted in firing(name, 2, first=100):
        path = tmp_path / "net.nir"
        if graph_entries(net, reader=reader).problems:  # type: ignore[arg-type]
            with pytest.raises(ExportError, match=f"A NIR file for {title} cannot hold"):
                write_nir(net, path, reader=reader)  # type: ignore[arg-type]
            continue
        write_nir(net, path, reader=reader)  # type: ignore[arg-type]
        assert np.array_equal(quietly(run, path, codes, net.steps, seconds=60), wanted)


def test_snntorch_reads_the_weights(tmp_path: Path) -> None:
    reader = pytest.importorskip("snntorch.import_nir", reason=EXTRA["snnTorch"])
    net = small("soft")
    model = reader.import_from_nir(nir.read(write_nir(net, tmp_path / "net.nir")))
    found = {name: value.detach().numpy() for name, value in model.named_parameters()}
    for id, reader_id in (("conv", "if1"), ("fc", "if2")):
        layer, neuron = net[id], net[reader_id]
        assert isinstance(layer, Convolution | Linear)
        assert isinstance(neuron, Neuron)
        assert np.array_equal(found[f"{id}.weight"], layer.weight.codes)
        assert np.array_equal(found[f"{id}.bias"], neuron.bias[0])
