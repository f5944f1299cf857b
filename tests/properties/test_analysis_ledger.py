"""On random networks the ledger closes, and layer by layer there is no unevenness: steps equal counts everywhere."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from random_models import RandomModel

import bitspike as bs
from bitspike.analysis.ledger.analyze import analyze


def choices(seed: int) -> dict[str, Any]:
    """Draw the settings of a conversion."""
    draw = random.Random(seed)
    return {
        "steps": draw.choice([1, 2, 3, 5]),
        "bits": draw.choice([1, 2, 4, 8]),
        "per_channel": draw.random() < 0.5,
        "average_pool": draw.choice(["sum", "neuron"]),
        "fire": draw.choice(["ge", "ge", "gt"]),
        "max_fraction_bits": draw.choice([0, 8]),
        "coding": draw.choice(["direct", "split"]),
        "threshold": draw.choice([bs.MaxThreshold(), bs.PercentileThreshold(99.0), bs.MSEThreshold()]),
    }


@pytest.mark.parametrize("batch", range(6))
def test_random_networks(batch: int) -> None:
    for seed in range(5 * batch, 5 * batch + 5):
        model = RandomModel(seed).double()
        generator = torch.Generator().manual_seed(seed)
        x = torch.rand(4, model.channels, model.size, model.size, generator=generator, dtype=torch.float64)
        even = bs.convert(model, x[:1], calibrate=x, schedule="layerwise", **choices(seed))
        other = {1: {"neuron": bs.SignedIF}, 2: {"reset": "hard"}}.get(seed % 3, {})
        uneven = bs.convert(model, x[:1], calibrate=x, **choices(seed), **other)
        for network in (even, uneven):
            ledger = analyze(network, x)
            assert ledger.closure < 1e-6, seed
            total = sum(part.part for part in ledger.output.parts)
            assert total == pytest.approx(ledger.measured, rel=1e-6, abs=1e-12), seed
            if network is even:
                for layer in ledger.layers:
                    assert layer.local["unevenness"].rms < 1e-5, (seed, layer.id)
                    assert layer.cumulative["unevenness"].rms < 1e-5, (seed, layer.id)
