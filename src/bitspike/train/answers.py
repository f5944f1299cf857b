"""What a network answered after every step over a whole set: how right it was, and how sure.

Legend: T time, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.tasks.task import Task


@dataclass(frozen=True, eq=False)
class StepAnswers:
    """What became of every sample after 1, 2, ..., T steps.

    Args:
        right: [T, N] float32, how much of the answer was right: 0 or 1 for classes.
        confidence: [T, N] float32, how sure the network was, 0 to 1; None where the task does not say.
    """

    right: Tensor
    confidence: Tensor | None = None

    @property
    def steps(self) -> int:
        """T."""
        return len(self.right)

    @property
    def samples(self) -> int:
        """N."""
        return self.right.shape[1]

    @property
    def accuracies(self) -> list[float]:
        """The metric of the task after 1, 2, ..., T steps.

        Example:
            >>> StepAnswers(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).accuracies
            [0.5, 1.0]
        """
        return [float(share) for share in self.right.double().mean(1)]


@dataclass
class AnswersByStep:
    """Collects the answers of a task batch by batch; ``result`` is None where the labels say nothing of a sample."""

    task: Task
    _right: list[Tensor] = field(default_factory=list)
    _sure: list[Tensor] = field(default_factory=list)
    _judges: bool = True

    def add(self, outputs: Sequence[Any], labels: Any) -> None:
        """Take in the outputs of one batch after 1, 2, ..., T steps.

        Raises:
            DataError: there are more or fewer steps than in the batches before.
        """
        truth = self.task.truth(outputs[-1], labels)
        rights = [None if truth is None else self.task.right(self.task.answers(out), truth) for out in outputs]
        known = [right.float().cpu() for right in rights if right is not None]
        if len(known) < len(outputs):
            self._judges = False
            return
        if self._right and len(self._right[0]) != len(known):
            raise DataError(
                f"a batch has {len(known)} steps and those before it {len(self._right[0])}: there is no accuracy after "
                "each step",
                fix="a loader whose samples have one number of steps",
            )
        self._right.append(torch.stack(known))
        if (sure := getattr(self.task, "confidence", None)) is not None:
            self._sure.append(torch.stack([sure(out).float().cpu() for out in outputs]))

    @property
    def result(self) -> StepAnswers | None:
        """All answers; None where a batch could not be judged, or there was none."""
        if not (self._judges and self._right):
            return None
        return StepAnswers(torch.cat(self._right, 1), torch.cat(self._sure, 1) if self._sure else None)
