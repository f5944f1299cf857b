"""Losses on what a network reads out: [N, classes] rates or sums against [N] class numbers.

Any callable ``(outputs, labels) -> scalar mean over the batch`` serves ``fit`` as a loss, torch's modules included.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.tasks.classes import need_classes


@checked
@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Cross-entropy of ``softmax(scale * outputs)``.

    Rates lie in [0, 1], so an unscaled softmax over ten classes cannot fall below ln(1 + 9/e) = 1.46: a loss of 1.5 is
    then no fault. A ``scale`` above 1 sharpens the softmax and with it the gradient.

    Args:
        label_smoothing: share of the label that is spread over all classes, in [0, 1).
        scale: factor on the outputs (an inverse temperature), above 0.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> import torch
        >>> round(CrossEntropy()(torch.eye(10)[:1], torch.tensor([0])).item(), 2)
        1.46
    """

    label_smoothing: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ConstraintError(f"{self}: label_smoothing must lie in [0, 1)", fix="label_smoothing=0.1")
        if not self.scale > 0:
            raise ConstraintError(f"{self}: scale must be above 0", fix="scale=1.0")

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        classes = labels if labels.is_floating_point() else labels.long()
        return F.cross_entropy(outputs * self.scale, classes, label_smoothing=self.label_smoothing)


@dataclass(frozen=True)
class MeanSquare:
    """Mean square of ``outputs - one_hot(labels)`` over batch and classes, the loss of STBP (Wu et al. 2018, eq. 4).

    Labels [N, classes] are shares of classes already.

    Example:
        >>> import torch
        >>> MeanSquare()(torch.tensor([[0.5, 0.0]]), torch.tensor([0])).item()
        0.125
    """

    def __call__(self, outputs: Tensor, labels: Tensor) -> Tensor:
        shares = labels if labels.is_floating_point() else F.one_hot(labels.long(), outputs.shape[1])
        return F.mse_loss(outputs, shares.to(outputs.dtype))


def mean_loss(loss: Callable[[Any, Any], Tensor], outputs: Any, labels: Any) -> Tensor:
    """Return what a loss gives for a batch; the losses of this module are about classes and need some.

    Raises:
        DataError: outputs or labels have no classes, and the loss needs them.
    """
    if isinstance(loss, CrossEntropy | MeanSquare):
        need_classes(outputs, labels)
        return loss(outputs, labels)
    try:
        return loss(outputs, labels)
    except (IndexError, RuntimeError, ValueError):
        if loss in (F.cross_entropy, F.nll_loss) or isinstance(loss, nn.CrossEntropyLoss | nn.NLLLoss):
            need_classes(outputs, labels)
        raise
