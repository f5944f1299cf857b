"""Train a spiking network with 2-bit weights on real digits, lower it to integers, and prove the integers.

    python examples/digits.py

The network lies on a declared grid (power-of-two weight steps, ShiftBatchNorm, a leak of 1/2), so the integers do
exactly what training did: `lower` has nothing to note, and every spike of the float network agrees.
"""

from __future__ import annotations

import argparse

from torch import nn

import bitspike as bs
from bitspike import data, train
from bitspike.weights.scales import MeanAbs


def build(steps: int = 4) -> nn.Module:
    """A small convolutional network over time-first tensors [T, N, ...]."""
    model = nn.Sequential(
        bs.Repeat(steps),
        bs.TimeDistributed(nn.Conv2d(1, 24, 3, padding=1, bias=False), bs.ShiftBatchNorm(24)),
        bs.LIF(decay=0.5, threshold=1.0),
        bs.TimeDistributed(nn.AvgPool2d(2), nn.Conv2d(24, 48, 3, padding=1, bias=False), bs.ShiftBatchNorm(48)),
        bs.LIF(decay=0.5, threshold=1.0),
        bs.TimeDistributed(nn.Flatten(), nn.Linear(48 * 4 * 4, 10, bias=False)),
        bs.RateReadout(),
    )
    return bs.attach(model, quantize=bs.Ternary(scale=bs.Dyadic(MeanAbs())))


def main(epochs: int = 20) -> None:
    """Run the whole way and print what came out."""
    pixels = data.PixelGrid(scale=1 / 16)
    digits, test_digits = data.load("digits", split="train"), data.load("digits", split="test")
    loader = data.Batches(digits, 64, pixel_grid=pixels, shuffle=True)
    test = data.Batches(test_digits, 500, pixel_grid=pixels)

    model = build()
    bs.fit(
        model,
        loader,
        epochs=epochs,
        seed=0,
        optimizer=train.AdamW(lr=5e-3),
        loss=train.CrossEntropy(label_smoothing=0.1),
    )

    net = bs.lower(model, example=next(iter(test))[0][:1], grid=pixels.grid(16))
    print("rounded by lowering:", list(net.notes) or "nothing")
    print(bs.verify(net, test))
    agreement = bs.compare(model, net, test)
    print(f"accuracy: {agreement.accuracy:.2%} trained, {agreement.lowered_accuracy:.2%} in integers")
    print(f"equal spikes: {agreement.spikes:.4%}; weights: {net.weight_bytes():,} bytes at 2 bits")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=20)
    main(parser.parse_args().epochs)
