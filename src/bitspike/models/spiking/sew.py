"""The spike-element-wise residual networks for event cameras: 7B-Net and Wide-7B-Net, and their block.

Source: Fang et al., NeurIPS 2021, arXiv 2102.04159, section 4 and table 4; Yoo and Jeong, IEEE JETCAS 13(4), 2023,
train them with binary and ternary weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.models.spiking.blocks import Make, MakeEncoder, MakeNorm, named, norm_before, sides, timed, widened
from bitspike.nn import PLIF, Frames, Neuron, RateReadout, SpikeElementWise, TimeDistributed, fire
from bitspike.nn.element_wise import Connect


class SEWBlock(nn.Module):
    """A spike-element-wise block: two layers with neurons, whose spikes are joined with those of the shortcut.

        a = neuron2(layer2(neuron1(layer1(s))));  out = join(a, shortcut(s))

    No neuron stands after the join, so the gradient reaches ``s`` through ``add`` as it is.

    Args:
        layer1, layer2: layers, their norm last.
        neuron1, neuron2: neurons.
        shortcut: brings the spikes to the shape of the branch; ``nn.Identity()`` where they have it.
        join: how both are put together.

    Source: Fang et al., NeurIPS 2021, arXiv 2102.04159, eq. 7.
    """

    def __init__(
        self,
        *,
        layer1: nn.Module,
        neuron1: nn.Module,
        layer2: nn.Module,
        neuron2: nn.Module,
        shortcut: nn.Module,
        join: SpikeElementWise,
    ) -> None:
        super().__init__()
        self.layer1, self.neuron1, self.layer2, self.neuron2 = layer1, neuron1, layer2, neuron2
        self.shortcut, self.join = shortcut, join

    def forward(self, s: Tensor) -> Tensor:
        branch = fire(self.layer2, self.neuron2, fire(self.layer1, self.neuron1, s))
        joined: Tensor = self.join(branch, self.shortcut(s))
        return joined


def _layer(inputs: int, out: int, neuron: Make, norm: MakeNorm | None, *, kernel: int, stride: int = 1) -> nn.Module:
    """Make a convolution without a bias, padded to keep the size at stride 1, and its norm, over time."""
    conv = nn.Conv2d(inputs, out, kernel, stride, padding=kernel // 2, bias=False)
    return timed(conv=conv, norm=norm_before(neuron, norm, out))


def sew_block(
    channels: int,
    out: int,
    *,
    neuron: Make,
    norm: MakeNorm | None,
    connect: Connect,
    stride: int = 1,
    zero_init: bool = False,
) -> SEWBlock:
    """Make a block of two 3x3 convolutions; its shortcut is a 1x1 convolution, norm and neuron where the shape changes.

    Args:
        channels, out: of what enters and of what leaves.
        connect: ``add``, ``and`` or ``iand``.
        zero_init: begin with a branch that makes the join the identity: see :func:`start_as_identity`.

    Example:
        >>> from bitspike.nn import IF
        >>> block = sew_block(8, 8, neuron=IF, norm=nn.BatchNorm2d, connect="add", zero_init=True)
        >>> spikes = (torch.rand(4, 2, 8, 6, 6) > 0.5).float()
        >>> torch.equal(block(spikes), spikes)
        True
    """
    changes = stride > 1 or channels != out
    block = SEWBlock(
        layer1=_layer(channels, out, neuron, norm, kernel=3, stride=stride),
        neuron1=neuron(),
        layer2=_layer(out, out, neuron, norm, kernel=3),
        neuron2=neuron(),
        shortcut=named(layer=_layer(channels, out, neuron, norm, kernel=1, stride=stride), neuron=neuron())
        if changes
        else nn.Identity(),
        join=SpikeElementWise(connect),
    )
    if zero_init:
        start_as_identity(block)
    return block


@torch.no_grad()
def start_as_identity(block: SEWBlock) -> None:
    """Let the branch of a block begin silent, or for ``and`` begin with a spike at every step.

    The last norm starts with a weight of 0; for ``and`` with the least bias, too, that makes its neuron fire at once.

    Raises:
        ConstraintError: the last norm has no weight, or for ``and`` no bias, that could start so.
    """
    assert isinstance(block.layer2, TimeDistributed)
    norm = block.layer2[-1]
    weight, bias = (getattr(norm, name, None) for name in ("weight", "bias"))
    fires = block.join.connect == "and"
    if isinstance(norm, nn.Conv2d) or not isinstance(weight, nn.Parameter) or not (bias is not None or not fires):
        raise ConstraintError(
            f"zero_init: {type(norm).__name__} after the last convolution of a block has no weight that starts at 0",
            fix="norm=nn.BatchNorm2d, or zero_init=False",
        )
    weight.zero_()
    if fires:
        assert isinstance(bias, nn.Parameter)
        bias.copy_(_least_current(block.neuron2))


def _least_current(neuron: nn.Module) -> Tensor:
    """Return the current that makes a neuron fire at every step, from rest on.

    It fires at least where it does from the lowest potential that it can have then: the first, or that after a reset.

    Raises:
        ConstraintError: no current does.
    """
    assert isinstance(neuron, Neuron)
    law, rule = neuron.law(), neuron.rule
    decay = torch.ones(()) if law.decay is None else torch.as_tensor(law.decay)
    share = (1 - decay if rule.decay_input and law.decay is not None else torch.ones(())) * (
        decay if rule.leak == "after" else 1
    )
    if not share > 0:
        raise ConstraintError(
            f"zero_init: nothing of the input of {neuron!r} reaches its potential, so no bias makes it fire",
            fix="another decay, or zero_init=False",
        )
    lowest = torch.as_tensor(law.initial).clamp(max=min(0.0, rule.v_reset))
    least = (torch.as_tensor(law.threshold) + (rule.resolution or 0.0) - decay * lowest) / share
    # A product may round to less than the threshold, which "gt" does not reach anyway.
    exact = rule.fire == "ge" and share == 1 and not lowest.any()
    return least if exact else least * (1 + 2**-10)


@checked
def sew_net(
    *,
    steps: int = 16,
    num_classes: int = 11,
    in_channels: int = 2,
    image_size: int | tuple[int, int] = 128,
    neuron: Make = PLIF,
    norm: MakeNorm | None = nn.BatchNorm2d,
    readout: Make = RateReadout,
    encoder: MakeEncoder = Frames,
    width: float = 1.0,
    stages: Sequence[tuple[int, int]] = ((32, 7),),
    connect: Connect = "add",
    kernel: int = 3,
    zero_init: bool = False,
) -> nn.Module:
    """Build stages of spike-element-wise blocks, a 2x2 max pool after each block, then linear K.

    A stage begins with a convolution to its channels. Convolutions have no bias; the currents of the last layer are the
    logits, which the read-out averages over time. Layers are layer1 (of stage 1), neuron1, block1, pool1, ..., head.

    Args, with those of :mod:`bitspike.models.spiking`:
        image_size: multiples of 2 to the power of the number of blocks, 128 for seven.
        stages: channels and number of blocks of each stage, before ``width``.
        connect: how a block joins its branch and its shortcut: ``add``, ``and`` or ``iand``.
        kernel: of the convolutions that begin the stages, odd: 3 in the paper, 1 in the repository of its authors.
        zero_init: let every block begin as the identity.

    Example:
        >>> net = sew_net(image_size=16, stages=[(8, 2), (16, 1)], num_classes=10)
        >>> [name for name, _ in net.named_children()][:7]
        ['encoder', 'layer1', 'neuron1', 'block1', 'pool1', 'block2', 'pool2']
    """
    if not (isinstance(stages, Sequence) and stages and all(map(_is_stage, stages))):
        raise ConstraintError(
            f"sew_net(stages={stages!r}): needed is one stage or more, each of channels and blocks, at least 1",
            fix="stages=[(32, 7)], the 7B-Net",
        )
    if not (isinstance(kernel, int) and kernel >= 1 and kernel % 2):
        raise ConstraintError(f"sew_net(kernel={kernel!r}): an odd whole number is needed", fix="kernel=3")
    pools = sum(blocks for _, blocks in stages)
    height, columns = sides("sew_net", image_size, multiple=2**pools)
    layers: dict[str, nn.Module] = {"encoder": encoder(steps)}
    channels, number = in_channels, 0
    for stage, (wide, blocks) in enumerate(stages, start=1):
        out = widened(wide, width)
        layers[f"layer{stage}"], layers[f"neuron{stage}"] = _layer(channels, out, neuron, norm, kernel=kernel), neuron()
        for _ in range(blocks):
            number += 1
            layers[f"block{number}"] = sew_block(
                out, out, neuron=neuron, norm=norm, connect=connect, zero_init=zero_init
            )
            layers[f"pool{number}"] = timed(pool=nn.MaxPool2d(2))
        channels = out
    features = channels * (height >> pools) * (columns >> pools)
    return named(**layers, head=timed(flatten=nn.Flatten(), linear=nn.Linear(features, num_classes)), readout=readout())


def _is_stage(stage: object) -> bool:
    return isinstance(stage, Sequence) and len(stage) == 2 and all(isinstance(n, int) and n >= 1 for n in stage)


def sew_7b_net(**arguments: Any) -> nn.Module:
    """Build the 7B-Net for DVS128 Gesture: seven blocks of 32 channels; arguments as :func:`sew_net`.

    Example:
        >>> sum(p.numel() for p in sew_7b_net().parameters())
        130938
    """
    return sew_net(**{"stages": ((32, 7),), "num_classes": 11, **arguments})


def sew_wide_7b_net(**arguments: Any) -> nn.Module:
    """Build the Wide-7B-Net for CIFAR10-DVS: four blocks of 64 channels, three of 128; arguments as :func:`sew_net`.

    Example:
        >>> sum(p.numel() for p in sew_wide_7b_net().parameters())
        1258778
    """
    return sew_net(**{"stages": ((64, 4), (128, 3)), "num_classes": 10, **arguments})
