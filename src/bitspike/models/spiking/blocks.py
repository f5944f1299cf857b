"""What the models are put together from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import IF, AffineNorm, Chain, TimeDistributed, fire

Make = Callable[[], nn.Module]
"""Makes a neuron or activation, a pool or a read-out."""
MakeEncoder = Callable[[int], nn.Module]
"""Makes what turns [N, ...] into [T, N, ...], given T."""
MakeNorm = Callable[[int], nn.Module]
"""Makes a norm, given the number of channels."""


@dataclass(frozen=True)
class BranchNorm:
    """Makes norms that differ where several branches are added; to everybody else it makes that of one branch.

    Args:
        make: makes a norm from the number of channels and of branches that are added.

    Example:
        >>> from bitspike.nn import ThresholdBatchNorm
        >>> make = BranchNorm(lambda channels, branches: ThresholdBatchNorm(channels, alpha=branches**-0.5))
        >>> make(8).alpha, norm_before(nn.ReLU, make, 8, branches=4).alpha
        (1.0, 0.5)
    """

    make: Callable[[int, int], nn.Module]

    def __call__(self, channels: int) -> nn.Module:
        return self.make(channels, 1)


def named(**layers: nn.Module | None) -> Chain:
    """Put layers one after the other, each under its name; those that are None are left out.

    Example:
        >>> list(named(first=nn.Flatten(), second=nn.Linear(4, 2)).state_dict())
        ['second.weight', 'second.bias']
    """
    return Chain(OrderedDict((name, layer) for name, layer in layers.items() if layer is not None))


def timed(**layers: nn.Module | None) -> TimeDistributed:
    """Carry named layers over time, one after the other; those that are None are left out.

    Example:
        >>> timed(conv=nn.Conv2d(1, 8, 3), norm=None)
        TimeDistributed(
          (conv): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
        )
    """
    return TimeDistributed(OrderedDict((name, layer) for name, layer in layers.items() if layer is not None))


def stack(steps: int | None, **layers: nn.Module | None) -> nn.Sequential:
    """Put named layers one after the other, carried over time unless the network has none (None).

    The names of the parameters are the same in both.
    """
    return named(**layers) if steps is None else timed(**layers)


def usual_neuron(neuron: Make | None, steps: int | None) -> Make:
    """Return what makes the neurons: that which is given, or IF over time and ReLU without (``steps=None``).

    Example:
        >>> usual_neuron(None, None)()
        ReLU()
    """
    return neuron or (nn.ReLU if steps is None else IF)


def norm_before(
    neuron: Make, norm: MakeNorm | None, channels: int, *, flat: bool = False, branches: int = 1
) -> nn.Module | None:
    """Make the norm before a neuron or activation.

    A bare class of bitspike's norms makes it itself (:meth:`~bitspike.nn.AffineNorm.before`): ``ThresholdBatchNorm``
    takes the neuron's threshold and shares it between branches that are added. A :class:`BranchNorm` hears of the
    branches, everything else is called with the number of channels, and None makes none. After a linear layer
    (``flat``) a ``BatchNorm2d`` becomes the ``BatchNorm1d`` of the same settings.

    Example:
        >>> from bitspike.nn import IF, ThresholdBatchNorm
        >>> norm_before(lambda: IF(threshold=0.5), ThresholdBatchNorm, 8)
        ThresholdBatchNorm(8, threshold=0.5, alpha=1)
    """
    kind: Any = norm
    if isinstance(kind, type) and issubclass(kind, AffineNorm):
        return kind.before(neuron(), channels, branches)
    if isinstance(norm, BranchNorm):
        layer: nn.Module | None = norm.make(channels, branches)
    else:
        layer = None if norm is None else norm(channels)
    if flat and type(layer) is nn.BatchNorm2d:
        return nn.BatchNorm1d(channels, layer.eps, layer.momentum, layer.affine, layer.track_running_stats)
    return layer


class Residual(nn.Module):
    """A basic block: two layers with a shortcut around them, added before the second neuron.

        y = neuron1(layer1(x));  out = neuron2(layer2(y) + shortcut(x))

    Args:
        layer1, layer2: layers, their norm last.
        neuron1, neuron2: neurons or activations.
        shortcut: brings the input to the shape of the sum; ``nn.Identity()`` where it has it.

    Source: He et al., CVPR 2016, arXiv 1512.03385.
    """

    def __init__(
        self, *, layer1: nn.Module, neuron1: nn.Module, layer2: nn.Module, shortcut: nn.Module, neuron2: nn.Module
    ) -> None:
        super().__init__()
        self.layer1, self.neuron1, self.layer2 = layer1, neuron1, layer2
        self.shortcut, self.neuron2 = shortcut, neuron2

    def forward(self, x: Tensor) -> Tensor:
        return fire(self.layer2, self.neuron2, fire(self.layer1, self.neuron1, x), self.shortcut(x))


def initialize(model: nn.Module, *, linear: bool = True) -> None:
    """Draw initial weights: convolutions from Kaiming's normal of their outputs, linear layers from N(0, 0.01).

    Neurons are silent at first after linear layers of such small weights; ``linear=False`` leaves those to torch.

    Source: the code of Fast-SNN; He et al., ICCV 2015, arXiv 1502.01852.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif linear and isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def sides(model: str, image_size: int | tuple[int, int], *, multiple: int, least: int = 1) -> tuple[int, int]:
    """Return height and width of the images, if the pools of a model divide them without a remainder.

    Args:
        model: its name, for the message.
        image_size: height and width, or one number for both.
        multiple: what both must be multiples of.
        least: what both must reach.

    Raises:
        ConstraintError: they do not; the nearest sizes that fit are named.

    Example:
        >>> sides("vgg9", 32, multiple=8)
        (32, 32)
        >>> sides("vgg9", 28, multiple=8)
        Traceback (most recent call last):
            ...
        bitspike.errors.ConstraintError: vgg9: images of 28x28 do not fit; height and width must be multiples of 8
          fix: image_size=24 or image_size=32 (data.size in a recipe of a folder), or pad the images
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    least = max(multiple, least)
    if min(height, width) < least or height % multiple or width % multiple:
        down = [max(least, side // multiple * multiple) for side in (height, width)]
        up = [max(least, -(-side // multiple) * multiple) for side in (height, width)]
        near = sorted({tuple(down), tuple(up)})
        from_there = "" if least == multiple else f" of {least} and more"
        raise ConstraintError(
            f"{model}: images of {height}x{width} do not fit; "
            f"height and width must be multiples of {multiple}{from_there}",
            fix=" or ".join(f"image_size={h if h == w else (h, w)}" for h, w in near)
            + " (data.size in a recipe of a folder), or pad the images",
        )
    return height, width


def widened(channels: int, width: float) -> int:
    """Return a number of channels times a width, at least 1.

    Example:
        >>> widened(64, 0.25), widened(1, 0.25)
        (16, 1)
    """
    if not width > 0:
        raise ConstraintError(f"width={width}: must be above 0", fix="width=1.0, the channels of the paper")
    return max(1, round(channels * width))
