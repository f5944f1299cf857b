"""Modules that move integers without arithmetic, as integer nodes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import nn

from bitspike.errors import LoweringError
from bitspike.integer.nodes import Node, Pad, Reals, Reshape, Shape, Slice, Transpose, Upsample
from bitspike.nn import arrange as modules

Arrangement = tuple[type[Node], Shape, dict[str, Any]]
MODULES = (modules.Reshape, modules.Permute, modules.Slice, modules.Pad, modules.Upsample)


def arrangement(module: nn.Module, shape: Shape, path: str) -> Arrangement:
    """Return kind, shape of the result and parameters of the node that a module of ``nn.arrange`` becomes.

    Raises:
        LoweringError: the module does not fit what it gets.
    """
    inside = shape[1:]
    match module:
        case modules.Reshape() if math.prod(module.shape) == math.prod(shape):
            return Reshape, module.shape, {}
        case modules.Permute() if sorted(module.axes) == list(range(len(shape))):
            return Transpose, tuple(shape[a] for a in module.axes), {"axes": module.axes}
        case modules.Slice() if 0 <= module.start < module.stop <= shape[0]:
            made = (module.stop - module.start, *inside)
            return Slice, made, {"start": module.start, "stop": module.stop}
        case modules.Pad() if len(module.before) == len(inside):
            made = (shape[0], *(n + b + a for n, b, a in zip(inside, module.before, module.after, strict=True)))
            return Pad, made, {"before": module.before, "after": module.after}
        case modules.Upsample() if len(module.factors) == len(inside):
            made = (shape[0], *(n * f for n, f in zip(inside, module.factors, strict=True)))
            return Upsample, made, {"factors": module.factors}
    raise LoweringError(f"{path}: {module!r} cannot take {list(shape)} per sample")


def carried(values: Reals, module: nn.Module, before: Shape, after: Shape) -> Reals | None:
    """Return what becomes of one value per channel, [1] or [C], under an arrangement; None if it is none any more.

    Example:
        >>> carried(np.array([1.0, 2.0]), modules.Reshape((4,)), (2, 2), (4,)).tolist()
        [1.0, 1.0, 2.0, 2.0]
    """
    if len(values) == 1 or (values == values[0]).all():
        return values[:1]
    if isinstance(module, modules.Pad | modules.Upsample):
        return values
    if isinstance(module, modules.Slice):
        return values[module.start : module.stop]
    whole = np.broadcast_to(values.reshape(-1, *[1] * (len(before) - 1)), before)
    whole = whole.transpose(module.axes) if isinstance(module, modules.Permute) else whole.reshape(after)
    by_channel = whole.reshape(after[0], -1)
    return by_channel[:, 0].copy() if (by_channel == by_channel[:, :1]).all() else None
