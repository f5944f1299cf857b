"""What a spike is worth from place to place, and behind operations that only move spikes.

Values are float64 and broadcast against one sample: one number [1], one per channel [C, 1, ...], or one per place.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from bitspike.graph.ir import Op
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
    made: list[nn.Module] = []
    if before[0] or after[0]:
        channels = shape[0] + before[0] + after[0]
        flat = Pad((before[0] * each,), (after[0] * each,))
        made = [Reshape((1, shape[0] * each)), flat, Reshape((channels, *shape[1:]))]
    return [*made, Pad(before[1:], after[1:])] if any(before[1:]) or any(after[1:]) else made


def moved(op: Op, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the values of spikes behind an operation that moves them; what it adds has the value 0."""
    if value.numel() == 1:
        return value
    whole = spread(value, shape)[None, None]
    for module in movers(op, shape):
        whole = cast(Tensor, module(whole))
    return compact(whole[0, 0], len(op.shape))


def carried(op: Op, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return the same where the result is read as spikes: what it adds, never a spike, takes the value beside it."""
    behind = moved(op, value, shape)
    if op.kind != "pad" or value.numel() == 1:
        return behind
    filled = spread(behind, op.shape)
    beside = filled.flatten(1).amax(1).clone()
    beside[beside == 0] = beside.amax()
    rest = beside.view(-1, *[1] * (len(op.shape) - 1))
    return compact(torch.where(filled == 0, rest, filled), len(op.shape))


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
