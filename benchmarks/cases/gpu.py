"""A CUDA device: the spiking layer and the training step, against the peers' own kernels for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import bitspike as bs
from benchmarks import cuda, mirror
from benchmarks.case import Call, Case, Group, Target, Variant
from benchmarks.cases import neuron
from benchmarks.cases.training import BITS, FLOOR, PEER, Network, Step, theirs, timed, weighed
from benchmarks.products import alone
from bitspike import models
from bitspike.kernels.triton import support as triton_support
from bitspike.ops.precision import full_precision

HALF = torch.bfloat16
LIF_PEER = "SpikingJelly LIFNode"


def layers(tiny: bool) -> list[Group]:
    """Return one LIF layer at several T, its memory, and Bitspike's own neurons among each other."""
    batch = (2, 4, 4, 4) if tiny else (64, 128, 16, 16)
    device = cuda.place()
    at = {steps: (steps, *batch) for steps in (8, 4, 16)}
    return [
        *(_layer(shape, device) for shape in at.values()),
        _memory(at[8], device),
        *(neuron.family(at[8], _words(at[8]), dtype, device) for dtype in (torch.float32, HALF)),
        _compiled(at[8], device),
    ]


def _words(shape: tuple[int, ...]) -> str:
    return f"T = {shape[0]}, {list(shape[1:])}"


def _lif() -> nn.Module:
    return bs.LIF(neuron.DECAY, reset="hard")


def _kinds() -> list[tuple[str, str | None, str, Callable[[], nn.Module]]]:
    """Return every way to a LIF layer: its name, the peer that it needs, its precision, and what makes it."""
    return [
        ("Bitspike LIF", None, "fp32", _lif),
        ("Bitspike LIF, bf16", None, "bf16", _lif),
        ("Bitspike LIF, plain torch", None, "fp32", lambda: neuron.Plain(bs.LIF(neuron.DECAY, reset="hard"))),
        (LIF_PEER, "SpikingJelly", "fp32", neuron.spikingjelly_lif),
        (f"{LIF_PEER}, bf16", "SpikingJelly", "bf16", neuron.spikingjelly_lif),
        ("SpikingJelly SimpleLIFNode", "SpikingJelly", "fp32", _spikingjelly_simple),
        ("snnTorch Leaky", "snnTorch", "fp32", neuron.SnnTorchLeaky),
    ]


def _layer(shape: tuple[int, ...], device: str) -> Group:
    def variant(name: str, needs: str | None, dtype: str, make: Callable[[], nn.Module]) -> Variant:
        kind = HALF if dtype == "bf16" else torch.float32
        return Variant(name=name, needs=needs, dtype=dtype, build=lambda: neuron.step(make(), shape, kind, device))

    copy, copy_bf16 = "copy of as many bytes", "copy of as many bytes, bf16"
    floors = [
        Variant(name=copy, build=lambda: neuron.floor(shape, device=device)),
        Variant(name=copy_bf16, dtype="bf16", build=lambda: neuron.floor(shape, HALF, device)),
    ]
    return Group(
        name=f"LIF at T = {shape[0]}",
        shape=_words(shape),
        peer=LIF_PEER,
        variants=[*(variant(*kind) for kind in _kinds()), *floors],
        targets=[
            Target(variant="Bitspike LIF, bf16", against=f"{LIF_PEER}, bf16", bound=None),
            Target(variant="Bitspike LIF", against=copy, bound=None, sense="at most"),
            Target(variant="Bitspike LIF, bf16", against=copy_bf16, bound=None, sense="at most"),
        ],
        agree=lambda: f"{neuron.equal_to_peer(shape, device)}{_kernels(device)}",
    )


def _memory(shape: tuple[int, ...], device: str) -> Group:
    def variant(name: str, needs: str | None, dtype: str, make: Callable[[], nn.Module]) -> Variant:
        kind = HALF if dtype == "bf16" else torch.float32
        return Variant(name=name, needs=needs, dtype=dtype, build=lambda: neuron.step(make(), shape, kind, device))

    return Group(
        name="peak memory of a LIF layer",
        shape=_words(shape),
        unit="MB",
        peer=LIF_PEER,
        variants=[variant(*kind) for kind in _kinds()],
    )


def _compiled(shape: tuple[int, ...], device: str) -> Group:
    """Compare the fused loop with what torch.compile makes of the plain one; last, as compiling takes longest."""
    compiled = "plain torch, torch.compile"

    def build() -> Call:
        plain = neuron.Plain(bs.LIF(neuron.DECAY, reset="hard"))
        return neuron.step(torch.compile(plain) if device == "cuda" else plain, shape, device=device)

    return Group(
        name="torch.compile",
        shape=_words(shape),
        peer=compiled,
        variants=[
            Variant(name="Bitspike LIF", build=lambda: neuron.step(_lif(), shape, device=device)),
            Variant(name=compiled, build=build),
        ],
    )


def _spikingjelly_simple() -> nn.Module:
    """Return SpikingJelly's LIF neuron of plain torch operations, reset after every call."""
    from spikingjelly.activation_based import functional, surrogate
    from spikingjelly.activation_based import neuron as theirs

    made: nn.Module = theirs.SimpleLIFNode(
        tau=1 / (1 - neuron.DECAY), decay_input=False, surrogate_function=surrogate.ATan(), step_mode="m"
    )
    made.register_forward_hook(lambda module, x, out: functional.reset_net(module))
    return made


