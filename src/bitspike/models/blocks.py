"""What the models are put together from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from torch import nn

from bitspike.errors import ConstraintError
from bitspike.nn import ThresholdBatchNorm, TimeDistributed

Make = Callable[[], nn.Module]
"""Makes a neuron, a pool or a read-out."""
MakeEncoder = Callable[[int], nn.Module]
"""Makes what turns [N, ...] into [T, N, ...], given T."""
MakeNorm = Callable[[int], nn.Module]
"""Makes a norm, given the number of channels."""


def named(**layers: nn.Module) -> nn.Sequential:
    """Put layers one behind the other, each under its name.

    Example:
        >>> list(named(first=nn.Flatten(), second=nn.Linear(4, 2)).state_dict())
        ['second.weight', 'second.bias']
    """
    return nn.Sequential(OrderedDict(layers))


def over_time(**layers: nn.Module | None) -> TimeDistributed:
    """Carry named layers over time, one behind the other; those that are None are left out.

    Example:
        >>> over_time(conv=nn.Conv2d(1, 8, 3), norm=None)
        TimeDistributed(
          (conv): Conv2d(1, 8, kernel_size=(3, 3), stride=(1, 1))
        )
    """
    return TimeDistributed(OrderedDict((name, layer) for name, layer in layers.items() if layer is not None))


def norm_before(neuron: Make, norm: MakeNorm | None, channels: int) -> nn.Module | None:
    """Make the norm in front of a neuron.

    ``ThresholdBatchNorm`` scales to a threshold; given as the bare class, it takes the neuron's. Everything else is
    called with the number of channels, and None makes none.

    Example:
        >>> from bitspike.nn import IF
        >>> norm_before(lambda: IF(threshold=0.5), ThresholdBatchNorm, 8)
        ThresholdBatchNorm(8, threshold=0.5, alpha=1)
    """
    if norm is ThresholdBatchNorm:
        threshold = getattr(neuron(), "threshold", 1.0)
        if not isinstance(threshold, float):
            raise ConstraintError(
                "ThresholdBatchNorm takes one threshold, the neuron has one per channel",
                fix="norm=lambda channels: ThresholdBatchNorm(channels, threshold=...)",
            )
        return ThresholdBatchNorm(channels, threshold)
    return None if norm is None else norm(channels)


def sides(model: str, image_size: int | tuple[int, int], *, multiple: int) -> tuple[int, int]:
    """Return height and width of the images, if the pools of a model divide them without a remainder.

    Raises:
        ConstraintError: they do not; the nearest sizes that fit are named.

    Example:
        >>> sides("vgg9", 32, multiple=8)
        (32, 32)
        >>> sides("vgg9", 28, multiple=8)
        Traceback (most recent call last):
            ...
        bitspike.errors.ConstraintError: vgg9: images of 28x28 do not fit; height and width must be multiples of 8
          fix: image_size=24 or image_size=32, or pad the images
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if height < 1 or width < 1 or height % multiple or width % multiple:
        down = [max(multiple, side // multiple * multiple) for side in (height, width)]
        up = [max(multiple, -(-side // multiple) * multiple) for side in (height, width)]
        near = sorted({tuple(down), tuple(up)})
        raise ConstraintError(
            f"{model}: images of {height}x{width} do not fit; height and width must be multiples of {multiple}",
            fix=" or ".join(f"image_size={h if h == w else (h, w)}" for h, w in near) + ", or pad the images",
        )
    return height, width


def widened(channels: int, width: float) -> int:
    """Return a number of channels times a width, at least 1.

    Example:
        >>> widened(64, 0.25), widened(1, 0.25)
        (16, 1)
    """
    if not width > 0:
        raise ConstraintError(f"width={width}: must be above 0")
    return max(1, round(channels * width))
