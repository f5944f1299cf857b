"""A training step of a quantized network over time: neurons in one pass, against neurons that torch scales."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import bitspike as bs
from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.cases.training import batch, ours
from bitspike.conversion.quantized.over_time import QuantNeuron
from bitspike.devices import choose_precision
from bitspike.models import resnet20
from bitspike.train import SGD

BITS = 3
PEER = "scaled by torch"


def twin(width: float, x: Tensor, *, one_pass: bool = True) -> nn.Module:
    """Return the spiking network of a quantized one; without ``one_pass`` torch divides and multiplies by the clip."""
    torch.manual_seed(0)
    network: nn.Module = bs.spiking_twin(bs.quantize(resnet20(steps=None, width=width), x[:1], bits=BITS))
    if not one_pass:  # what a hook listens to is called as it is written
        for module in network.modules():
            if isinstance(module, QuantNeuron):
                module.neuron.register_forward_hook(lambda *_: None)
    return network


def step(width: float, samples: int, *, one_pass: bool = True) -> Call:
    """Return a step as ``bs.fit`` makes it."""
    x, y = batch(samples, 32)
    run = ours(twin(width, x, one_pass=one_pass), optimizer=SGD(lr=1e-3))
    return lambda: run(x, y)


def _agree(width: float, samples: int) -> str:
    x, _ = batch(samples, 32)
    with torch.no_grad():
        if not torch.equal(twin(width, x).eval()(x), twin(width, x, one_pass=False).eval()(x)):
            raise RuntimeError("the two ways give other outputs")
    return "outputs in fp32 equal bit for bit"


def groups(tiny: bool) -> list[Group]:
    """Return the step in both ways."""
    samples, width = (2, 1 / 8) if tiny else (64, 1.0)
    half = choose_precision("auto", "cpu")
    return [
        Group(
            name="time",
            shape=f"batch {samples}, 32x32, T = {2**BITS - 1}",
            peer=PEER,
            agree=lambda: _agree(width, samples),
            variants=[
                Variant(name="Bitspike", dtype=half, build=lambda: step(width, samples)),
                Variant(name=PEER, dtype=half, build=lambda: step(width, samples, one_pass=False)),
            ],
            targets=[Target(variant="Bitspike", against=PEER, bound=None)],
        )
    ]


CASE = Case(
    name="over-time-resnet20",
    title="Step of training a quantized ResNet-20 over time",
    about=(
        "`bs.spiking_twin` of a 3-bit ResNet-20, 7 steps: forward, backward and a step of SGD. A spike is worth the "
        "clip of its layer, which learns. Other way: currents are divided and spikes multiplied by it in torch, and "
        "the neuron alone is a native loop."
    ),
    groups=groups,
)
