"""How good a network is: its metric and its loss over a whole set, always in single precision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, DataError
from bitspike.nn import Encoder, set_steps
from bitspike.nn.entering import counted_inputs
from bitspike.nn.every_step import after_every_step, reads_ahead
from bitspike.nn.trace import evaluation
from bitspike.ops.precision import full_precision
from bitspike.tasks.batches import need_loader, pairs, samples_in
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import AddUp, Loss, Task
from bitspike.train.answers import AnswersByStep, StepAnswers
from bitspike.train.over_time import of_outputs

Batches = Iterable[tuple[Tensor, Any]]


@dataclass(frozen=True)
class Evaluation:
    """Result over one set.

    Args:
        accuracy: the metric of the task; of classes the share of samples whose largest output is the right class, the
            first one on a tie.
        loss: mean over the samples.
        samples: how many there were.
        confusion: what the task counted; int64 [classes, classes], row = true class, column = answer.
        inputs_clipped: input values that lay beyond the grid of a converted network and were clipped to it.
        answers: after every step, where they were asked for.
    """

    accuracy: float
    loss: float
    samples: int
    confusion: Tensor
    inputs_clipped: int = 0
    answers: StepAnswers | None = None

    @property
    def by_step(self) -> list[float] | None:
        """The metric after 1, 2, ..., T steps, the last one as ``accuracy`` has it; None where there are no answers."""
        return None if self.answers is None else [*self.answers.accuracies[:-1], self.accuracy]


@torch.no_grad()
@checked
def evaluate(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    add_up: AddUp | None = None,
    task: Task = Classification(),
    each_step: bool = False,
) -> Evaluation:
    """Run a model in evaluation mode over every batch, on the device where it is, in single precision.

    Args:
        model: gives [N, classes] for [N, ...]; each of its modules is left in the mode (training or
            evaluation) in which it came.
        batches: pairs of inputs and labels: whole numbers [N], or shares of classes [N, classes], of which the largest
            counts.
        loss: as in ``fit``; None is that of the task, for classes plain cross-entropy.
        seed: of the random coders in the model; torch's own generator is as before afterwards.
        add_up: adds a tensor up over all processes, where each has its own share of the set.
        task: says what is right.
        each_step: also record the answers after 1, 2, ..., T steps, from the same run
            (:mod:`bitspike.nn.every_step`); of this process alone. Whether the model reads no step ahead, so that they
            are those of shorter runs, is asked of :func:`bitspike.nn.every_step.reads_ahead`.

    Raises:
        DataError: there is no sample, or outputs and labels are not of the task.
        ConstraintError: of a converted network, inputs that are none of its own, such as bytes for a network of images
            in [0, 1]; :mod:`bitspike.ops.entering` has the rules. Outputs that are NaN. With ``each_step``, a network
            without a read-out.

    Example:
        >>> x, y = torch.eye(2), torch.tensor([0, 0])
        >>> evaluate(nn.Identity(), [(x, y)]).accuracy
        0.5
    """
    by_step = AnswersByStep(task) if each_step else None
    result = measure(model, batches, task, loss=loss, seed=seed, add_up=add_up, strict=True, by_step=by_step)
    assert result.score is not None, "labels of the task give a score"
    answers = None if by_step is None else by_step.result
    return Evaluation(result.score, result.loss, result.samples, result.detail, result.inputs_clipped, answers)


@dataclass(frozen=True)
class Measured:
    """An :class:`Evaluation` of any outputs and labels; score and detail are None where they are not of the task."""

    score: float | None
    loss: float
    samples: int
    detail: Any
    inputs_clipped: int = 0


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Batches,
    task: Task,
    *,
    loss: Loss | None,
    seed: int,
    add_up: AddUp | None,
    strict: bool,
    by_step: AnswersByStep | None = None,
) -> Measured:
    """Do what :func:`evaluate` does for outputs and labels of any kind, if the loss takes them.

    ``strict`` refuses, with a DataError, outputs and labels that are not of the task; ``by_step`` takes in the answers
    after every step.
    """
    loss = task.loss if loss is None else loss
    device = _device_of(model)
    total = torch.zeros(2, dtype=torch.float64, device=device)  # of the losses, and of the samples
    score, unknown = task.score(), torch.zeros((), dtype=torch.int64, device=device)
    with (
        evaluation(model),
        seeded(seed, device),
        full_precision(),
        counted_inputs(model) as clipped,
        of_outputs(loss, model) as stated,
    ):
        for x, y in pairs(batches):
            x, y = x.to(device), tree_map(lambda t: t.to(device) if isinstance(t, Tensor) else t, y)
            outputs = [model(x)] if by_step is None else after_every_step(model, x)
            out = outputs[-1]
            if strict:
                task.need(out, y)
                unknown += _without_number(outputs)
            if by_step is not None and samples_in(x, out, y):
                by_step.add(outputs, y)
            mean, n = stated(out, y).double(), samples_in(x, out, y)
            # Of no sample the mean is NaN, which would spoil the sum.
            total += torch.stack([mean * n, mean.new_tensor(n)]) if n else 0.0
            score.add(out, y)
    clips = torch.tensor(clipped.values, dtype=torch.float64, device=device)
    if add_up is not None:
        # Every process takes part in every sum, also one whose share of the set is empty.
        total, clips = add_up(total), add_up(clips)
        score.add_up(add_up)
    samples = int(total[1])
    if samples == 0:
        raise DataError(
            "there is nothing to evaluate: the set holds no sample",
            fix="pass the loader itself, not iter(loader), which may have been read to its end before",
        )
    if broken := int(unknown):
        raise ConstraintError(
            f"the outputs of {broken:,} of {samples:,} samples hold NaN, so that they answer nothing",
            fix="finite inputs, and the weights of a training that did not diverge; "
            "[name for name, p in model.state_dict().items() if p.isnan().any()] names those that are NaN",
        )
    clipped.warn()
    return Measured(score.value, float(total[0]) / samples, samples, score.detail, int(clips))


def _without_number(outputs: Sequence[Any]) -> Tensor:
    """Return how many samples have a NaN among their outputs, a scalar; the outputs of a step are any tensors."""
    leaves = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.dim() and len(leaf)]
    broken = [leaf.isnan().reshape(len(leaf), -1).any(1) for leaf in leaves if leaf.is_floating_point()]
    rows = max((len(rows) for rows in broken), default=0)
    together = torch.stack([b for b in broken if len(b) == rows]).any(0) if rows else torch.zeros(0, dtype=torch.bool)
    return together.sum()


@checked
def by_step(
    model: nn.Module,
    batches: Batches,
    *,
    seed: int = 0,
    final: Evaluation | None = None,
    task: Task = Classification(),
) -> list[float]:
    """Return the task's metric when a network is stopped after t steps, for t = 1 to the model's T, from one run.

    Of a model that reads steps ahead, or calls no read-out of the package, one run does not tell; it is then run for
    every t anew, with :func:`~bitspike.nn.set_steps`.

    Args:
        model: ends in a read-out, or has one or more encoders (such as ``Repeat``) of the same number of steps.
        batches: read twice, or T times.
        seed, task: as in :func:`evaluate`.
        final: the result of all T steps, if it is known, with the answers after every step or without.

    Example:
        >>> from bitspike.nn import RateReadout, Repeat
        >>> by_step(nn.Sequential(Repeat(2), RateReadout()), [(torch.eye(2), torch.tensor([0, 1]))])
        [1.0, 1.0]
    """
    if (final is None or final.answers is None) and one_run_tells(model, batches):
        one_run = evaluate(model, batches, seed=seed, task=task, each_step=True)
        final = one_run if final is None else replace(final, answers=one_run.answers)
    if final is not None and final.by_step is not None:
        return final.by_step
    steps = max((m.steps for m in model.modules() if isinstance(m, Encoder)), default=0)
    scores = []
    for t in range(1, steps + (final is None)):
        with set_steps(model, t):
            scores.append(evaluate(model, batches, seed=seed, task=task).accuracy)
    return scores if final is None else [*scores, final.accuracy]


def one_run_tells(model: nn.Module, batches: Batches) -> bool:
    """Tell whether one run of a model shows what it answers after every step, by the first batch of a loader.

    Of no sample it says yes: whatever runs the loader then says what is wrong.

    Raises:
        DataError: the batches can be read only once, so that the first one would be lost.
    """
    need_loader(batches)
    first = next((x for x, _ in pairs(batches) if len(x)), None)
    return first is None or not reads_ahead(model, first.to(_device_of(model)))


def _device_of(model: nn.Module) -> torch.device:
    return next((t.device for t in (*model.parameters(), *model.buffers())), torch.device("cpu"))


@contextmanager
def seeded(seed: int, device: torch.device = torch.device("cpu")) -> Iterator[None]:
    """Start torch's generator of a device from a seed for a block; afterwards it is as before."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
