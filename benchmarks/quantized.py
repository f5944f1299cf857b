"""Small quantized networks over time: signed neurons, unsigned ones, and what fine-tuning layer by layer changes.

    python -m benchmarks.quantized run --data digits                         appends a JSON line per bits and seed
    python -m benchmarks.quantized run --data mnist --root DATA              the same
    python -m benchmarks.conversion table                                    writes the document
What a line holds already is not measured again. A network is trained from its seed alone: weights and order of images.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import bitspike as bs
from benchmarks import machine
from benchmarks.quantized_results import COMPARED, EPOCHS, FILE, JUDGED, NAMES, TRAINED, latest
from bitspike.data import load
from bitspike.train import AdamW

NEURONS = dict(zip(NAMES, (bs.SignedIF, bs.IF), strict=True))


def cnn(*, width: int = 16, depth: int = 2, in_channels: int = 1, classes: int = 10) -> nn.Module:
    """Build ``2 * depth + 2`` convolutions of 3x3 with norms, a stride of 2 in the middle, mean and linear.

    Example:
        >>> sum(isinstance(m, nn.Conv2d) for m in cnn().modules())
        6
    """

    def block(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*block(in_channels, width), *(m for _ in range(depth) for m in block(width, width))]
    layers += [*block(width, 2 * width, 2), *(m for _ in range(depth) for m in block(2 * width, 2 * width))]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes))


def trained(x: Tensor, y: Tensor, *, bits: int, seed: int, epochs: int = EPOCHS, **sizes: int) -> nn.Module:
    """Return a quantized network after some epochs with ReLUs and as many with levels.

    Args:
        x, y: images [N, C, H, W] and labels [N].
        bits: of weights between the first and last layer, and of activations.
        seed: of the weights and of the order of images.
        sizes: of the network, see :func:`cnn`.
    """
    torch.manual_seed(seed)
    model = cnn(in_channels=x.shape[1], **sizes)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    batches = [(x[i], y[i]) for i in order.split(64)]
    choices: dict[str, Any] = {"epochs": epochs, "seed": seed, "precision": "fp32", "device": "cpu", "keep": "last"}
    bs.fit(model, batches, optimizer=AdamW(lr=3e-3), **choices)
    network = bs.quantize(model, x[:1], bits=bits, clip=3.0)
    bs.fit(network, batches, optimizer=AdamW(lr=3e-3), **choices)
    return network.eval()


@torch.no_grad()
def accuracies(network: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return the accuracy of the quantized network, and those of its spiking networks after 1 to T steps."""

    def right(outputs: Tensor) -> list[float]:
        return (outputs.argmax(-1) == y).double().mean(-1).reshape(-1).tolist()

    found: dict[str, Any] = {"quantized": right(torch.cat([network(part) for part in x.split(250)]))[0]}
    for name, neuron in NEURONS.items():
        twin = bs.spiking_twin(network, neuron=neuron)
        found[name] = right(torch.cat([twin.by_step(part) for part in x.split(250)], 1))
    return found


def shares(network: nn.Module, x: Tensor) -> dict[str, list[float]]:
    """Return by neuron the share of counts that are not their level, layer by layer."""
    return {
        name: [layer.share for layer in bs.mismatch(network, x, neuron=neuron).values()]
        for name, neuron in NEURONS.items()
    }


def images_of(data: str, root: Path | None, split: str) -> tuple[Tensor, Tensor]:
    """Return images as [N, C, H, W] in [0, 1], and labels."""
    found = load(data, split, root=root)
    high = 16 if data == "digits" else 255
    return found.images.permute(0, 3, 1, 2).float() / high, found.labels


def measured(data: str, root: Path | None, todo: list[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Train, run with both neurons, tune layer by layer and run again; one line for each pair of bits and seed."""
    (x, y), (tested, labels) = (images_of(data, root, split) for split in ("train", "test"))
    x, y = x[:TRAINED], y[:TRAINED]
    place = machine.describe()
    for bits, seed in todo:
        busy = time.process_time()
        network = trained(x, y, bits=bits, seed=seed)
        training = time.process_time() - busy
        before, missed = accuracies(network, tested, labels), shares(network, tested[:COMPARED])
        some = [(x[:JUDGED][i], y[:JUDGED][i]) for i in torch.arange(min(JUDGED, len(x))).split(50)]
        busy = time.process_time()
        tuning = bs.tune_layers(network, some, epochs=2, seed=seed)
        tuned_seconds = time.process_time() - busy
        after, missed_after = accuracies(network, tested, labels), shares(network, tested[:COMPARED])
        yield {
            "run": datetime.now(UTC).isoformat(timespec="seconds"),
            "data": data,
            "bits": bits,
            "seed": seed,
            "steps": 2**bits - 1,
            "images": len(labels),
            "trained_images": len(x),
            "epochs": [EPOCHS, EPOCHS],
            "accuracy": before,
            "mismatch": missed,
            "tuned": {
                "accuracy": after,
                "mismatch": missed_after,
                "loss": [[layer.loss_before, layer.loss_after] for layer in tuning.layers],
                "judged": [tuning.accuracy_before, tuning.accuracy_after, tuning.judged],
                "cpu_seconds": round(tuned_seconds, 1),
            },
            "cpu_seconds": round(training, 1),
            **{name: place[name] for name in ("hardware", "versions", "commit")},
        }


def main(words: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantized", description=__doc__)
    parser.add_argument("what", choices=["run"])
    parser.add_argument("--data", default="digits", choices=["digits", "mnist"])
    parser.add_argument("--root", type=Path, help="where MNIST is")
    parser.add_argument("--bits", type=int, nargs="+", default=[2])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="measure what there are lines of too")
    args = parser.parse_args(words)
    torch.set_num_threads(1)
    kept = set() if args.again else {(line["data"], line["bits"], line["seed"]) for line in latest()}
    todo = [(b, s) for b in args.bits for s in args.seeds if (args.data, b, s) not in kept]
    for line in measured(args.data, args.root, todo):
        text = json.dumps(line, ensure_ascii=False)
        print(text, flush=True)
        with FILE.open("a", encoding="utf-8") as kept_lines:
            kept_lines.write(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
