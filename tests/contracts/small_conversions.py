"""Networks whose every number is a small multiple of a power of two, converted and lowered in many ways.

All float sums on the way are exact, so thresholds, codes and integers are the same on every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from kept_networks import digest, refused
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs

IMAGES = (torch.arange(12 * 2 * 8 * 8, dtype=torch.int64) * 7919 % 101 % 17).reshape(12, 2, 8, 8) / 16


LATER = {"rounding": "floor"}
"""Fields of nodes that came after the answers were kept, with the value that everything had until then."""


def dyadic(model: nn.Module) -> nn.Module:
    """Give a model weights of eighths and norms that multiply by powers of two; it is returned in evaluation mode."""
    for number, parameter in enumerate(model.parameters()):
        values = (torch.arange(parameter.numel()) * (2 * number + 5) * 7907 % 1009 % 13 - 6).reshape(parameter.shape)
        parameter.data = values / (8 if parameter.dim() > 1 else 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | bs.ThresholdBatchNorm | bs.ShiftBatchNorm):
            module.eps = 0.25
            for name, tensor in module.named_buffers():
                if name == "running_var":
                    tensor.fill_(0.75)  # with eps the variance is 1
                elif name == "running_mean":
                    tensor.copy_(torch.arange(len(tensor)) % 3 / 4)
            module.bias.data = torch.arange(len(module.bias)) % 3 / 4
            if getattr(module, "weight", None) is not None:
                module.weight.data = 2.0 ** (torch.arange(len(module.weight)) % 3 - 1)
    return model.eval()


def chain() -> nn.Module:
    """Build convolution, norm, both pools and a linear layer."""
    return nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(24, 5)),
    )


class Branches(nn.Module):
    """A sum, a concatenation, an upsampling, a transposed and a grouped convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.left = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.right = nn.Conv2d(4, 4, 1)
        self.larger = nn.ConvTranspose2d(8, 2, 2, stride=2)
        self.last = nn.Conv2d(4, 3, 3, padding=1, bias=False)
        self.out = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(x))
        added = F.relu(self.left(x) + self.right(x))
        both = torch.cat([added, x], 1)
        spread = F.relu(self.larger(both))
        copied = F.interpolate(x, scale_factor=2, mode="nearest")
        x = F.relu(self.last(torch.cat([spread, copied[:, :2]], 1)))
        return self.out(F.adaptive_avg_pool2d(x, 1).flatten(1))


CHOICES: dict[str, tuple[Callable[[], nn.Module], dict[str, Any]]] = {
    "chain": (chain, {}),
    "chain, signed": (chain, {"neuron": bs.SignedIF}),
    "chain, layer by layer": (chain, {"schedule": "layerwise"}),
    "chain, hard reset": (chain, {"reset": "hard", "steps": 6}),
    "chain, strictly above": (chain, {"fire": "gt", "initial": 0.0}),
    "chain, split input": (chain, {"coding": "split"}),
    "chain, average by neurons": (chain, {"average_pool": "neuron"}),
    "chain, two bits": (chain, {"bits": 2, "first_bits": 4, "last_bits": 4, "per_channel": False}),
    "chain, ten bits of fraction": (chain, {"max_fraction_bits": 10}),
    "chain, bias corrected": (chain, {"correct": "bias"}),
    "chain, in part": (chain, {"include": ["3", "4", "5", "6", "7", "8"]}),
    "branches": (Branches, {}),
    "branches, not tied": (Branches, {"concat": "fold"}),
    "branches, signed": (Branches, {"neuron": bs.SignedIF, "steps": 6, "bits": 3}),
}


def described(value: Any) -> Any:
    """Return a node or a part of one as plain values; what it computes with as digests."""
    if isinstance(value, np.ndarray):
        return digest(value)
    if is_dataclass(value):
        held = {f.name: getattr(value, f.name) for f in fields(value)}
        return {name: described(part) for name, part in held.items() if name not in LATER or part != LATER[name]}
    return [described(part) for part in value] if isinstance(value, tuple) else value


def lowered(net: bs.IntegerNetwork, images: Tensor) -> dict[str, Any]:
    """Return what a lowered network is, and what it says about images."""
    trace = bs.simulate(net, bs.encode(net, images))
    return {
        "steps": net.steps,
        "nodes": {node.id: [type(node).__name__, digest(described(node))] for node in net.nodes},
        "spikes": {name: int(spikes.astype(np.int64).sum()) for name, spikes in trace.spikes.items()},
        "outputs": {name: out.reshape(len(out), -1)[:2].tolist() for name, out in trace.outputs.items()},
        "widths": [[w.layer, w.accumulator_bits, w.membrane_bits] for w in bs.widths(net)],
    }


