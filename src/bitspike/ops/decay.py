"""Which trained parameters decay: those of two or more axes; biases, gains, clips and time constants do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Part the parameters that train into groups of an optimizer of torch; there is no empty group.

    Example:
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups(nn.Linear(2, 1).parameters(), 0.1)]
        [(1, 0.1), (1, 0.0)]
    """
    trained = [p for p in parameters if p.requires_grad]
    parts = [([p for p in trained if p.dim() > 1], weight_decay), ([p for p in trained if p.dim() <= 1], 0.0)]
    return [{"params": params, "weight_decay": decay} for params, decay in parts if params]
