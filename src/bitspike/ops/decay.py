"""Which trained parameters decay: weights of two or more axes; biases, gains, clips and time constants do not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def groups(
    parameters: Iterable[nn.Parameter],
    weight_decay: float,
    norms: Iterable[nn.Parameter] = (),
    *,
    decay_norms: bool = False,
) -> list[dict[str, Any]]:
    """Part the parameters that train into groups of an optimizer of torch; there is no empty group.

    The parameters of ``norms`` do not decay however many axes they have, such as gains for each step and channel; with
    ``decay_norms`` all of them do.

    Example:
        >>> [(len(group["params"]), group["weight_decay"]) for group in groups(nn.Linear(2, 1).parameters(), 0.1)]
        [(1, 0.1), (1, 0.0)]
    """
    trained, of_norms = [p for p in parameters if p.requires_grad], {id(p) for p in norms}
    decays = [decay_norms if id(p) in of_norms else p.dim() > 1 for p in trained]
    parts = [
        ([p for p, its in zip(trained, decays, strict=True) if its is wanted], decay)
        for wanted, decay in ((True, weight_decay), (False, 0.0))
    ]
    return [{"params": params, "weight_decay": decay} for params, decay in parts if params]
