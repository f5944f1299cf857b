"""The host's side of an integer network: real inputs to codes.

What leaves the grid of the input is refused, or clipped and counted: :mod:`bitspike.ops.entering` has the rules.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, tensor_of
from bitspike.integer.border import Border
from bitspike.integer.network import IntegerNetwork, need_integers
from bitspike.integer.nodes import Input, Integers, Shape
from bitspike.ops.coding import bernoulli, even_rate
from bitspike.ops.entering import Clipped, ends, put
from bitspike.ops.precision import single


@checked
def encode(net: IntegerNetwork, images: Tensor, *, generator: torch.Generator | None = None) -> Integers:
    """Turn real inputs into the codes that a network reads.

    Args:
        net: the network; one input.
        images: as the trained network takes them, with or without a border that the host puts around (``net.border``):
            [N, ...], or [N, T, ...] of :class:`~bitspike.nn.Frames`, whose
            first steps are taken, or [T, N, ...] for a network without an encoder; floating.
            Where the grid holds whole numbers (spikes, counts), integers and truth values as well.
        generator: source of the random numbers of a Bernoulli coder.

    Returns:
        int64 [1 or T, N, ...]. Values beyond a grid of real numbers are clipped to it; more than 1 in 1,000 of them
        are said in one warning.

    Raises:
        ConstraintError: the shape is not the network's; a value is not finite; integers, such as bytes, for a grid of
            real numbers; a value that a grid of whole numbers does not hold; or values of another unit: more than 1 %
            of them beyond the grid by more than it is wide.

    Example:
        >>> from bitspike.integer.examples import one_convolution  # whole numbers from 0 to 8 enter
        >>> encode(one_convolution(), torch.full((1, 1, 4, 4), 3.0))[0, 0, 0, 0].tolist()
        [3, 3, 3, 3]
    """
    need_integers(net, "encode")
    clipped = Clipped()
    codes = counted_codes(net, images, clipped, generator=generator)
    clipped.warn()
    return codes


def counted_codes(
    net: IntegerNetwork, images: Tensor, clipped: Clipped, *, generator: torch.Generator | None = None
) -> Integers:
    """Do what :func:`encode` does for one of many batches, and count in ``clipped`` instead of warning."""
    if not isinstance(images, Tensor):
        raise ConstraintError(
            f"inputs are a {type(images).__name__}, needed is a tensor of real values", fix=tensor_of(images)
        )
    source, border = net.input, _border_around(net, images)
    images = _entering(net, single(images), source.shape if border is None else border.image(source.shape))
    if source.coding in ("bernoulli", "rate"):
        images = _drawn(source, images, net.steps, clipped, generator)
        clipped = Clipped()  # spikes are on their grid
    codes = put(images, source.grid, clipped).cpu().numpy()
    codes = codes if border is None else border.around(codes)
    return codes[None] if source.constant else codes


def _border_around(net: IntegerNetwork, images: Tensor) -> Border | None:
    """Return the border that images lack, None where they have it or need none."""
    border = net.border
    lacking = border is not None and tuple(images.shape[1:]) == border.image(net.input.shape)
    return border if lacking else None


def is_timed(net: IntegerNetwork) -> bool:
    """Tell whether inputs come with a time axis of their own, [T, N, ...]."""
    return net.input.coding == "direct" and not net.input.constant


def _entering(net: IntegerNetwork, images: Tensor, shape: Shape) -> Tensor:
    """Return inputs as the network has them at its steps, [N, *shape] or [T, N, *shape], or refuse them."""
    source = net.input
    if source.coding == "frames":
        if images.dim() < 2 or images.shape[2:] != shape or images.shape[1] < net.steps:
            raise _other_shape(images, ["N", f"T >= {net.steps}", *shape], fix="frames after the samples")
        return images[:, : net.steps].transpose(0, 1)
    timed = is_timed(net)
    if tuple(images.shape[2 if timed else 1 :]) != shape or (timed and len(images) != net.steps):
        border, host = net.border, net.source.get("host", "")
        needed = [*(["T"] if timed else []), "N", *(source.shape if border is None else border.image(source.shape))]
        if host and border is None:  # which it does not do by itself, as where a border is drawn as spikes
            fix = "snn.conversion.packed(images), snn what bs.convert returned: the images after that"
            raise _other_shape(images, needed, fix=fix, after=f"; the host computes {host}")
        raise _other_shape(images, needed, fix="images as the trained network takes them, resized and cropped alike")
    return images


def _other_shape(images: Tensor, wanted: list[object], *, fix: str, after: str = "") -> ConstraintError:
    needed = ", ".join(map(str, wanted))
    return ConstraintError(f"inputs have the shape {list(images.shape)}, needed is [{needed}]{after}", fix=fix)


def _drawn(source: Input, images: Tensor, steps: int, clipped: Clipped, generator: torch.Generator | None) -> Tensor:
    """Return the spikes of real values, and count those that a rate cannot tell from its largest.

    With a divisor of 1 the rate is the value, up to 1. Any other says from where on the coder spikes at every step, in
    training too: that clips nothing.
    """
    if source.coding == "bernoulli":
        put(images, ends(source.divisor, signed=True), clipped if source.divisor == 1 else Clipped())
        return bernoulli(images, steps, divisor=source.divisor, generator=generator)
    put(images, ends(1.0), clipped)
    return even_rate(images, steps)