def converted(name: str) -> dict[str, Any]:
    """Convert a network in one of the ways, lower and prove it."""
    make, choices = CHOICES[name]
    model = dyadic(make())
    options = {"steps": 8, "bits": 4, "threshold": bs.MaxThreshold(), "correct": None, **choices}

    def convert() -> dict[str, Any]:
        snn = bs.convert(model, IMAGES[:1], calibrate=IMAGES, **options)
        record = bs.conversion_of(snn)
        net = bs.lower(snn, IMAGES[:1])
        found = lowered(net, record.packed(IMAGES))
        found["certificate"] = bs.verify(net, record.packed(IMAGES)).to_dict()
        found["certificate"].pop("digest")  # of a manifest that names the version of torch
        found["values of a spike"] = {relu: digest(value.numpy()) for relu, value in record.lambdas.items()}
        return found

    return refused(convert)


SCHEMES = {
    "APoT": lambda: bs.APoT(bits=4),
    "Binary": bs.Binary,
    "DoReFa": lambda: bs.DoReFa(bits=4),
    "FixedPoint": lambda: bs.FixedPoint(step=0.125, bits=4),
    "Midrise": lambda: bs.Midrise(bits=3),
    "PowerOfTwo": lambda: bs.PowerOfTwo(bits=4),
    "Ternary": bs.Ternary,
    "Uniform": lambda: bs.Uniform(bits=4),
}
NEURONS = {
    "IF": lambda: bs.IF(initial=0.5),
    "LIF": lambda: bs.LIF(decay=0.5, reset="hard"),
    "LIF, leak after": lambda: bs.LIF(decay=0.75, leak="after", fire="gt"),
    "PLIF": lambda: bs.PLIF(threshold=0.25),
    "SignedIF": bs.SignedIF,
}
NORMS = {
    "ThresholdBatchNorm": bs.ThresholdBatchNorm,
    "ShiftBatchNorm": bs.ShiftBatchNorm,
    "BatchNorm2d": nn.BatchNorm2d,
}


def spiking(neuron: Callable[[], nn.Module], norm: Callable[[int], nn.Module]) -> nn.Module:
    """Build a small spiking network as the first page of the documents does."""
    return dyadic(
        nn.Sequential(
            bs.Repeat(steps=4),
            bs.TimeDistributed(nn.Conv2d(2, 4, 3, bias=False), norm(4)),
            neuron(),
            bs.TimeDistributed(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3, bias=False)),
            bs.RateReadout(),
        )
    )


def prepared(bits: int) -> dict[str, Any]:
    """Prepare a network for fine-tuning, finish it untrained, and lower it."""
    model, rule = dyadic(chain()), bs.MaxThreshold()
    ready = bs.prepare(model, IMAGES[:1], calibrate=IMAGES, bits=bits, steps=4, rule=rule)
    return lowered(bs.lower(bs.finish(ready, IMAGES[:1], data=IMAGES), IMAGES[:1]), IMAGES)


def trained() -> dict[str, Any]:
    """Lower a spiking network with every scheme, every neuron and every norm."""

    def lower(scheme: str = "Ternary", neuron: str = "LIF", norm: str = "ShiftBatchNorm") -> dict[str, Any]:
        model = spiking(NEURONS[neuron], NORMS[norm])
        bs.attach(model, quantize=SCHEMES[scheme]())
        model.eval()
        return lowered(bs.lower(model, example=IMAGES[:1]), IMAGES)

    return (
        {f"scheme {name}": lower(scheme=name) for name in SCHEMES}
        | {f"neuron {name}": lower(neuron=name) for name in NEURONS}
        | {f"norm {name}": lower(norm=name) for name in NORMS}
        | {f"prepared with {bits} bits": prepared(bits) for bits in (2, 4)}
    )


OF_SPIKES = ("rate", "silent", "saturated")
"""What a ledger says of spikes alone: exact, where its other fractions hang on the order of float sums."""


def ledger() -> dict[str, Any]:
    """Return the ledger of errors of a converted network: all its texts and integers, and what it says of spikes."""
    model = dyadic(chain())
    snn = bs.convert(model, IMAGES[:1], calibrate=IMAGES, steps=8, bits=4, threshold=bs.MaxThreshold(), correct=None)
    found = bs.analyze(snn, IMAGES, samples=12).to_dict()
    del found["advice"]  # sentences
    return {**_without_fractions(found), "settings": found["settings"]}


def _without_fractions(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: part if key in OF_SPIKES else _without_fractions(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_fractions(part) for part in value]
    return "a fraction" if isinstance(value, float) else value
