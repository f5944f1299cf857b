"""One training step of a VGG: forward, backward and the optimiser, in time and in memory, against the peers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from benchmarks import mirror
from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.products import alone
from bitspike import models
from bitspike.devices import Precision, choose_precision
from bitspike.nn import checkpoint_layers
from bitspike.train import SGD
from bitspike.train.launch import Workers

DECAY = 0.5
MOMENTUM = SGD(lr=0.1, momentum=0.9)
PEER = "SpikingJelly"
FLOOR = "the convolutions and products alone"

Keep = Literal["all", "bits", "inputs"]
BITS, INPUTS = "Bitspike, spikes as bits", "Bitspike, layers run again"

Step = Callable[[Tensor, Tensor], float]
"""Makes one step on images [N, C, H, W] and labels [N] and returns the loss."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A model of ours with the same weights at every call, and as the peers write it.

    Args:
        name: of a function of :mod:`bitspike.models`.
        steps: T.
        width, image_size: of the model.
        device: where it is trained.
    """

    name: str
    steps: int
    width: float = 1.0
    image_size: int = 32
    device: str = "cpu"

    def model(self) -> nn.Module:
        """Return our network of LIF neurons with a hard reset."""
        torch.manual_seed(0)
        sizes = {"width": self.width, "image_size": self.image_size}
        return getattr(models, self.name)(steps=self.steps, neuron=lambda: bs.LIF(DECAY, reset="hard"), **sizes)

    def bitspike(self, precision: Precision = "auto", *, keep: Keep = "all") -> Step:
        """Return a step as ``bs.fit`` makes it, in its precision and its layout.

        Args:
            precision: as ``bs.fit`` takes it.
            keep: all that the backward pass wants, spikes as bits, or inputs of layers, which are then run again.
        """
        model = self.model()
        if keep != "all":
            checkpoint_layers(model, recompute=keep == "inputs")
        return ours(model, precision, device=self.device)

    def spikingjelly(self, *, half: bool = False) -> Step:
        """Return a step of the same network in SpikingJelly's modules, with its autocast to bf16 or without."""
        lif = lambda: mirror.spikingjelly_lif(DECAY)  # noqa: E731
        return theirs(
            mirror.SpikingJellyNet(mirror.outline(self.model()), self.steps, lif), half=half, device=self.device
        )

    def snntorch(self) -> Step:
        """Return a step of the same network with snnTorch's neurons."""
        leaky = lambda: mirror.snntorch_leaky(DECAY)  # noqa: E731
        return theirs(mirror.SnnTorchNet(mirror.outline(self.model()), self.steps, leaky), device=self.device)

    def batch(self, samples: int) -> tuple[Tensor, Tensor]:
        """Return images and labels for it, on its device."""
        x, y = batch(samples, self.image_size)
        return x.to(self.device), y.to(self.device)


