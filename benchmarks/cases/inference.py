"""Inference of quantised spiking networks: the integer engine against float networks of the same codes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

import bitspike as bs
from benchmarks import codes
from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.floats import FloatNet, PlainIF, spikingjelly_if
from bitspike.integer.engine import Engine
from bitspike.integer.network import IntegerNetwork
from bitspike.models import resnet20, vgg11

OURS, PEER = "Bitspike integers", "SpikingJelly IFNode, fp32"
ANNS = ("ANN (ReLU), fp32", "ANN (ReLU), fp32, channels last")
"""Which layout is faster depends on network and machine, so a target holds against both."""
BUILDS: dict[str, Callable[..., nn.Module]] = {"resnet20": resnet20, "vgg11": vgg11}


@dataclass(frozen=True)
class Network:
    """A spiking network with random codes, and everything that does the same work.

    Args:
        name: in :data:`BUILDS`.
        bits: of the weights.
        width, image_size: of the model.
    """

    name: str
    bits: int
    width: float = 1.0
    image_size: int = 32

    @property
    def sizes(self) -> dict[str, Any]:
        """Arguments of the model."""
        return {"width": self.width, "image_size": self.image_size}

    def codes(self, samples: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the input codes [1, N, C, H, W]."""
        return bs.encode(self.integers(), codes.images(samples, self.image_size))

    def integers(self) -> IntegerNetwork:
        """Return the integer network, for up to 7 steps."""
        return _integers(self)

    def bitspike(self, samples: int, steps: int) -> Call:
        """Return a call of the engine."""
        engine, x = Engine(self.integers()), self.codes(samples)
        return lambda: engine.predict(x, steps=steps)

    def floats(self, samples: int, steps: int, *, peer: bool) -> Call:
        """Return a call of the float network with SpikingJelly's neurons, or with those of plain torch."""
        net = FloatNet(self.integers(), spikingjelly_if if peer else PlainIF, repeat=peer).eval()
        x = torch.from_numpy(self.codes(samples)[0]).float()
        return _quiet(lambda: net(x, steps))

    def ann(self, samples: int, *, last: bool, half: bool = False) -> Call:
        """Return a call of the network without time, with ReLU, norms folded, in one layout or the other."""
        net = fold(BUILDS[self.name](steps=None, neuron=nn.ReLU, **self.sizes).eval())
        x = codes.images(samples, self.image_size)
        if half:
            net, x = net.bfloat16(), x.bfloat16()
        if last:
            net, x = net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        return _quiet(lambda: net(x))


@cache
def _integers(network: Network) -> IntegerNetwork:
    net = codes.spiking(BUILDS[network.name], bits=network.bits, steps=7, **network.sizes)
    return bs.lower(net, codes.images(1, network.image_size))


def fold(net: nn.Module) -> nn.Module:
    """Fold every batch norm of a network without time into the layer before it, in place."""
    for parent in net.modules():
        children = list(parent.named_children())
        for (before, layer), (name, norm) in itertools.pairwise(children):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, before, fuse_conv_bn_eval(layer, norm))
                setattr(parent, name, nn.Identity())
    return net


def _quiet(call: Call) -> Call:
    def run() -> object:
        with torch.inference_mode():
            return call()

    return run


def agree(network: Network, steps: int) -> str:
    """Return words after checking engine, reference simulator and SpikingJelly against each other.

    Raises:
        RuntimeError: an integer differs.
    """
    net, x = network.integers(), network.codes(2)
    wanted = bs.simulate(net, x, steps=steps).outputs
    (name,) = wanted
    if not np.array_equal(Engine(net).predict(x, steps=steps)[name], wanted[name]):
        raise RuntimeError(f"{network}: the engine's integers differ from those of the reference simulator")
    with torch.inference_mode():
        floats = FloatNet(net, spikingjelly_if, repeat=True, exact=True)(torch.from_numpy(x[0]).double(), steps)
    if not np.array_equal(floats.round().numpy(), wanted[name]):
        raise RuntimeError(f"{network}: SpikingJelly's logits differ from those of the reference simulator")
    return "integers equal the reference simulator's, logits SpikingJelly's in double precision"


def _group(network: Network, steps: int, samples: int, targets: list[Target]) -> Group:
    return Group(
        name=f"T = {steps}, {network.bits} bit",
        shape=f"batch {samples}, {network.image_size}x{network.image_size}",
        peer=PEER,
        agree=lambda: agree(network, steps),
        targets=targets,
        variants=[
            Variant(name=OURS, dtype="integers", build=lambda: network.bitspike(samples, steps)),
            Variant(name=PEER, needs="SpikingJelly", build=lambda: network.floats(samples, steps, peer=True)),
            Variant(name="plain torch, fp32", build=lambda: network.floats(samples, steps, peer=False)),
            Variant(name=ANNS[0], build=lambda: network.ann(samples, last=False)),
            Variant(name=ANNS[1], build=lambda: network.ann(samples, last=True)),
            Variant(name="ANN (ReLU), bf16", dtype="bf16", build=lambda: network.ann(samples, last=True, half=True)),
        ],
    )


def _faster(bound: float, *against: str) -> list[Target]:
    return [Target(variant=OURS, against=other, bound=bound) for other in against]


def _groups(name: str, tiny: bool, samples: int, targets: dict[tuple[int, int], list[Target]]) -> list[Group]:
    """Return the groups of T and bits; the float networks of all widths take the same time, and run next to each."""
    if tiny:
        return [_group(Network(name, 4, width=1 / 16, image_size=16), 3, 2, targets[3, 4])]
    pairs = [(steps, bits) for bits in (4, 2, 1) for steps in (3, 7)]
    return [_group(Network(name, bits), steps, samples, targets.get((steps, bits), [])) for steps, bits in pairs]


def _latency(tiny: bool) -> list[Group]:
    network = Network("vgg11", 1, width=1 / 16, image_size=16) if tiny else Network("vgg11", 1)
    torch_snn = "plain torch, fp32"
    return [_group(network, steps, 1, _faster(8, torch_snn)) for steps in ((3,) if tiny else (3, 7))]


_ABOUT = (
    "Random codes, norms and thresholds calibrated on random images to one spike in five steps; the first and the last "
    "layer have 8 bits. `Bitspike integers` is the integer engine. The float networks have the same codes and "
    "thresholds, norms folded into their weights. The ANN has the same layers with ReLU, no time, norms folded."
)

RESNET20 = Case(
    name="inference-resnet20",
    title="Inference of ResNet-20",
    about=_ABOUT,
    groups=lambda tiny: _groups(
        "resnet20",
        tiny,
        100,
        {(3, 4): _faster(14, PEER) + _faster(1.5, *ANNS), (7, 4): _faster(14, PEER)},
    ),
)

VGG11 = Case(
    name="inference-vgg11",
    title="Inference of VGG11",
    about=_ABOUT,
    groups=lambda tiny: _groups("vgg11", tiny, 50, {(3, 4): _faster(3, *ANNS)}),
)

LATENCY = Case(
    name="latency-vgg11",
    title="Latency of VGG11 with 1-bit weights",
    about=f"{_ABOUT} One image at a time. Plain torch sees the image once and runs the loop over time in torch.",
    groups=_latency,
)
