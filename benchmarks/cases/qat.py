"""A step of quantisation-aware training of the ResNet-20 ANN against the same arithmetic in plain torch modules."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from benchmarks import plain
from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.cases.training import FLOOR, Step, batch, ours
from benchmarks.products import alone
from bitspike.devices import Precision, choose_precision
from bitspike.models import resnet20

BITS, EDGE_BITS, CLIP = 4, 8, 6.0
EDGES = ["stem.conv", "head.linear"]
PEER = "plain torch modules"


def model(width: float) -> nn.Module:
    """Return our network before its weights are quantised, the same at every call."""
    torch.manual_seed(0)
    neuron = lambda: bs.QuantReLU(bits=BITS, clip=CLIP)  # noqa: E731
    return resnet20(steps=None, neuron=neuron, width=width)


def bitspike(width: float, precision: Precision = "auto") -> Step:
    """Return a step as ``bs.fit`` makes it."""
    net = model(width)
    bs.attach(net, quantize=bs.Uniform(bits=BITS), skip=EDGES)
    bs.attach(net, quantize=bs.Uniform(bits=EDGE_BITS), include=EDGES)
    return ours(net, precision)


def torch_modules(width: float, *, half: bool = False) -> Step:
    """Return a step of the network of plain modules, in fp32 as it is, or with channels last and autocast to bf16."""
    net = plain.resnet20(BITS, CLIP, width, EDGE_BITS)
    plain.copy_weights(model(width), net)
    layout = torch.channels_last if half else torch.contiguous_format
    net = net.to(memory_format=layout).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)

    def step(x: Tensor, y: Tensor) -> float:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = F.cross_entropy(net(x.contiguous(memory_format=layout)), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _timed(make: Callable[[], Step], samples: int) -> Call:
    step, (x, y) = make(), batch(samples, 32)
    return lambda: step(x, y)


def _agree(width: float, samples: int) -> str:
    x, y = batch(samples, 32)
    mine, other = bitspike(width, "fp32")(x, y), torch_modules(width)(x, y)
    if abs(mine - other) > 1e-2 * abs(other):
        raise RuntimeError(f"the loss of Bitspike is {mine}, that of the plain modules {other}")
    return "loss in fp32 equal to that of the plain modules within 1 %"


def groups(tiny: bool) -> list[Group]:
    """Return the step and the same with SGD."""
    samples, width = (2, 1 / 8) if tiny else (128, 1.0)

    half = choose_precision("auto", "cpu")
    dtype = torch.bfloat16 if half == "bf16" else torch.float32

    def variant(name: str, dtype: str, make: Callable[[], Step]) -> Variant:
        return Variant(name=name, dtype=dtype, build=lambda: _timed(make, samples))

    return [
        Group(
            name="time",
            shape=f"batch {samples}, 32x32",
            peer=PEER,
            agree=lambda: _agree(width, samples),
            variants=[
                variant("Bitspike", half, lambda: bitspike(width)),
                variant("Bitspike, fp32", "fp32", lambda: bitspike(width, "fp32")),
                variant(PEER, "fp32", lambda: torch_modules(width)),
                variant(f"{PEER}, channels last", "bf16", lambda: torch_modules(width, half=True)),
                Variant(name=FLOOR, dtype=half, build=lambda: alone(model(width), batch(samples, 32)[0], dtype)),
            ],
            targets=[
                Target(variant="Bitspike", against=PEER, bound=5),
                Target(variant="Bitspike", against=FLOOR, bound=None, sense="at most"),
            ],
        )
    ]


CASE = Case(
    name="qat-resnet20",
    title="Step of quantisation-aware training of ResNet-20",
    about=(
        "The ANN of `QuantReLU` with 4-bit activations and weights (8 bits in the first and the last layer): forward, "
        "backward and a step of SGD. The peer writes the same arithmetic with modules and operations of torch, eager, "
        "in fp32; one row gives it autocast and channels last too."
    ),
    groups=groups,
)
