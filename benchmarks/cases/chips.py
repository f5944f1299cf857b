"""Many chips of one network, each with memory devices of its own: the integers of each, and a loop in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import bitspike as bs
from benchmarks.case import Call, Case, Group, Target, Variant
from bitspike.models import vgg9
from bitspike.runs.many_chips import ManyChips
from bitspike.tasks.classify import Classification
from bitspike.weights.devices.variation import chip_generator

BITS, SCALE, STEPS = 4, 1.0, 4
PIXELS = bs.Grid(2**-8, 0, 255)
OURS, LOOP, LAST = "Bitspike, chips by integers", "plain torch, a loop over chips", "the same, channels last"


@dataclass(frozen=True)
class Sizes:
    """How much is measured: chips, images on each of them, bits with which cells are read, width of the network."""

    chips: int
    images: int
    resolution: int
    width: float = 1.0


@cache
def network(width: float) -> nn.Module:
    """Return VGG9 with random 4-bit weights that vary as those of RRAM, its norms measured on random images."""
    torch.manual_seed(0)
    net = vgg9(steps=STEPS, norm=bs.ShiftBatchNorm, neuron=lambda: bs.LIF(decay=0.5), width=width)
    norms = [m for m in net.modules() if isinstance(m, bs.ShiftBatchNorm)]
    with torch.no_grad():
        for layer in _layers(net):
            layer.weight.uniform_(-1, 1)
        for norm in norms:
            norm.momentum = 1.0
        bs.attach(net, quantize=bs.Midrise(BITS), vary=bs.Lognormal.for_bits(BITS, SCALE))
        for _ in range(3):  # the exponents of these norms follow the running variance
            net.train()(images(16))
    return net.eval()


def _layers(net: nn.Module) -> list[nn.Conv2d | nn.Linear]:
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def images(count: int) -> Tensor:
    """Return random images [N, 3, 32, 32] on the grid of bytes divided by 256."""
    return torch.randint(0, 256, (count, 3, 32, 32), generator=torch.Generator().manual_seed(1)) / 256


@cache
def labels(count: int, width: float) -> Tensor:
    """Return what the network answers without variation."""
    with torch.no_grad():
        answers: Tensor = network(width)(images(count)).argmax(1)
    return answers


class PlainLIF(nn.Module):
    """A leaky integrate-and-fire neuron with a soft reset, as one writes it in torch: [T, N, ...] to spikes."""

    def forward(self, x: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x[0]), []
        for x_t in x:
            h = 0.5 * v + x_t
            spike = (h >= 1.0).to(h.dtype)
            v = h - spike
            spikes.append(spike)
        return torch.stack(spikes)


class PlainVGG9(nn.Module):
    """The network as one writes it for this purpose: no norm, which is folded, and weights that are replaced.

    The image is constant over time, so the first layer runs once.

    Args:
        net: gives weights without variation, and the gains and shifts of its norms.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        layers, norms = _layers(net), [m for m in net.modules() if isinstance(m, bs.ShiftBatchNorm)]
        affine = [norm.affine() for norm in norms]
        last = (torch.ones(layers[-1].out_features), torch.zeros(layers[-1].out_features))  # type: ignore[arg-type]
        pairs = [*((gain.float(), shift.float()) for gain, shift in affine), last]
        self.ideal = [layer.weight.detach().clone() for layer in layers]
        self.gains = [g.reshape(-1, *[1] * (w.dim() - 1)) for (g, _), w in zip(pairs, self.ideal, strict=True)]
        self.weights, self.shifts = list(self.ideal), [shift for _, shift in pairs]
        self.neuron = PlainLIF()

    def become(self, seed: int, names: list[str], resolution: int) -> None:
        """Draw the cells of a chip, read them with so many bits, and take the gains of the norms into them."""
        sigma = bs.Lognormal.for_bits(BITS, SCALE).sigma
        for place, (name, w, gain) in enumerate(zip(names, self.ideal, self.gains, strict=True)):
            n = torch.randn(w.shape, generator=chip_generator(seed, name)) * sigma
            cells = w.sign() * torch.minimum(w.abs() * n.exp(), w.abs().amax())
            step = 2.0 ** (1 - resolution)  # the largest weight of every layer is 1
            self.weights[place] = (cells / step).round() * step * gain

    def forward(self, x: Tensor) -> Tensor:
        """Return the mean of the read-out over time; [N, 3, 32, 32] to [N, classes]."""
        value = F.conv2d(x, self.weights[0], self.shifts[0], padding=1)[None].expand(STEPS, -1, -1, -1, -1)
        for place in range(1, 7):
            spikes = self.neuron(value).flatten(0, 1)
            if place in POOLED:
                spikes = F.avg_pool2d(spikes, 2)
            value = F.conv2d(spikes, self.weights[place], self.shifts[place], padding=1).unflatten(0, (STEPS, -1))
        flat = F.avg_pool2d(self.neuron(value).flatten(0, 1), 2).flatten(1)
        value = F.linear(flat, self.weights[7], self.shifts[7]).unflatten(0, (STEPS, -1))
        logits = F.linear(self.neuron(value).flatten(0, 1), self.weights[8], self.shifts[8])
        return logits.unflatten(0, (STEPS, -1)).mean(0)


