"""Random networks convert, and the integers equal the spiking network spike for spike; or an error says why not."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from random_models import BROKEN, RandomModel
from torch import Tensor, fx

import bitspike as bs
from bitspike.conversion.result import conversion_of, spiking_part
from bitspike.errors import ConversionError

GRAPHS, BATCHES = 500, 20
REFUSED = 200


def choices(seed: int) -> dict[str, Any]:
    """Draw the settings of a conversion."""
    draw = random.Random(seed + 10_000)
    made: dict[str, Any] = {
        "steps": draw.choice([1, 2, 3, 5]),
        "bits": draw.choice([1, 2, 3, 4, 8]),
        "per_channel": draw.random() < 0.5,
        "average_pool": draw.choice(["sum", "neuron"]),
        "fire": draw.choice(["ge", "ge", "gt"]),
        "initial": draw.choice([0.0, 0.5]),
        "max_fraction_bits": draw.choice([0, 4, 8]),
        "threshold": draw.choice([bs.MaxThreshold(), bs.PercentileThreshold(99.0), bs.MSEThreshold()]),
    }
    way = draw.choice(["plain", "plain", "signed", "hard", "layerwise"])
    if way == "signed":
        made["neuron"] = bs.SignedIF
    elif way == "hard":
        made["reset"] = "hard"
    elif way == "layerwise":
        made["schedule"] = "layerwise"
    made["correct"] = draw.choice([None, None, "auto", "bias", ("potential", "bias"), ("least_squares", "potential")])
    return made


class Spikes(fx.Interpreter):
    """Runs a spiking network and keeps what its neurons send."""

    def __init__(self, network: fx.GraphModule) -> None:
        super().__init__(network)
        self.sent: dict[str, Tensor] = {}

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().call_module(target, args, kwargs)
        if isinstance(self.module.get_submodule(str(target)), bs.Neuron):
            self.sent[str(target)] = result
        return result


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_networks_convert_and_verify_exactly(batch: int) -> None:
    for seed in range(batch * GRAPHS // BATCHES, (batch + 1) * GRAPHS // BATCHES):
        model = RandomModel(seed)
        generator = torch.Generator().manual_seed(seed)
        images = torch.rand(6, model.channels, model.size, model.size, generator=generator)
        snn = bs.convert(model, images[:1], calibrate=images, **choices(seed))
        result = snn(images)
        expected = model(images)
        for found, wanted in (
            zip(result, expected, strict=True) if isinstance(expected, tuple) else [(result, expected)]
        ):
            assert found.shape == wanted.shape, seed
        part = spiking_part(snn)
        entries = conversion_of(snn).entries(images)
        net = bs.lower(snn, images[:1])
        assert not net.notes, (seed, net.notes)
        run = Spikes(part)
        with torch.no_grad():
            run.run(*entries)
        codes = bs.encode(net, entries[0])
        trace = bs.simulate(net, codes)
        assert len(net.neurons) == len(run.sent) > 0, seed
        for node in net.neurons:
            same = torch.equal(torch.from_numpy(trace.spikes[node.id]).float(), run.sent[node.path].float())
            assert same, f"seed {seed}: {node.path} differs"
        certificate = bs.verify(net, entries[0])
        assert certificate.equal, (seed, certificate)


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_networks_with_something_else_are_refused_by_its_name(name: str) -> None:
    for seed in range(-(-REFUSED // len(BROKEN))):
        model = RandomModel(seed, broken=name)
        images = torch.rand(2, model.channels, model.size, model.size)
        with pytest.raises(ConversionError) as refused:
            bs.convert(model, images[:1], calibrate=images, steps=2)
        words = {"product": "mul", "batch_mean": "mean", "softmax": "softmax"}
        assert words.get(name, name) in str(refused.value), (seed, str(refused.value))