def _kernels(device: str) -> str:
    """Say which kernels ran, ours and SpikingJelly's.

    Raises:
        RuntimeError: ours is plain torch, which would be measured under another name.
    """
    if device == "cpu":
        return ""
    if not triton_support.available(torch.device("cuda", 0)):
        raise RuntimeError(f"Bitspike's kernels do not run here: {triton_support.status()}")
    from spikingjelly._ops.lif import _selection

    chosen = {index: getattr(made, "name", made) for index, made in _selection._selections.items()}
    return f"; SpikingJelly chose {', '.join(map(str, chosen.values())) or 'what it does not tell'}"


def trainings(name: str, tiny: bool) -> list[Group]:
    """Return a training step of one network, in time and in memory."""
    device = cuda.place()
    sizes = {"vgg9": 1.0, "resnet": 4.0}
    width = 1 / 16 if tiny else sizes[name]
    network = Network(name=name, steps=2 if tiny else 4, width=width, device=device)
    samples = 2 if tiny else 128
    kinds = _steps_of(network)
    shape = f"T = {network.steps}, batch {samples}, 32x32"

    def variants(call: Callable[[Network, Callable[[], Step], int], Call]) -> list[Variant]:
        return [
            Variant(name=label, needs=needs, dtype=dtype, build=lambda make=make: call(network, make, samples))  # type: ignore[misc]
            for label, needs, dtype, make in kinds
        ]

    def floor() -> Call:
        return alone(network.model().to(device), network.batch(samples)[0], HALF)

    return [
        Group(
            name="time",
            shape=shape,
            peer=f"{PEER}, autocast",
            variants=[*variants(timed), Variant(name=FLOOR, dtype="bf16", build=floor)],
            targets=[
                Target(variant="Bitspike, fp32", against=PEER, bound=None),
                Target(variant="Bitspike", against=FLOOR, bound=None, sense="at most"),
            ],
            agree=lambda: _same_loss(network, samples),
        ),
        Group(name="peak memory", shape=shape, unit="MB", peer=f"{PEER}, autocast", variants=variants(weighed)),
    ]


def _steps_of(network: Network) -> list[tuple[str, str | None, str, Callable[[], Step]]]:
    found: list[tuple[str, str | None, str, Callable[[], Step]]] = [
        ("Bitspike", None, "bf16", lambda: network.bitspike("bf16")),
        (BITS, None, "bf16", lambda: network.bitspike("bf16", keep="bits")),
        ("Bitspike, fp32", None, "fp32", lambda: network.bitspike("fp32")),
        (f"{PEER}, autocast", "SpikingJelly", "bf16", lambda: _peer(network, half=True)),
        (PEER, "SpikingJelly", "fp32", lambda: _peer(network, half=False)),
    ]
    if network.name == "vgg9":
        found.append(("snnTorch", "snnTorch", "fp32", network.snntorch))
    return found


def _peer(network: Network, *, half: bool) -> Step:
    """Return a step of SpikingJelly: its own modules, or in a network of blocks its neurons in ours."""
    if network.name == "vgg9":
        return network.spikingjelly(half=half)
    return theirs(Neurons(network), half=half, device=network.device)


class Neurons(nn.Module):
    """Our network of blocks with SpikingJelly's neurons; its weights are those of every other variant."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        torch.manual_seed(0)
        lif = lambda: mirror.spikingjelly_lif(neuron.DECAY)  # noqa: E731
        self.net = getattr(models, network.name)(
            steps=network.steps, neuron=lif, norm=nn.BatchNorm2d, width=network.width
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out

    def reset(self) -> None:
        """Forget the potentials."""
        from spikingjelly.activation_based import functional

        functional.reset_net(self.net)


def _same_loss(network: Network, samples: int) -> str:
    """Return words after comparing the first loss with the peer's, without TF32.

    Raises:
        RuntimeError: the losses differ by more than spikes on the edge of their threshold explain.
    """
    x, y = network.batch(samples)
    with full_precision():
        mine, other = network.bitspike("fp32")(x, y), _peer(network, half=False)(x, y)
    if abs(mine - other) > 1e-2 * abs(other):
        raise RuntimeError(f"{network.name}: the loss of Bitspike is {mine}, that of SpikingJelly {other}")
    share = "0.01 %" if abs(mine - other) < 1e-4 * other else "1 %"
    return f"loss in fp32 equal to SpikingJelly's within {share}{_kernels(network.device)}"


LAYER = Case(
    name="gpu-neuron",
    title="One LIF layer on a GPU",
    about=(
        "The layer of the first table on a CUDA device. SpikingJelly's LIFNode chooses a kernel by itself (said under "
        "the table), its SimpleLIFNode is a loop of torch operations. Time is that between two events of the device "
        "around a block of calls, so waiting for Python counts where the device waits for it. Memory is the peak of "
        "torch's allocator during a step, beyond input and gradient."
    ),
    device="cuda",
    groups=layers,
)

VGG9 = Case(
    name="gpu-training-vgg9",
    title="Training step of VGG9 on a GPU",
    about=(
        "As the step of VGG9 above, on a CUDA device and with 128 images. Products in fp32 run as torch sets them: "
        "TF32 in convolutions. Memory is the peak of torch's allocator beyond weights, gradients and momentum."
    ),
    device="cuda",
    groups=lambda tiny: trainings("vgg9", tiny),
)

RESNET = Case(
    name="gpu-training-resnet20",
    title="Training step of a wide ResNet-20 on a GPU",
    about=(
        "A ResNet-20 of four times its usual width: 64, 128 and 256 channels, 4.3 million weights. SpikingJelly stands "
        "for its neurons in our network, as its own library of layers has no such one."
    ),
    device="cuda",
    groups=lambda tiny: trainings("resnet", tiny),
)
