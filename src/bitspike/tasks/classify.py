"""Classification: one class for each sample, the one with the largest output, and of equal ones the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitspike.errors import ConstraintError
from bitspike.tasks.classes import need_classes, true_classes
from bitspike.tasks.losses import CrossEntropy
from bitspike.tasks.report import WORDINGS, Exhibit, Wording
from bitspike.tasks.task import AddUp, Agreed, Loss


def answered(outputs: Tensor) -> Tensor:
    """Return the class of every sample: int64 [N] of outputs [N, classes]; the first one on a tie."""
    return outputs.argmax(1)


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Name the class of every sample; outputs [N, classes], labels [N] or shares of classes [N, classes].

    Args:
        loss: what training minimizes unless it is given another loss.

    Example:
        >>> score = Classification().score()
        >>> score.add(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1]))
        >>> score.value, score.detail.tolist()
        (0.5, [[0, 0], [1, 1]])
    """

    wording: ClassVar[Wording] = WORDINGS["classify"]

    loss: Loss = CrossEntropy()

    def need(self, outputs: Any, labels: Any) -> None:
        need_classes(outputs, labels)

    def need_outputs(self, count: int) -> None:
        if count != 1:
            raise ConstraintError(f"the network has {count} read-outs; class scores come from one", fix=_WITHOUT)

    def answers(self, outputs: Tensor) -> Tensor:
        return answered(outputs)

    def truth(self, outputs: Any, labels: Any) -> Tensor | None:
        return true_classes(outputs, labels)

    def right(self, answers: Tensor, truth: Tensor) -> Tensor:
        return answers == truth.to(answers.device)

    def confidence(self, outputs: Tensor) -> Tensor:
        """Return how sure a network is of each answer, [N]: the softmax of its largest output."""
        return outputs.float().softmax(1).amax(1)

    def score(self) -> Confusion:
        return Confusion()

    def comparison(self) -> SameClass:
        return SameClass()

    def named(self, answers: Tensor, names: Sequence[str]) -> list[str]:
        return [names[i] for i in answers.tolist()]

    def exhibits(self, detail: Tensor, names: Sequence[str]) -> tuple[Exhibit, ...]:
        matrix: NDArray[np.int64] = detail.cpu().numpy()
        names = [*names, *map(str, range(len(names), len(matrix)))]  # a class without a name is called by its number
        wrong, total = int(matrix.sum() - matrix.trace()), int(matrix.sum())
        exhibit = Exhibit(
            title="What is taken for what",
            text=f"{wrong:,} of {total:,} test images are taken for another class."
            if wrong
            else "No test image is taken for another class.",
            matrix=matrix,
            names=names,
            caption="rows: true class, columns: predicted class; blue is right, orange wrong, the stronger the larger "
            "its share of the row",
            heading="Most frequent errors",
            columns=("true", "taken for", "images"),
            rows=confused(matrix, names),
        )
        return (exhibit,) if matrix.size else ()


_WITHOUT = "bs.verify(net, inputs) compares spikes and membranes without classes"


class Confusion:
    """Counts [classes, classes]: a row for each true class, a column for each answer; the diagonal is right."""

    def __init__(self) -> None:
        self._counts = torch.zeros(0, 0, dtype=torch.int64)
        self._complete = True

    def add(self, outputs: Any, labels: Any) -> None:
        """Count the answers of one batch."""
        true = true_classes(outputs, labels)
        self._complete = self._complete and true is not None
        if true is None:
            return
        # A pair of classes is one number, so that one pass counts all pairs and nothing waits for an accelerator.
        classes = outputs.shape[1]
        counts = torch.bincount(true * classes + answered(outputs), minlength=classes**2).view(classes, classes)
        self._counts = self._counts + counts if self._counts.numel() else counts

    def add_up(self, over: AddUp) -> None:
        """Add the counts of all processes up."""
        self._counts = over(self._counts)

    @property
    def value(self) -> float | None:
        """Accuracy: the share of the samples on the diagonal; None where a batch had no classes."""
        counts = self.detail
        return None if counts is None or not counts.numel() else int(counts.trace()) / int(counts.sum())

    @property
    def detail(self) -> Tensor | None:
        """The counts, int64 [classes, classes] on the CPU; None where a batch had no classes."""
        return self._counts.cpu() if self._complete else None


@dataclass
class SameClass:
    """Two networks agree on a sample if both answer the same class, right or wrong."""

    samples: int = 0
    same: int = 0
    right_first: int = 0
    right_second: int = 0

    def add(self, first: Any, second: Any, labels: Any) -> None:
        """Count one batch: outputs [N, classes] of both networks, and labels.

        Raises:
            ConstraintError: the networks return something else than one tensor.
            DataError: there is not one label, or one row of shares, for each sample.
        """
        for outputs in (first, second):
            if not isinstance(outputs, Tensor):
                raise ConstraintError(
                    f"the network returns a {type(outputs).__name__}; class scores are one tensor [N, classes]",
                    fix=_WITHOUT,
                )
        first, second = first.cpu(), second.cpu()
        labels = labels.cpu() if isinstance(labels, Tensor) else labels
        true = true_classes(first, labels)
        if true is None:
            # One number for each sample that is no class, such as a zero for want of labels, is no answer either.
            if not isinstance(labels, Tensor) or labels.shape != first.shape[:1] or first.dim() != 2:
                need_classes(first, labels)
            true = labels
        answers = answered(first), answered(second)
        self.samples += len(true)
        self.same += int((answers[0] == answers[1]).sum())
        self.right_first += int((answers[0] == true).sum())
        self.right_second += int((answers[1] == true).sum())

    def result(self) -> Agreed:
        """Return the share of equal answers, and the accuracy of either network."""
        return Agreed(*(count / self.samples for count in (self.same, self.right_first, self.right_second)))


def confused(matrix: NDArray[np.int64], names: Sequence[str], most: int = 8) -> list[tuple[str, str, int]]:
    """Return the most frequent errors as (true class, predicted class, samples), most frequent first.

    Example:
        >>> confused(np.array([[5, 2], [0, 9]]), ("cat", "dog"))
        [('cat', 'dog', 2)]
    """
    errors = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-errors, axis=None, kind="stable")[:most]
    pairs = [divmod(int(index), len(matrix)) for index in order]
    return [(names[r], names[c], int(errors[r, c])) for r, c in pairs if errors[r, c] > 0]
