"""Knowledge distillation: a network learns what a trained one answers, next to what the labels say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn.trace import evaluation
from bitspike.ops.wrappers import unwrapped
from bitspike.tasks.batches import in_words
from bitspike.tasks.task import Loss
from bitspike.train.launch import Workers
from bitspike.train.over_time import of_outputs

Objective = Callable[[Any, Any, Any], Tensor]
"""What is minimized: of inputs, outputs and labels of a batch, the mean over its samples."""


@checked
@dataclass(frozen=True, kw_only=True)
class Distillation:
    """How much of the loss is the teacher's: ``(1 - weight) * task + weight * T^2 * KL(teacher || student)``.

    KL compares the classes' probabilities ``softmax(outputs / T)`` of both, and T^2 keeps the size of its gradient when
    the temperature T changes. Source: Hinton, Vinyals and Dean 2015, arXiv 1503.02531, section 2.

    Args:
        weight: share of the teacher, in (0, 1].
        temperature: T, above 0; higher ones show more of what the teacher thinks of the wrong classes.

    Raises:
        ConstraintError: a value outside what is allowed.

    Example:
        >>> student, teacher = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0, 0.0]])
        >>> round(Distillation(temperature=1.0).divergence(student, teacher).item(), 4)
        0.1201
    """

    weight: float = 0.5
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1:
            raise ConstraintError(f"{self}: weight must lie in (0, 1]", fix="weight=0.5; no teacher for none of it")
        if not self.temperature > 0:
            raise ConstraintError(f"{self}: temperature must be above 0", fix="temperature=4.0")

    def divergence(self, outputs: Tensor, taught: Tensor) -> Tensor:
        """Return ``T^2 * KL``, the mean over the samples.

        Args:
            outputs: of the student, [N, classes].
            taught: those of the teacher, [N, classes].
        """
        student, teacher = (F.log_softmax(x.float() / self.temperature, dim=1) for x in (outputs, taught))
        mean = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return mean * self.temperature**2


@contextmanager
def objective(
    loss: Loss, model: nn.Module, teacher: nn.Module | None, distill: Distillation | None, workers: Workers
) -> Iterator[Objective]:
    """Yield what is minimized; a teacher is on the device and in evaluation mode for the length of the block.

    Raises:
        ConstraintError: a teacher that shares weights with the model, or ``distill`` without a teacher.
    """
    if teacher is None:
        if distill is not None:
            raise ConstraintError(
                f"fit(distill={distill}): there is no teacher", fix="fit(teacher=NETWORK, distill=...)"
            )
        with of_outputs(loss, model) as stated:
            yield lambda _inputs, outputs, labels: stated(outputs, labels)
        return
    share, teacher = distill or Distillation(), unwrapped(teacher)
    if shared := {id(p) for p in teacher.parameters()} & {id(p) for p in model.parameters()}:
        raise ConstraintError(
            f"fit(teacher=...): the teacher shares {len(shared)} parameters with the model, which training changes",
            fix="teacher=copy.deepcopy(model)",
        )

    def mixed(inputs: Any, outputs: Any, labels: Any) -> Tensor:
        with torch.no_grad(), workers.mixed_precision():
            taught = teacher(inputs)
        _need_alike(outputs, taught)
        return (1 - share.weight) * stated(outputs, labels) + share.weight * share.divergence(outputs, taught)

    with evaluation(teacher), workers.placed(teacher), of_outputs(loss, model) as stated:
        yield mixed


def _need_alike(outputs: Any, taught: Any) -> None:
    """Raise ConstraintError unless the outputs of both are [N, classes], for the same samples and classes."""
    both = (outputs, taught)
    if not all(isinstance(x, Tensor) and x.dim() == 2 for x in both) or outputs.shape != taught.shape:
        raise ConstraintError(
            f"distillation needs outputs [N, classes] of model and teacher alike; the model gives a "
            f"{in_words(outputs)}, the teacher a {in_words(taught)}",
            fix="a teacher of the same classes; one with other outputs in a module that returns those of the model",
        )
