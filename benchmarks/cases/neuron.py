"""One spiking layer, forward and backward, against the peers and against a copy that moves as many bytes.

Shapes: T steps, N batch, C channels, H W space.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

import bitspike as bs
from benchmarks import mirror
from benchmarks.case import Call, Case, Group, Target, Variant

DECAY = 0.5


def groups(tiny: bool) -> list[Group]:
    """Return the comparison with the peers, and Bitspike's own neurons and surrogates among each other."""
    shape = (2, 2, 4, 4, 4) if tiny else (8, 64, 128, 16, 16)
    words = f"T = {shape[0]}, {list(shape[1:])}"
    lif, own = "Bitspike LIF", "Bitspike LIF, bf16"
    peer, copy, copy_bf16 = "SpikingJelly LIFNode", "copy of as many bytes", "copy of as many bytes, bf16"
    half = torch.bfloat16
    return [
        Group(
            name="LIF",
            shape=words,
            peer=peer,
            agree=lambda: equal_to_peer(shape),
            variants=[
                Variant(name=lif, build=lambda: step(bs.LIF(DECAY, reset="hard"), shape)),
                Variant(name=own, dtype="bf16", build=lambda: step(bs.LIF(DECAY, reset="hard"), shape, half)),
                Variant(
                    name="Bitspike LIF, plain torch",
                    build=lambda: step(Plain(bs.LIF(DECAY, reset="hard")), shape),
                ),
                Variant(name=peer, needs="SpikingJelly", build=lambda: step(spikingjelly_lif(), shape)),
                Variant(
                    name=f"{peer}, bf16",
                    needs="SpikingJelly",
                    dtype="bf16",
                    build=lambda: step(spikingjelly_lif(), shape, half),
                ),
                Variant(name="snnTorch Leaky", needs="snnTorch", build=lambda: step(SnnTorchLeaky(), shape)),
                Variant(name=copy, build=lambda: floor(shape)),
                Variant(name=copy_bf16, dtype="bf16", build=lambda: floor(shape, half)),
            ],
            targets=[
                Target(variant=lif, against=peer, bound=12),
                Target(variant=own, against=peer, bound=17),
                Target(variant=own, against=f"{peer}, bf16", bound=None),
                Target(variant=lif, against=copy, bound=1.5, sense="at most"),
                Target(variant=own, against=copy_bf16, bound=1.5, sense="at most"),
            ],
        ),
        *(family(shape, words, dtype) for dtype in (torch.float32, torch.bfloat16)),
    ]


def family(shape: tuple[int, ...], words: str, dtype: torch.dtype, device: str = "cpu") -> Group:
    """Compare Bitspike's neurons and surrogates with the LIF neuron of the first group."""
    neurons: dict[str, Callable[[], nn.Module]] = {
        "LIF, hard reset, arctan": lambda: bs.LIF(DECAY, reset="hard"),
        "LIF, soft reset": lambda: bs.LIF(DECAY),
        "IF, soft reset": bs.IF,
        "IF, hard reset": lambda: bs.IF(reset="hard"),
        "PLIF": bs.PLIF,
        "SignedIF": bs.SignedIF,
        "LIF, one threshold per channel": lambda: bs.LIF(DECAY, torch.linspace(0.9, 1.1, shape[2])),
        "LIF, rectangle": lambda: bs.LIF(DECAY, reset="hard", surrogate=bs.Rectangle()),
        "LIF, triangle": lambda: bs.LIF(DECAY, reset="hard", surrogate=bs.Triangle()),
        "LIF, sigmoid": lambda: bs.LIF(DECAY, reset="hard", surrogate=bs.Sigmoid()),
        "LIF, exponential": lambda: bs.LIF(DECAY, reset="hard", surrogate=bs.PiecewiseExponential()),
    }
    name = "fp32" if dtype == torch.float32 else "bf16"

    def variant(label: str, make: Callable[[], nn.Module]) -> Variant:
        return Variant(name=label, dtype=name, build=lambda: step(make(), shape, dtype, device))

    return Group(
        name=f"Bitspike's neurons, {name}",
        shape=words,
        peer="LIF, hard reset, arctan",
        variants=[variant(label, make) for label, make in neurons.items()],
    )


