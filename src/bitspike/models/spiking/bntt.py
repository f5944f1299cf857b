"""The networks of batch norm through time: VGG5, VGG9, VGG11 and VGG19, and linear layers for sequences.

Sources: VGG9 and VGG11 of Kim and Panda, Frontiers in Neuroscience 15 (2021), arXiv 2010.01729, and their code; VGG5
and VGG19 of the program CSE598_SNNrobustRRAM, which builds on it. The paper also reads sequential MNIST with linear
layers, whose sizes and code were not published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, sides, timed, widened
from bitspike.models.spiking.pooled import average_pool, pooled_convolutions
from bitspike.nn import LIF, BatchNormThroughTime, BernoulliCoder, Frames, RateReadout
from bitspike.ops.surrogate import Triangle


@dataclass(frozen=True)
class _Plan:
    """Channels of the convolutions, stage by stage with a pool after each, and the features of the hidden layer."""

    stages: tuple[tuple[int, ...], ...]
    hidden: int = 1024
    mean_at_end: bool = False
    """Whether the last pool is the mean over the whole image, so that the hidden layer fits every size."""


PLANS = {
    5: _Plan(((64,), (128, 128))),
    9: _Plan(((64, 64), (128, 128), (256, 256, 256))),
    11: _Plan(((64,), (128,), (256, 256), (512, 512), (512, 512)), hidden=4096, mean_at_end=True),
    19: _Plan(((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)),
}
"""By depth."""


@checked
def bntt_lif(decay: float = 0.95) -> LIF:
    """Make the neuron of these networks: threshold 1, soft reset outside the gradient, fires strictly above.

    The surrogate is 0.3 * max(0, 1 - |potential - threshold|). The paper's VGG9 leaks with 0.95, its VGG11 with 0.99.

    Example:
        >>> import torch
        >>> bntt_lif()(torch.full((3, 1), 0.6)).flatten().tolist()
        [0.0, 1.0, 0.0]
    """
    return LIF(decay=decay, surrogate=Triangle(width=1.0, height=0.3), reset="soft", fire="gt", detach_reset=True)


def bernoulli_of_two(steps: int) -> BernoulliCoder:
    """Make the coder of these networks: signed spikes at random, certain from a magnitude of 2 on."""
    return BernoulliCoder(steps, divisor=2.0)


@checked
def bntt_vgg(
    *,
    depth: int = 9,
    steps: int = 20,
    num_classes: int = 10,
    in_channels: int = 3,
    image_size: int | tuple[int, int] = 32,
    neuron: Make = bntt_lif,
    norm: MakeNorm | type[BatchNormThroughTime] | None = BatchNormThroughTime,
    pool: Make = average_pool,
    readout: Make = RateReadout,
    encoder: MakeEncoder = bernoulli_of_two,
    width: float = 1.0,
) -> nn.Module:
    """Build a VGG of BNTT: convolutions in stages, a pool after each, a hidden linear layer, linear K.

    Convolutions are 3x3 with padding 1, pools average 2x2, no layer has a bias. A norm and a neuron stand after every
    layer but the last, whose currents, in the mean over time, are the logits. Depth 5 is 64 - 128, 128; 9 is 64, 64 -
    128, 128 - 256, 256, 256; 11 is 64 - 128 - 256, 256 - 512, 512 - 512, 512; 19 is 64, 64 - 128, 128 - four of 256 -
    four of 512 - four of 512. The hidden layer has 1024 features, of VGG11 4096, after the mean over the image.

    Args, with those of :mod:`bitspike.models.spiking`:
        depth: 5, 9, 11 or 19.
        image_size: multiples of 4, 8, 16 or 32, by depth.
        norm: a bare class of norms by step, as BatchNormThroughTime, gets the steps.
        pool: makes each of the pools that halve height and width.

    Example:
        >>> sum(p.numel() for p in bntt_vgg(depth=9, steps=25).parameters())
        5993280
    """
    if depth not in PLANS:
        raise ConstraintError(
            f"bntt_vgg(depth={depth!r}): allowed are {', '.join(map(str, PLANS))}", fix="depth=9, as in the paper"
        )
    plan = PLANS[depth]
    halved = len(plan.stages) - plan.mean_at_end
    height, columns = (n // 2**halved for n in sides(f"bntt_vgg of depth {depth}", image_size, multiple=2**halved))
    make_norm = _over_steps(norm, steps)
    layers, channels = pooled_convolutions(
        plan.stages, in_channels=in_channels, neuron=neuron, norm=make_norm, pool=pool, width=width
    )
    number = sum(map(len, plan.stages))
    features, hidden = channels if plan.mean_at_end else channels * height * columns, widened(plan.hidden, width)
    layers[f"layer{number + 1}"] = timed(
        pool=nn.AdaptiveAvgPool2d(1) if plan.mean_at_end else pool(),
        flatten=nn.Flatten(),
        linear=nn.Linear(features, hidden, bias=False),
        norm=norm_before(neuron, make_norm, hidden, flat=True),
    )
    layers[f"neuron{number + 1}"] = neuron()
    layers[f"layer{number + 2}"] = timed(linear=nn.Linear(hidden, num_classes, bias=False))
    return _begun(named(encoder=encoder(steps), **layers, readout=readout()))


@checked
def bntt_mlp(
    *,
    hidden: Sequence[int] = (256, 256),
    steps: int = 28,
    num_classes: int = 10,
    in_channels: int = 1,
    image_size: int | tuple[int, int] = (1, 28),
    neuron: Make = bntt_lif,
    norm: MakeNorm | type[BatchNormThroughTime] | None = BatchNormThroughTime,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Frames,
    width: float = 1.0,
) -> nn.Module:
    """Build linear layers of BNTT that read a sequence, a part at every step; see :func:`bitspike.data.as_sequence`.

    A norm and a neuron stand after every hidden layer; the currents of linear K, in the mean over time, are the logits.
    No layer has a bias. What the network remembers of earlier steps lies in the potentials, which leak.

    Args, with those of :mod:`bitspike.models.spiking`:
        hidden: the features of each hidden layer, one or more.
        image_size: height and width of the part of an image that one step shows.
        norm: a bare class of norms by step, as BatchNormThroughTime, gets the steps.

    Shape: [N, T, C, H, W] to [N, K].

    Example:
        >>> import torch
        >>> bntt_mlp(hidden=[64])(torch.rand(2, 28, 1, 1, 28)).shape
        torch.Size([2, 10])
    """
    if not hidden or min(hidden) < 1:
        raise ConstraintError(
            f"bntt_mlp(hidden={list(hidden)}): one hidden layer or more, each of 1 feature or more", fix="hidden=(256,)"
        )
    height, columns = sides("bntt_mlp", image_size, multiple=1)
    make_norm, features = _over_steps(norm, steps), in_channels * height * columns
    layers: dict[str, nn.Module] = {}
    for number, wide in enumerate((widened(n, width) for n in hidden), 1):
        layers[f"layer{number}"] = timed(
            flatten=nn.Flatten() if number == 1 else None,
            linear=nn.Linear(features, wide, bias=False),
            norm=norm_before(neuron, make_norm, wide, flat=True),
        )
        layers[f"neuron{number}"] = neuron()
        features = wide
    layers[f"layer{len(hidden) + 1}"] = timed(linear=nn.Linear(features, num_classes, bias=False))
    return _begun(named(encoder=encoder(steps), **layers, readout=readout()))


def _begun(net: nn.Module) -> nn.Module:
    """Return the network with the initial weights of these networks."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, gain=2.0)
    return net


def _over_steps(norm: MakeNorm | type[BatchNormThroughTime] | None, steps: int) -> MakeNorm | None:
    """Return what makes a norm from channels alone; a bare class of norms by step is told the steps."""
    kind: Any = norm
    return partial(kind, steps=steps) if isinstance(kind, type) and issubclass(kind, BatchNormThroughTime) else kind
