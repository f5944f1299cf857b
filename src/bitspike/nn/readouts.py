"""What makes [N, ...] of [T, N, ...]: the average or the sum over time."""

from __future__ import annotations

from torch import Tensor, nn

from bitspike.ops.precision import single


class RateReadout(nn.Module):
    """Average over time: [T, N, ...] to [N, ...].

    Example:
        >>> import torch
        >>> RateReadout()(torch.tensor([[[1.0]], [[0.0]]])).tolist()
        [[0.5]]
    """

    def forward(self, x: Tensor) -> Tensor:
        # In half precision a sum over time would lose counts; the logits are few, so they are kept wide.
        return single(x).mean(0)


class SumReadout(nn.Module):
    """Add up over time: [T, N, ...] to [N, ...].

    Example:
        >>> import torch
        >>> SumReadout()(torch.tensor([[[1.0]], [[1.0]]])).tolist()
        [[2.0]]
    """

    def forward(self, x: Tensor) -> Tensor:
        return single(x).sum(0)