POOLED = (2, 4)
"""The convolutions before which the spikes are pooled."""


def ours(sizes: Sizes) -> Call:
    """Return a call that measures chips as ``bs.yield_`` does."""
    batches = [(images(sizes.images), labels(sizes.images, sizes.width))]
    many = ManyChips(network(sizes.width), batches, Classification(), sizes.resolution, grid=PIXELS)
    assert many.by == "integers", many.reason
    return lambda: [accuracy for _, accuracy in many.accuracies(range(sizes.chips))]


def loop(sizes: Sizes, *, last: bool = False) -> Call:
    """Return a call that measures the same chips one after the other in torch."""
    net = network(sizes.width)
    plain, x, y = PlainVGG9(net), images(sizes.images), labels(sizes.images, sizes.width)
    names = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    if last:
        x = x.to(memory_format=torch.channels_last)

    def run() -> list[float]:
        accuracies = []
        with torch.inference_mode():
            for seed in range(sizes.chips):
                plain.become(seed, names, sizes.resolution)
                accuracies.append(float((plain(x).argmax(1) == y).float().mean()))
        return accuracies

    return run


def agree(sizes: Sizes) -> str:
    """Return words after checking that both find the same accuracy of every chip, and that chips differ.

    Raises:
        RuntimeError: they do not.
    """
    calls: tuple[Callable[[], object], ...] = (ours(sizes), loop(sizes), loop(sizes, last=True))
    found = [call() for call in calls]
    if any(other != found[0] for other in found[1:]):
        raise RuntimeError(f"the accuracies of the chips differ: {found}")
    return f"the accuracies of {sizes.chips} chips are equal"


def _group(sizes: Sizes) -> Group:
    return Group(
        name=f"cells read with {sizes.resolution} bits",
        shape=f"{sizes.chips} chips of VGG9, {sizes.images} images on each, T = {STEPS}",
        peer=LOOP,
        agree=lambda: agree(sizes),
        targets=[Target(variant=OURS, against=other, bound=5) for other in (LOOP, LAST)],
        variants=[
            Variant(name=OURS, dtype="integers", build=lambda: ours(sizes)),
            Variant(name=LOOP, build=lambda: loop(sizes)),
            Variant(name=LAST, build=lambda: loop(sizes, last=True)),
        ],
    )


def _groups(tiny: bool) -> list[Group]:
    return [_group(Sizes(2, 2, 7, 1 / 16))] if tiny else [_group(Sizes(4, 128, bits)) for bits in (7, 6)]


CHIPS = Case(
    name="chips-vgg9",
    title="Many chips of one network",
    about=(
        "What `bitspike yield` does: the accuracy of chips whose memory devices vary, each with draws of its own. "
        "Random 4-bit weights. With 7 bits, the default, the engine multiplies bytes; with 6 it looks sums up in "
        "tables. The loop in plain torch draws the same chips, has the norms folded into their weights, runs the first "
        "layer once for all steps, and finds the same accuracies."
    ),
    groups=_groups,
)
