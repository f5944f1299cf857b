"""What every module asks of values over time."""

from __future__ import annotations

from torch import Tensor

from bitspike.errors import ConstraintError


def need_steps(x: Tensor, owner: str, values: str = "values") -> None:
    """Refuse what is not floating, or not [T, N, ...] with T of at least 1.

    Raises:
        ConstraintError: names the module that got it, by its class ``owner``.

    Example:
        >>> import torch
        >>> need_steps(torch.ones(3), "Synapse")
        Traceback (most recent call last):
        bitspike.errors.ConstraintError: Synapse got [3]: needed is [T, N, ...] with at least one step
          fix: bs.Repeat(steps=4) before the first layer turns [N, ...] into [T, N, ...]
    """
    if not x.is_floating_point():
        raise ConstraintError(f"{owner} got {x.dtype}: floating {values} are needed", fix="x.float()")
    if x.dim() < 2 or x.shape[0] == 0:
        raise ConstraintError(
            f"{owner} got {list(x.shape)}: needed is [T, N, ...] with at least one step",
            fix="bs.Repeat(steps=4) before the first layer turns [N, ...] into [T, N, ...]",
        )
