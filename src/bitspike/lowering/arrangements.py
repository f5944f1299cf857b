"""Modules that move integers without arithmetic, as integer nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from bitspike.errors import LoweringError
from bitspike.integer.nodes import Move, Pad, Reals, Reshape, Shape, Slice, Transpose, Upsample
from bitspike.nn import arrange as modules

MODULES = (modules.Reshape, modules.Permute, modules.Slice, modules.Pad, modules.Upsample)


def arrangement(module: nn.Module) -> tuple[type[Move], dict[str, Any]]:
    """Return kind and fields of the node that a module of ``nn.arrange`` becomes.

    Raises:
        LoweringError: it is none.
    """
    match module:
        case modules.Reshape():
            return Reshape, {"shape": module.shape}
        case modules.Permute():
            return Transpose, {"axes": module.axes}
        case modules.Slice():
            return Slice, {"start": module.start, "stop": module.stop}
        case modules.Pad():
            return Pad, {"before": module.before, "after": module.after}
        case modules.Upsample():
            return Upsample, {"factors": module.factors}
    raise LoweringError(f"{module!r} moves no integers", fix="one of " + ", ".join(m.__name__ for m in MODULES))


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
