"""The protocol of a task: what training, evaluation, comparison, ledger and report ask about outputs and labels.

They pass outputs and labels on as they come and know neither classes nor ``argmax``. A task says

* which ``loss`` is minimized, and which labels it refuses (``need``);
* what the outputs answer (``answers``), what the labels call right (``truth``), and how much of each sample's answer
  is right (``right``);
* how an evaluation counts (``score``), and what it means that two networks agree (``comparison``);
* what a report says and shows (``wording``, ``named``, ``exhibits``).

A task may also have ``confidence(outputs)``, how sure the network is of each answer, 0 to 1, [N]: with it a network can
stop when it is sure (:mod:`bitspike.analysis.exits`).

:mod:`bitspike.tasks.classify` is the first task; decision 0027 (docs/adr) says how detection and sequences fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from bitspike.tasks.report import Exhibit, Wording

Loss = Callable[[Any, Any], Tensor]
"""From outputs and labels, as model and loader give them, to the mean over the batch."""
AddUp = Callable[[Tensor], Tensor]
"""Adds a tensor up over all processes that train together."""


class Score(Protocol):
    """Counts over one set, batch by batch, without waiting for an accelerator."""

    def add(self, outputs: Any, labels: Any) -> None:
        """Take in one batch."""

    def add_up(self, over: AddUp) -> None:
        """Add the counts of all processes up; every process calls it once, after its last batch."""

    @property
    def value(self) -> float | None:
        """The metric over the set, the larger the better; None where a batch had no labels of this task."""

    @property
    def detail(self) -> Any:
        """What was counted, for ``exhibits``; None where ``value`` is None."""


class Agreed(NamedTuple):
    """Two networks on the same samples: the share of equal answers, and the metric of either network."""

    answers: float
    first: float
    second: float


class Comparison(Protocol):
    """Counts how far the answers of two networks agree, batch by batch."""

    samples: int

    def add(self, first: Any, second: Any, labels: Any) -> None:
        """Take in the outputs of both networks for one batch, the float network's first."""

    def result(self) -> Agreed:
        """Return the shares over all samples, of which there is at least one."""


class Task(Protocol):
    """What a network is for."""

    @property
    def wording(self) -> Wording:
        """The name of the metric, and what a report says of it."""

    @property
    def loss(self) -> Loss:
        """What training minimizes unless it is given another loss."""

    def need(self, outputs: Any, labels: Any) -> None:
        """Refuse outputs and labels that are not of this task.

        Raises:
            DataError: names both, and the way out.
        """

    def need_outputs(self, count: int) -> None:
        """Refuse a network whose number of read-outs does not belong to this task.

        Raises:
            ConstraintError: names the number, and the way out.
        """

    def answers(self, outputs: Any) -> Any:
        """Return what the network answers, sample by sample."""

    def truth(self, outputs: Any, labels: Any) -> Any | None:
        """Return what the labels call right, in the form of ``answers``; None where they are not of this task."""

    def right(self, answers: Any, truth: Any) -> Tensor | None:
        """Return how much of each answer is right, 0 to 1, [N]; None where a sample alone cannot be judged."""

    def score(self) -> Score:
        """Return an empty count over a set."""

    def comparison(self) -> Comparison:
        """Return an empty count of how far two networks agree."""

    def named(self, answers: Any, names: Sequence[str]) -> list[str]:
        """Return answers in words, one for each sample; ``names`` are those of the data set's classes."""

    def exhibits(self, detail: Any, names: Sequence[str]) -> tuple[Exhibit, ...]:
        """Return what a report shows of ``Score.detail``."""


def judged(task: Task, outputs: Any, labels: Any) -> Tensor | None:
    """Return how much of each sample's answer is right, [N]; None where the labels say nothing about it.

    Example:
        >>> import torch
        >>> from bitspike.tasks.classify import Classification
        >>> judged(Classification(), torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).tolist()
        [True, False]
    """
    truth = task.truth(outputs, labels)
    return None if truth is None else task.right(task.answers(outputs), truth)
