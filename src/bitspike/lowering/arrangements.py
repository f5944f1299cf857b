"""Modules that move integers without arithmetic, as integer nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import nn

from bitspike.errors import LoweringError
from bitspike.integer.nodes import Move, Pad, Reals, Reshape, Shape, Slice, Transpose, Upsample
from bitspike.nn import arrange as modules

_NODES: dict[type[nn.Module], tuple[type[Move], tuple[str, ...]]] = {
    modules.Reshape: (Reshape, ("shape",)),
    modules.Permute: (Transpose, ("axes",)),
    modules.Slice: (Slice, ("start", "stop")),
    modules.Pad: (Pad, ("before", "after")),
    modules.Upsample: (Upsample, ("factors",)),
}
"""By module: its kind of node, and the fields that both have."""
MODULES = tuple(_NODES)


def arrangement(module: nn.Module) -> tuple[type[Move], dict[str, Any]]:
    """Return kind and fields of the node that a module of ``nn.arrange`` becomes.

    Raises:
        LoweringError: it is none.
    """
    for known, (kind, names) in _NODES.items():
        if isinstance(module, known):
            return kind, {name: getattr(module, name) for name in names}
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
