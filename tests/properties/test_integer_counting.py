"""Count mode equals every step of a run layer by layer, for every network that has one."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from random_networks import layerwise, random_codes, random_network

from bitspike.integer.count import count
from bitspike.integer.nodes import Burst, per_channel
from bitspike.integer.schedule import schedule
from bitspike.integer.simulate import simulate


@pytest.mark.parametrize("block", range(3))
def test_convert_check_07_count_mode_is_the_simulation_layer_by_layer(block: int) -> None:
    """Every count of every neuron and every output, over all nodes, branches, biases and comparisons."""
    seen: Counter[str] = Counter()
    for seed in range(block * 50, block * 50 + 50):
        random = np.random.default_rng(seed)
        net = layerwise(random_network(random, counting=True))
        assert schedule(net) == "layerwise"
        codes = random_codes(random, net, samples=3, extreme=seed % 5 == 0)
        found, trace = count(net, codes), simulate(net, codes)
        assert found.keys() == trace.spikes.keys() | trace.outputs.keys()
        for id, spikes in trace.spikes.items():
            assert np.array_equal(found[id], spikes.sum(0, dtype=np.int64)), net[id]
            seen.update(np.unique(found[id] / net.steps).round(1).astype(str))
        for id, output in trace.outputs.items():
            assert np.array_equal(found[id], output)
        seen.update(type(n).__name__ for n in net.nodes)
    assert {"CountMaxPool", "TransposedConvolution", "Concat", "0.0", "0.5", "1.0"} <= set(seen), "too tame"


def test_a_run_step_by_step_differs_from_count_mode_where_it_says_so() -> None:
    """The first neurons that read changing charge: their own unevenness explains every difference."""
    differing = 0
    for seed in range(80):
        random = np.random.default_rng(seed)
        net = random_network(random, kinds=("convolution", "sum", "add"), counting=True)
        if net.input.constant or any(isinstance(n, Burst) for n in net.nodes):
            continue
        codes = random_codes(random, net, samples=3)
        trace, first = simulate(net, codes), net.neurons[0]
        found = count(net, codes)[first.id] != trace.spikes[first.id].sum(0, dtype=np.int64)
        # The final potential tells: charge that was cancelled after a spike, or that came too late for one.
        theta, sent = per_channel(first.threshold[:1], len(first.shape))[0], trace.spikes[first.id]
        left = trace.potentials[first.id][-1] - theta * sent[-1] - (first.fire == "gt")
        total = sent.sum(0, dtype=np.int64)
        assert np.array_equal(found, ((left < 0) & (total > 0)) | ((left >= theta) & (total < net.steps)))
        differing += int(found.sum())
    assert differing > 0
