"""The training checks of the specification of direct training, on digits enlarged to MNIST's size."""

from __future__ import annotations

import torch
from journey_parts import large_digits
from torch import nn

from bitspike import weights
from bitspike.data import Batches, PixelGrid
from bitspike.models import mnist_net
from bitspike.train import AdamW, CrossEntropy, evaluate, fit

GRID = PixelGrid(2**-8)


def train(model: nn.Module, *, epochs: int, lr: float) -> float:
    """Train on the large digits and return the test accuracy."""
    batches = Batches(large_digits("train"), 32, pixel_grid=GRID, shuffle=True, seed=0)
    fit(model, batches, epochs=epochs, optimizer=AdamW(lr=lr, weight_decay=0.0), loss=CrossEntropy(scale=4.0))
    return evaluate(model, Batches(large_digits("test"), 180, pixel_grid=GRID)).accuracy


def test_qat_check_10_smoke_training_and_4_bit_fine_tuning() -> None:
    torch.manual_seed(0)
    model = mnist_net(steps=2, width=0.5)
    full = train(model, epochs=3, lr=2e-3)
    assert full >= 0.85
    weights.attach(model, quantize=weights.Uniform(bits=4))
    tuned = train(model, epochs=1, lr=5e-4)
    assert tuned >= full - 0.03
    found = weights.codes(model)
    assert len(found) == 4
    assert all(int(c.codes.abs().max()) <= 7 for c in found.values())
