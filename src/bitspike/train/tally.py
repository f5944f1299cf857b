"""The running sums of one epoch: loss, right answers, samples, and the watch for a loss that is not finite."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import RunError
from bitspike.tasks.task import AddUp, Task, judged
from bitspike.train.observe import BatchRecord, Observer

_READ_EVERY = 16


@dataclass
class Tally:
    """Adds up an epoch. On an accelerator the numbers stay there and are read every 16th batch: nothing waits for them.

    The observer hears of the batches in :class:`BatchRecord`; it says what ``epoch``, ``epochs``, ``batches`` are.
    """

    epoch: int
    epochs: int
    batches: int | None
    observer: Observer
    task: Task
    batch: int = 0
    samples: int = 0
    loss: float = 0.0
    right: float = 0.0
    first: Any = None
    """The inputs of the first batch."""
    _waiting: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)

    def add(self, mean: Tensor, outputs: Any, labels: Any, samples: int) -> None:
        """Take in one batch: its mean loss, its outputs and labels, and how many samples it has."""
        self.batch += 1
        judgment = judged(self.task, outputs, labels)
        # NaN marks a batch that the task cannot judge; one of them makes the sum of the epoch NaN.
        right = mean.new_tensor(math.nan) if judgment is None else judgment.sum()
        self._waiting.append((mean.double(), right.double(), samples))
        if mean.device.type == "cpu" or len(self._waiting) == _READ_EVERY:
            self.read()

    def read(self) -> None:
        """Read what waits.

        Raises:
            RunError: a loss is not finite; names the epoch and the batch.
        """
        if not self._waiting:
            return
        means = torch.stack([w[0] for w in self._waiting]).tolist()
        rights = torch.stack([w[1] for w in self._waiting]).tolist()
        first = self.batch - len(self._waiting) + 1
        for number, (mean, right, (_, _, count)) in enumerate(
            zip(means, rights, self._waiting, strict=True), start=first
        ):
            if count and not math.isfinite(mean):
                raise RunError(
                    f"the loss became {mean} in epoch {self.epoch}, batch {number}",
                    fix="a lower learning rate, a warm-up (warmup_epochs of the schedule), or clip_gradient",
                )
            self.samples += count
            self.loss += mean * count if count else 0.0
            self.right += right
        self._waiting.clear()
        self.observer.batch_done(
            BatchRecord(
                epoch=self.epoch,
                epochs=self.epochs,
                batch=self.batch,
                batches=self.batches,
                samples=self.samples,
                loss=self.loss / max(self.samples, 1),
                accuracy=_share(self.right, max(self.samples, 1)),
            )
        )

    def over(self, add_up: AddUp) -> tuple[float, float | None]:
        """Return loss and share of right answers over the samples of all processes."""
        loss, right, samples = add_up(torch.tensor([self.loss, self.right, float(self.samples)]).double()).tolist()
        return loss / samples, _share(right, samples)


def _share(right: float, samples: float) -> float | None:
    """Return the share of right answers; None where there was a batch that the task could not judge."""
    return None if math.isnan(right) else right / samples
