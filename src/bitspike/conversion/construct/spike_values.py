"""What a spike is worth from place to place, after operations that only move spikes, and for the weights that read it.

Values are float64 and broadcast against one sample: one number [1], one per channel [C, 1, ...], or one per place.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.graph.ir import Op
from bitspike.graph.plain import is_transposed
from bitspike.nn import Pad, Permute, Reshape, Slice, Upsample


def movers(op: Op, shape: tuple[int, ...]) -> list[nn.Module]:
    """Return the modules that do what ``op`` does to spikes of ``shape``."""
    match op.kind:
        case "reshape":
            return [Reshape(op.shape)]
        case "transpose":
            return [Permute(op.attrs["axes"])]
        case "slice":
            return [Slice(op.attrs["start"], op.attrs["stop"])]
        case "upsample":
            return [Upsample(op.attrs["factors"])]
    before, after = tuple(op.attrs["before"]), tuple(op.attrs["after"])
    if len(before) < len(shape):
        return [Pad(before, after)]
    # Channels are padded as places of a single channel.
    each = math.prod(shape[1:])
    by_channel: list[nn.Module] = []
    if before[0] or after[0]:
        channels = shape[0] + before[0] + after[0]
        flat = Pad((before[0] * each,), (after[0] * each,))
        by_channel = [Reshape((1, shape[0] * each)), flat, Reshape((channels, *shape[1:]))]
    return [*by_channel, Pad(before[1:], after[1:])] if any(before[1:]) or any(after[1:]) else by_channel


def moved(op: Op, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the values of spikes after an operation that moves them; what it adds has the value 0."""
    if value.numel() == 1:
        return value
    # The modules take [T, N, ...]: one step of one sample.
    whole = spread(value, shape)[None, None]
    for module in movers(op, shape):
        whole = cast(Tensor, module(whole))
    return compact(whole[0, 0], len(op.shape))


def carried(op: Op, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return these values where the result is read as spikes again.

    What a padding adds never sends a spike, so it may take the largest value of its channel, and one value per channel
    stays one value per channel.
    """
    after = moved(op, value, shape)
    if op.kind != "pad" or value.numel() == 1:
        return after
    # Added places have the value 0 up to here, and all others a value above it.
    filled = spread(after, op.shape)
    by_channel = filled.flatten(1).amax(1).clone()
    by_channel[by_channel == 0] = by_channel.amax()  # a channel that is all padding
    rest = by_channel.view(-1, *[1] * (len(op.shape) - 1))
    return compact(torch.where(filled == 0, rest, filled), len(op.shape))


def by_weight(value: Tensor, layer: Any) -> Tensor:
    """Return the values of the spikes that a layer reads, one or one per channel, as they broadcast against its weight.

    Example:
        >>> by_weight(torch.tensor([1.0, 2.0]).view(2, 1, 1), nn.Conv2d(2, 2, 3, groups=2)).shape
        torch.Size([2, 1, 1, 1])
    """
    if value.numel() == 1:
        return value.reshape(())
    flat, kernel = value.reshape(-1), [1] * (layer.weight.dim() - 2)
    if is_transposed(layer):  # [C_in, C_out / groups, *kernel]
        return flat.reshape(-1, 1, *kernel)
    # [C_out, C_in / groups, *kernel]: every output channel reads the inputs of its group.
    groups = int(getattr(layer, "groups", 1))
    rows = flat.reshape(groups, -1).repeat_interleave(len(layer.weight) // groups, 0)
    return rows.reshape(*rows.shape, *kernel)


def spread(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return one value per place of a sample."""
    return (value.reshape(()) if value.numel() == 1 else value).expand(shape)


def compact(value: Tensor, axes: int) -> Tensor:
    """Return values of all places as one number [1], or as one per channel where that is all they differ by."""
    if bool((value == value.reshape(-1)[0]).all()):
        return value.reshape(-1)[:1].clone()
    by_channel = value[(slice(None), *[slice(0, 1)] * (axes - 1))]
    return by_channel.clone() if bool((value == by_channel).all()) else value.clone()


def is_by_channel(value: Tensor) -> bool:
    """Tell whether values differ by channel at most."""
    return value.numel() == value.shape[0]
