"""A network that is said otherwise for a reader of NIR has the same spikes, as integers and read back from its file."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
from benchmarks.reader_networks import FEATURES, Feature, codes_for, feature_network
from nir_runs import run_file

from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.nir.fit import for_reader
from bitspike.formats.nir.graph import graph_entries
from bitspike.formats.nir.readers import READERS, Form, Reader
from bitspike.formats.nir.scale import equal_thresholds
from bitspike.formats.nir.write import read_nir, write_nir
from bitspike.integer.examples import one_convolution
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Convolution, Neuron
from bitspike.integer.simulate import Trace, simulate
from bitspike.ops.grids import Dyadic

HOLDS = {
    "norse": {*FEATURES} - {"v0-hard", "shortcut"},
    "sinabs": {"quiet"},
    "snntorch": {*FEATURES} - {"soft-ge", "soft-gt", "quiet", "v0-hard", "v0-soft", "leak-soft"},
    "spikingjelly": {*FEATURES} - {"soft-ge", "soft-gt", "quiet", "v0-hard", "v0-soft", "leak-soft"},
}
"""The features that a file for a reader holds."""


def networks() -> list[tuple[str, IntegerNetwork]]:
    return [
        (name, feature_network(np.random.default_rng(seed), f)) for name, f in FEATURES.items() for seed in range(3)
    ]


def assert_same(found: Trace, wanted: Trace) -> None:
    assert found.spikes.keys() == wanted.spikes.keys()
    for id, spikes in wanted.spikes.items():
        assert np.array_equal(found.spikes[id].reshape(spikes.shape), spikes), id
    for id, sums in wanted.outputs.items():
        assert np.array_equal(found.outputs[id].reshape(sums.shape), sums), id


def counted_as_read(node: Neuron, form: Form) -> Neuron:
    """Return the neuron that runs as a written one is read: potentials grow with the file's currents."""
    up, down = form.per_count
    grown: dict[str, Any] = {name: getattr(node, name) * up // down for name in ("threshold", "initial", "v_reset")}
    return replace(node, bias=node.bias + form.offset, unit=node.unit * down / up, **grown)


def equal_network(net: IntegerNetwork, reader: Reader) -> IntegerNetwork:
    """Return the integer network that a reader of the file runs, before it is written: equal spikes, other numbers."""
    fitted = for_reader(net, reader)
    assert not fitted.problems
    nodes = [counted_as_read(n, fitted.forms[n.id]) if isinstance(n, Neuron) else n for n in fitted.net.nodes]
    return replace(net, nodes=tuple(nodes))


@pytest.mark.parametrize("reader", list(READERS))
def test_what_is_said_for_a_reader_has_the_same_spikes_as_integers_and_read_back(
    reader: Reader, tmp_path: Path
) -> None:
    held: Counter[str] = Counter()
    for name, net in networks():
        if graph_entries(net, reader=reader).problems:
            continue
        codes = codes_for(np.random.default_rng(1), net)
        wanted = simulate(net, codes)
        assert sum(s.sum() for s in wanted.spikes.values()) > 0
        assert_same(simulate(equal_network(net, reader), codes), wanted)
        path = write_nir(net, tmp_path / "net.nir", reader=reader)
        assert_same(simulate(read_nir(path), codes), wanted)
        graph = nir.read(path)  # with its check of types
        assert graph.metadata["snn.reader"] == reader
        held[name] += 1
    assert set(held) == HOLDS[reader]
    assert set(held.values()) <= {3}


@pytest.mark.parametrize("leak", [Dyadic(1, 0), Dyadic(1, 1), Dyadic(3, 2)])
def test_channels_fire_at_one_threshold_where_powers_of_two_make_it_so(leak: Dyadic, tmp_path: Path) -> None:
    for seed in range(6):
        random = np.random.default_rng(seed)
        net = feature_network(random, Feature("", reset=random.choice(["soft", "hard"]), leak=leak, first=seed % 2))
        spread = {"fire1": 2 ** random.integers(0, 3, 4), "fire2": 2 ** random.integers(0, 3, 10)}
        nodes = tuple(
            replace(n, threshold=n.threshold * spread[n.id], gains=(n.gains[0] * spread[n.id],))
            if isinstance(n, Neuron)
            else n
            for n in net.nodes
        )
        net = replace(net, nodes=nodes)
        codes = codes_for(random, net)
        wanted = simulate(net, codes)
        made = equal_thresholds(net)
        assert_same(simulate(made, codes), wanted)
        assert all((n.threshold == n.threshold[0, 0]).all() for n in made.neurons)
        for a, b in zip(made.neurons, net.neurons, strict=True):
            assert np.array_equal(a.threshold * a.unit, b.threshold * b.unit)
        path = write_nir(net, tmp_path / "net.nir")
        spikes, outputs = run_file(path, codes)
        assert_same(Trace(spikes, {}, outputs), wanted)  # type: ignore[arg-type]
        assert_same(simulate(read_nir(path), codes), wanted)
        graph = nir.read(path)
        assert all(np.unique(n.v_threshold).size == 1 for n in graph.nodes.values() if hasattr(n, "v_threshold"))


@pytest.mark.parametrize(
    "changes",
    [{"threshold": np.array([[6, 10, 6, 6]])}, {"floor": -3}, {"width": 9}, {"leak": Dyadic(1, 1)}],
    ids=["other factors", "floor", "width", "a leak that rounds"],
)
def test_other_thresholds_stay(changes: dict[str, object]) -> None:
    net = feature_network(np.random.default_rng(0), FEATURES["hard-ge"])
    old = replace(net.neurons[0], **{"threshold": np.array([[4, 8, 4, 8]]), **changes})
    net = replace(net, nodes=tuple(old if n is net.neurons[0] else n for n in net.nodes))
    assert equal_thresholds(net).neurons[0] is old


def test_what_a_reader_runs_otherwise_is_refused_node_by_node_with_the_way_out(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    soft = feature_network(random, FEATURES["v0-soft"])
    with pytest.raises(
        ExportError, match=r"(?s)SpikingJelly cannot hold 2 of.*fire1  Neuron fire1: it resets by subtr"
    ) as e:
        write_nir(soft, tmp_path / "net.nir", reader="spikingjelly")
    assert e.value.fix == 'reader="norse" (--for norse)'
    write_nir(soft, tmp_path / "net.nir", reader="norse")
    with pytest.raises(ExportError, match="it starts at 30, and sinabs starts"):
        write_nir(soft, tmp_path / "net.nir", reader="sinabs")
    with pytest.raises(ExportError, match="2 branches meet in it, and Norse takes one of them"):
        write_nir(feature_network(random, FEATURES["shortcut"]), tmp_path / "net.nir", reader="norse")
    with pytest.raises(
        ExportError, match=r"its potential may reach \d+: from \d+ on, sinabs sends several spikes at once"
    ):
        write_nir(feature_network(random, FEATURES["soft-ge"]), tmp_path / "net.nir", reader="sinabs")
    with pytest.raises(ExportError, match="it starts at 30 and resets to 0, and snnTorch starts at the latter"):
        write_nir(feature_network(random, FEATURES["v0-hard"]), tmp_path / "net.nir", reader="snntorch")


def test_a_leak_that_rounds_is_refused(tmp_path: Path) -> None:
    net = feature_network(np.random.default_rng(0), FEATURES["leak-half"])
    coarse = tuple(
        replace(n, gains=(n.gains[0] // 2,), bias=n.bias // 2) if isinstance(n, Neuron) else n for n in net.nodes
    )
    with pytest.raises(ExportError, match=r"its leak of 1/2 rounds down within the steps of a run, and Norse does not"):
        write_nir(replace(net, steps=8, nodes=coarse), tmp_path / "net.nir", reader="norse")


def test_a_reader_or_units_that_do_not_exist_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConstraintError, match="reader='nengo': allowed are norse, sinabs, snntorch, spikingjelly"):
        write_nir(one_convolution(), tmp_path / "net.nir", reader="nengo")  # type: ignore[arg-type]
    with pytest.raises(ConstraintError, match="units='real': a file for norse has integer units"):
        write_nir(one_convolution(), tmp_path / "net.nir", units="real", reader="norse")


@pytest.mark.parametrize("kernel", [(3, 1), (1, 3), (2, 4), (5, 3)])
def test_a_kernel_that_is_not_square_is_read_with_its_types_checked(kernel: tuple[int, int], tmp_path: Path) -> None:
    """The package nir 1.0.8 takes the first side of a kernel for both."""
    random = np.random.default_rng(3)
    net = feature_network(random, FEATURES["hard-ge"])
    conv, padding = net["conv"], tuple(k // 2 for k in kernel)
    assert isinstance(conv, Convolution)
    inside = tuple(6 + 2 * p - k + 1 for p, k in zip(padding, kernel, strict=True))
    codes = random.integers(-7, 8, (4, 2, *kernel))
    made = replace(conv, weight=replace(conv.weight, codes=codes), padding=padding, shape=(4, *inside))
    size = int(np.prod(made.shape))
    fc = net["fc"]
    weight = replace(fc.weight, codes=random.integers(-7, 8, (10, size)))  # type: ignore[attr-defined]
    parts = {
        "conv": made,
        "fire1": replace(net["fire1"], shape=made.shape),
        "flat": replace(net["flat"], shape=(size,)),
    }
    parts |= {"fc": replace(fc, weight=weight)}  # type: ignore[call-arg]
    net = replace(net, nodes=tuple(parts.get(n.id, n) for n in net.nodes))
    entry = codes_for(random, net)
    wanted = simulate(net, entry)
    for reader in (None, "spikingjelly"):
        path = write_nir(net, tmp_path / "net.nir", reader=reader)
        nir.read(path)
        assert_same(simulate(read_nir(path), entry), wanted)
