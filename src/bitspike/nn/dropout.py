"""Dropout over time: what is left out stays out at all steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError


@checked
class SteadyDropout(nn.Module):
    """Leave out each value with probability p at all steps of a sample, and divide the others by ``1 - p``.

    In evaluation it does nothing. Spikes that are left out anew at every step, as ``bs.TimeDistributed(nn.Dropout())``
    does, are left out of a rate in part only.

    Args:
        p: in [0, 1).

    Shape: [T, N, ...] to the same.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> y = SteadyDropout(0.5)(torch.ones(3, 1, 64))
        >>> y.unique().tolist(), bool((y == y[0]).all())
        ([0.0, 2.0], True)
    """

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ConstraintError(
                f"SteadyDropout(p={p}): a probability in [0, 1) is needed", fix="p=0.2, which leaves out a fifth"
            )
        self.p = float(p)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(torch.ones_like(x[:1]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"