def currents(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return input that makes a LIF neuron fire at about one step in five."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).mul_(0.8).add_(0.2).to(dtype)


def step(neuron: nn.Module, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, device: str = "cpu") -> Call:
    """Return a call that runs a neuron [T, N, C, H, W] forward and backward."""
    neuron = neuron.to(device)
    x = currents(shape, dtype).to(device).requires_grad_()
    grad = torch.empty(shape).uniform_(-1, 1, generator=torch.Generator().manual_seed(1)).to(device, dtype)

    def run() -> None:
        x.grad = None
        neuron(x).backward(grad)

    return run


def floor(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, device: str = "cpu") -> Call:
    """Return a call that only moves the bytes that a neuron has to: two and a half copies of its input.

    Forward reads x and writes spikes; backward reads x and the gradient and writes a gradient. Five tensors.
    """
    x, spikes, grad, out = (torch.zeros(shape, dtype=dtype, device=device).flatten() for _ in range(4))
    half = len(x) // 2

    def run() -> None:
        spikes.copy_(x)
        out.copy_(grad)
        spikes[:half].copy_(x[half : 2 * half])

    return run


class Plain(nn.Module):
    """A neuron of ours through its plain loop of torch operations."""

    def __init__(self, neuron: bs.Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron.scan(x)[0]


def spikingjelly_lif() -> nn.Module:
    """Return SpikingJelly's neuron, which is reset after every call as its documentation asks for."""
    from spikingjelly.activation_based import functional

    neuron = mirror.spikingjelly_lif(DECAY)
    neuron.register_forward_hook(lambda module, x, out: functional.reset_net(module))
    return neuron


class SnnTorchLeaky(nn.Module):
    """snnTorch's neuron in the loop over time that its tutorials write."""

    def __init__(self) -> None:
        super().__init__()
        self.neuron = mirror.snntorch_leaky(DECAY)

    def forward(self, x: Tensor) -> Tensor:
        potential = torch.zeros_like(x[0])
        spikes = []
        for x_t in x:
            spike, potential = self.neuron(x_t, potential)
            spikes.append(spike)
        return torch.stack(spikes)


def equal_to_peer(shape: tuple[int, ...], device: str = "cpu") -> str:
    """Return words after comparing our LIF layer with SpikingJelly's.

    Raises:
        RuntimeError: the spikes differ. AssertionError: the gradients do.
    """
    x, grads, outs = currents(shape).to(device), [], []
    for neuron in (bs.LIF(DECAY, reset="hard"), spikingjelly_lif()):
        leaf = x.clone().requires_grad_()
        outs.append(neuron(leaf))
        outs[-1].sum().backward()
        grads.append(leaf.grad)
    if not torch.equal(*outs):
        raise RuntimeError("the spikes of Bitspike and SpikingJelly differ")
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
    return "spikes equal SpikingJelly's bit for bit, gradients to rounding"


def as_it_comes(tiny: bool) -> list[Group]:
    """Return the comparison with the peers without targets."""
    return [dataclasses.replace(group, targets=()) for group in groups(tiny) if group.name == "LIF"]


CASE = Case(
    name="neuron",
    title="One LIF layer, forward and backward",
    about=(
        "A layer of LIF neurons (decay one half, hard reset, arctan surrogate), input and gradient given, forward and "
        "backward. The copy moves the five tensors that any such layer has to move once: it is the floor of the memory "
        "bandwidth. The bf16 rows are compared with the peer in fp32 too, as that is what its users run on a CPU."
    ),
    groups=groups,
)

AS_IT_COMES = Case(
    name="neuron-default-malloc",
    title="The same layer with the allocator as it comes",
    about=(
        "As above, but glibc gives freed memory back to the system, as it does in a script that asks for nothing else "
        "(the command line of bitspike asks). Every tensor of this size is then made of fresh pages, which costs more "
        "than what is computed."
    ),
    keep=False,
    groups=as_it_comes,
)
