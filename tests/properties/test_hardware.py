"""Chip checks and energy hold for every network that the integer form can express."""

from __future__ import annotations

import numpy as np
import pytest
from random_networks import random_codes, random_network

from bitspike.hardware.chips.check import check
from bitspike.hardware.chips.chip import Chip, names
from bitspike.hardware.chips.plan_repairs import plan
from bitspike.hardware.energy.activity import counts
from bitspike.hardware.energy.operations import MemoryModel, energy
from bitspike.integer.bounds.widths import bounds
from bitspike.integer.nodes import Convolution, Linear, SumPool, TransposedConvolution
from bitspike.integer.simulate import simulate


@pytest.mark.parametrize("seed", range(40))
def test_no_potential_and_no_output_leaves_its_bounds(seed: int) -> None:
    random = np.random.default_rng(seed)
    net = random_network(random)
    found = bounds(net)
    trace = simulate(net, random_codes(random, net, 8, extreme=seed % 2 == 0))
    for id, potentials in trace.potentials.items():
        low, high = found[id].membrane
        assert low <= potentials.min()
        assert potentials.max() <= high
    for id, outputs in trace.outputs.items():
        low, high = found[id].membrane
        assert low <= outputs.min()
        assert outputs.max() <= high


@pytest.mark.parametrize("seed", range(40))
def test_every_network_can_be_checked(seed: int) -> None:
    net = random_network(np.random.default_rng(seed))
    assert check(net, "generic-int").errors == tuple(v for v in check(net, "generic-int").errors if v.code == "E103"), (
        "without limits only layers without neurons between them are wrong"
    )
    for name in names():
        report = check(net, name)
        assert str(report)
        assert report.failed <= report.layers
        assert report.passed == (report.failed == 0) or report.errors


@pytest.mark.parametrize("seed", range(25))
def test_a_plan_makes_the_rules_of_neurons_hold(seed: int) -> None:
    net = random_network(np.random.default_rng(seed))
    chip = Chip(name="small", weight_bits=(1, 2, 3, 4))
    repairs = {r.path: r for r in plan(net, chip)}
    wrong = {v.path for v in check(net, chip).errors if v.code == "E108"}
    # A layer that feeds no neuron directly has none to fit.
    assert set(repairs) <= wrong
    assert all(r.bits in chip.weight_bits for r in repairs.values())


@pytest.mark.parametrize("seed", range(40))
def test_every_network_has_an_energy(seed: int) -> None:
    random = np.random.default_rng(seed)
    net = random_network(random)
    codes = random_codes(random, net, 3)
    trace = simulate(net, codes)
    report = energy(net, trace, codes=codes, memory=MemoryModel())
    assert report.samples == 3
    assert 0 < report.energy_pj <= report.high_pj
    assert report.energy_pj <= report.repeated_pj
    for line, neuron in zip(report.neurons, net.neurons, strict=True):
        assert line.rate == pytest.approx(np.abs(trace.spikes[neuron.id]).mean())
    assert report.to_dict()["verdict"]
    again = energy(net, counts(net, trace, codes=codes), memory=MemoryModel())
    assert again.energy_pj == pytest.approx(report.energy_pj)


@pytest.mark.parametrize("seed", range(25))
def test_a_spike_never_reaches_more_than_the_dense_pass_reads(seed: int) -> None:
    net = random_network(np.random.default_rng(seed))
    shapes = {node.id: node.shape for node in net.nodes}
    for node in net.nodes:
        if isinstance(node, Convolution | TransposedConvolution | Linear | SumPool):
            source = shapes[node.sources[0]]
            reach = np.broadcast_to(node.reach(source), source)
            assert reach.min() >= 0
            assert reach.sum() <= node.operations(source)
            if isinstance(node, Convolution | SumPool) and not any(node.padding):
                assert reach.sum() == node.operations(source)