def batch(samples: int, image_size: int) -> tuple[Tensor, Tensor]:
    """Return random images [N, 3, H, W], channels last in memory as ``bs.data.Batches`` gives them, and labels [N]."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(samples, 3, image_size, image_size, generator=generator)
    y = torch.randint(0, 10, (samples,), generator=generator)
    return x.to(memory_format=torch.channels_last), y


def ours(net: nn.Module, precision: Precision = "auto", *, optimizer: SGD = MOMENTUM, device: str = "cpu") -> Step:
    """Return a step as ``bs.fit`` makes it.

    Args:
        net: any network; it is trained where it stands.
        precision: as ``bs.fit`` takes it.
        optimizer: what is built of it is part of the step.
        device: where it is trained.
    """
    workers = Workers(choose_precision(precision, device), device)
    wrapped, stepper = workers.setup(net, optimizer.build(net))
    wrapped.train()

    def step(x: Tensor, y: Tensor) -> float:
        loss = F.cross_entropy(wrapped(x), y)
        stepper.zero_grad()
        workers.backward(loss)
        stepper.step()
        return loss.item()

    return step


def theirs(net: nn.Module, *, half: bool = False, device: str = "cpu") -> Step:
    """Return a step as the tutorials of the peers write it; they hand contiguous images to a contiguous network.

    Args:
        net: its ``reset()`` forgets the potentials.
        half: with autocast to bf16.
        device: where it is trained.
    """
    net.to(device)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net.train()

    def step(x: Tensor, y: Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=half):
            loss = F.cross_entropy(net(x.contiguous()), y)
        loss.backward()
        optimizer.step()
        net.reset()
        return loss.item()

    return step


def timed(network: Network, make: Callable[[], Step], samples: int) -> Call:
    """Return a call that makes one step on the same batch."""
    step, (x, y) = make(), network.batch(samples)
    return lambda: step(x, y)


def weighed(network: Network, make: Callable[[], Step], samples: int) -> Call:
    """Return the same after a step on two images, which makes gradients and momentum and loads what is loaded late."""
    step, (x, y) = make(), network.batch(samples)
    step(x[:2].contiguous(memory_format=torch.channels_last), y[:2])
    return lambda: step(x, y)


def agree(network: Network, samples: int) -> str:
    """Return words after checking that our step in fp32 has the loss of SpikingJelly's.

    Raises:
        RuntimeError: the losses differ by more than spikes on the edge of their threshold explain.
    """
    x, y = network.batch(samples)
    mine, other = network.bitspike("fp32")(x, y), network.spikingjelly()(x, y)
    if abs(mine - other) > 1e-2 * abs(other):
        raise RuntimeError(f"{network.name}: the loss of Bitspike is {mine}, that of SpikingJelly {other}")
    return "loss in fp32 equal to SpikingJelly's within " + ("0.01 %" if abs(mine - other) < 1e-4 * other else "1 %")


def _groups(name: str, tiny: bool, *, faster: float, smaller: float) -> list[Group]:
    network = Network(name=name, steps=2, width=1 / 16) if tiny else Network(name=name, steps=4)
    samples = 2 if tiny else 32
    shape = f"T = {network.steps}, batch {samples}, 32x32"
    kinds: list[tuple[str, str | None, str, Callable[[], Step]]] = [
        ("Bitspike", None, "auto", network.bitspike),
        (BITS, None, "auto", lambda: network.bitspike(keep="bits")),
        (INPUTS, None, "auto", lambda: network.bitspike(keep="inputs")),
        ("Bitspike, fp32", None, "fp32", lambda: network.bitspike("fp32")),
        (PEER, "SpikingJelly", "fp32", network.spikingjelly),
        (f"{PEER}, autocast", "SpikingJelly", "bf16", lambda: network.spikingjelly(half=True)),
        ("snnTorch", "snnTorch", "fp32", network.snntorch),
    ]

    def variants(call: Callable[[Network, Callable[[], Step], int], Call]) -> list[Variant]:
        found = []
        for label, needs, dtype, make in kinds:
            shown = choose_precision("auto", "cpu") if dtype == "auto" else dtype
            build = lambda make=make: call(network, make, samples)  # noqa: E731
            found.append(Variant(name=label, needs=needs, dtype=shown, build=build))
        return found

    half = choose_precision("auto", "cpu")
    dtype = torch.bfloat16 if half == "bf16" else torch.float32
    floor = Variant(name=FLOOR, dtype=half, build=lambda: alone(network.model(), network.batch(samples)[0], dtype))
    return [
        Group(
            name="time",
            shape=shape,
            peer=PEER,
            variants=[*variants(timed), floor],
            targets=[
                Target(variant="Bitspike", against=PEER, bound=faster),
                Target(variant="Bitspike", against=FLOOR, bound=None, sense="at most"),
            ],
            agree=lambda: agree(network, samples),
        ),
        Group(
            name="peak memory",
            shape=shape,
            unit="MB",
            peer=PEER,
            variants=variants(weighed),
            targets=[Target(variant=name, against=PEER, bound=smaller) for name in ("Bitspike", BITS)],
        ),
    ]


_ABOUT = (
    "Forward, backward and a step of SGD with momentum on one batch of random images, the same weights in every "
    "library. `Bitspike` is the step that `bs.fit` makes, in the precision it chooses on this machine. Memory is the "
    "rise of the resident set during a step, beyond weights, gradients and momentum, in a process of its own. The row "
    "of the convolutions and products alone runs those of the step with torch's operators and nothing between them."
)

VGG9 = Case(
    name="training-vgg9",
    title="Training step of VGG9",
    about=_ABOUT,
    groups=lambda tiny: _groups("vgg9", tiny, faster=7, smaller=5),
)

VGG11 = Case(
    name="training-vgg11",
    title="Training step of VGG11",
    about=_ABOUT,
    groups=lambda tiny: _groups("vgg11", tiny, faster=5, smaller=5),
)
