"""The metric of a run that stops early, for every number of steps, from a single run."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn

from bitspike.nn import RateReadout, SumReadout
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task


class Prefixes:
    """Record the input of a network's read-out, and from it the answers after every step.

    A step depends on earlier steps only, so the sums over the first t steps are the result of a run of t steps.

    Args:
        network: with one read-out, its last module, over [T, N, K].
        task: says what an output answers, and which answers are right.

    Example:
        >>> net = nn.Sequential(RateReadout())
        >>> with Prefixes(net) as prefixes:
        ...     _ = net(torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]))
        >>> prefixes.accuracies(torch.tensor([1]))
        [0.0, 1.0]
    """

    def __init__(self, network: nn.Module, task: Task = Classification()) -> None:
        self._task = task
        self._readouts = [m for m in network.modules() if isinstance(m, RateReadout | SumReadout)]
        self._answers: list[Tensor] = []
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sums = inputs[0].float().cumsum(0)
            self._answers.append(torch.stack([self._task.answers(outputs) for outputs in sums]).cpu())

        self._handles = [m.register_forward_pre_hook(keep) for m in self._readouts]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def accuracies(self, labels: Tensor) -> list[float]:
        """Return the share of right answers after 1, 2, ..., T steps.

        Args:
            labels: int64 [N] of all samples that were run, in their order.
        """
        answers = torch.cat(self._answers, dim=1)
        right = [self._task.right(after, labels.cpu()) for after in answers]
        return [float(share.double().mean()) for share in right if share is not None]
