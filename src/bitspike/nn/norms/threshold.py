"""A batch norm that scales to the threshold of the neuron after it."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.kernels.norm import Norm
from bitspike.nn.norms.base import AffineNorm


@checked
class ThresholdBatchNorm(AffineNorm):
    """Batch norm whose output has the standard deviation ``alpha * threshold`` (tdBN).

    y = gamma * alpha * threshold * (x - mean) / sqrt(var + eps) + beta, per channel, statistics over batch, time and
    space. ``alpha = 1/sqrt(2)`` on each of two branches that are added keeps the sum at the threshold.

    Args:
        channels: C.
        threshold: of the neuron after it, above 0.
        alpha: share of this branch, above 0.
        eps, momentum: as torch's batch norms.

    Shape: [N, C, ...] to the same (time folded into N).
    Source: Zheng et al., AAAI 2021, arXiv 2011.05280, eq. 6-7.

    Example:
        >>> ThresholdBatchNorm(8, threshold=0.5)(torch.randn(4, 8, 5, 5)).std().item() < 0.51
        True
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, threshold: float = 1.0, alpha: float = 1.0, *, eps: float = 1e-5, momentum: float = 0.1
    ) -> None:
        super().__init__(channels)
        value: Any = threshold  # a model passes the threshold of its neuron, of whatever type
        if isinstance(value, Tensor):
            raise ConstraintError(
                "ThresholdBatchNorm takes one threshold, the neuron has one per channel",
                fix="norm=lambda channels: ThresholdBatchNorm(channels, threshold=...)",
            )
        if not (threshold > 0 and alpha > 0):
            raise ConstraintError(
                f"ThresholdBatchNorm(threshold={threshold}, alpha={alpha}): both must be above 0",
                fix="the threshold of the neuron after it, and alpha=1, or 2**-0.5 on each of two branches",
            )
        self.threshold, self.alpha, self.eps, self.momentum = threshold, alpha, eps, momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.gain(), self.bias, self.training, self.momentum, self.eps
        )

    def gain(self) -> Tensor:
        """Return what the normalized values are multiplied with, [C]: gamma * alpha * threshold."""
        return self.weight * (self.alpha * self.threshold)

    def affine(self) -> tuple[Tensor, Tensor]:
        gain = self.weight.detach().double() * self.alpha * self.threshold
        gain = gain / (self.running_var.double() + self.eps).sqrt()
        return gain, self.bias.detach().double() - self.running_mean.double() * gain

    def kernel(self) -> Norm:
        own = self.running_mean, self.running_var
        return Norm(self.gain(), self.bias, *own, self.training, self.momentum, self.eps)

    @classmethod
    def before(cls, neuron: nn.Module, channels: int, branches: int = 1) -> Self:
        """Take the threshold of the neuron, 1 for an activation, and share it between branches that are added."""
        return cls(channels, getattr(neuron, "threshold", 1.0), branches**-0.5)

    def extra_repr(self) -> str:
        return f"{self.channels}, threshold={self.threshold:g}, alpha={self.alpha:g}"
