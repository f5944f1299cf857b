"""What makes [N, ...] of [T, N, ...]: the average or the sum over time.

Both read T from what enters; they have no arguments, and say so.
"""

from __future__ import annotations

from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.ops.precision import single


@checked
class RateReadout(nn.Module):
    """Average over time: [T, N, ...] to [N, ...].

    Example:
        >>> import torch
        >>> RateReadout()(torch.tensor([[[1.0]], [[0.0]]])).tolist()
        [[0.5]]
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        # In half precision a sum over time would lose counts; the logits are few, so they are kept wide.
        return single(x).mean(0)


@checked
class SumReadout(nn.Module):
    """Add up over time: [T, N, ...] to [N, ...].

    Example:
        >>> import torch
        >>> SumReadout()(torch.tensor([[[1.0]], [[1.0]]])).tolist()
        [[2.0]]
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return single(x).sum(0)
