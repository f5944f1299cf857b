"""How good a network is: accuracy, loss and confusion over a whole set, always in single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bitspike.errors import DataError
from bitspike.nn import Encoder, set_steps
from bitspike.nn.entering import counted_inputs
from bitspike.tasks.classify import need_classes, pairs, samples_in, true_classes
from bitspike.tasks.losses import CrossEntropy, mean_loss

Loss = Callable[[Any, Any], Tensor]
Batches = Iterable[tuple[Tensor, Any]]


@dataclass(frozen=True)
class Evaluation:
    """Result over one set.

    Args:
        accuracy: share of samples whose largest output is the right class, the first one on a tie.
        loss: mean over the samples.
        samples: how many there were.
        confusion: int64 [classes, classes] counts, row = true class, column = answer.
        inputs_clipped: input values that lay beyond the grid of a converted network and were clipped to it.
    """

    accuracy: float
    loss: float
    samples: int
    confusion: Tensor
    inputs_clipped: int = 0


@torch.no_grad()
def evaluate(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    add_up: Callable[[Tensor], Tensor] | None = None,
) -> Evaluation:
    """Run a model in evaluation mode over every batch, on the device where it is, in single precision.

    Args:
        model: gives [N, classes] for [N, ...]; left in the mode (training or evaluation) in which it came.
        batches: pairs of inputs and labels: whole numbers [N], or shares of classes [N, classes], of which the largest
            counts.
        loss: as in ``fit``; None is plain cross-entropy.
        seed: of the random coders in the model; torch's own generator is as before afterwards.
        add_up: adds a tensor up over all processes, where each has its own share of the set.

    Raises:
        DataError: there is no sample, or outputs and labels are not about classes.
        ConstraintError: of a converted network, inputs that are none of its own, such as bytes for a network of images
            in [0, 1]; :mod:`bitspike.ops.entering` has the rules.

    Example:
        >>> x, y = torch.eye(2), torch.tensor([0, 0])
        >>> evaluate(nn.Identity(), [(x, y)]).accuracy
        0.5
    """
    found = measure(model, batches, loss=loss, seed=seed, add_up=add_up, classes=True)
    assert found.accuracy is not None
    assert found.confusion is not None
    return Evaluation(found.accuracy, found.loss, found.samples, found.confusion, found.inputs_clipped)


@dataclass(frozen=True)
class Measured:
    """An :class:`Evaluation` of any outputs; accuracy and confusion are None where they have no classes."""

    accuracy: float | None
    loss: float
    samples: int
    confusion: Tensor | None
    inputs_clipped: int = 0


@torch.no_grad()
def measure(
    model: nn.Module,
    batches: Batches,
    *,
    loss: Loss | None = None,
    seed: int = 0,
    add_up: Callable[[Tensor], Tensor] | None = None,
    classes: bool = False,
) -> Measured:
    """Do what :func:`evaluate` does for outputs and targets of any kind, if the loss takes them.

    Args:
        model, batches, loss, seed, add_up: as there.
        classes: refuse outputs and labels without classes.

    Raises:
        DataError: there is no sample, or there are no classes where they are needed.
    """
    loss = CrossEntropy() if loss is None else loss
    place = next((p for p in [*model.parameters(), *model.buffers()]), torch.empty(0)).device
    training = model.training
    model.eval()
    total = torch.zeros(2, dtype=torch.float64, device=place)  # of the losses, and of the samples
    counts = True
    confusion = torch.zeros(0, 0, dtype=torch.int64, device=place)
    try:
        with _own_seed(seed, place), full_precision(), counted_inputs(model) as clipped:
            for x, y in pairs(batches):
                x, y = x.to(place), tree_map(lambda t: t.to(place) if isinstance(t, Tensor) else t, y)
                out = model(x)
                if classes:
                    need_classes(out, y)
                mean, true = mean_loss(loss, out, y).double(), true_classes(out, y)
                n = samples_in(x, out, y)
                total += torch.stack([mean * n, mean.new_tensor(n)]) if n else 0.0
                counts = counts and true is not None
                if true is not None:
                    confusion = _counted(confusion, out, true)
    finally:
        model.train(training)
    count = torch.tensor(clipped.values, dtype=torch.float64, device=place)
    if add_up is not None:
        total, confusion, count = add_up(total), add_up(confusion), add_up(count)
    samples = int(total[1])
    if samples == 0:
        raise DataError("there is nothing to evaluate: the set holds no sample")
    clipped.warn()
    mean_of_all = float(total[0]) / samples
    if not counts:
        return Measured(None, mean_of_all, samples, None, int(count))
    return Measured(int(confusion.trace()) / samples, mean_of_all, samples, confusion.cpu(), int(count))


def _counted(confusion: Tensor, outputs: Tensor, true: Tensor) -> Tensor:
    """Return the confusion, which begins empty, with one batch more."""
    n = outputs.shape[1]
    found = torch.bincount(true * n + outputs.argmax(1), minlength=n**2).view(n, n)
    return found if not confusion.numel() else confusion + found


def by_step(model: nn.Module, batches: Batches, *, seed: int = 0, final: Evaluation | None = None) -> list[float]:
    """Return the accuracy when only the first t steps are run, for t = 1 to the model's T.

    Args:
        model: with one or more encoders (such as ``Repeat``) of the same number of steps.
        batches: read T times.
        seed: as in :func:`evaluate`.
        final: the result of all T steps, if it is known; it is then not measured again.

    Example:
        >>> from bitspike.nn import RateReadout, Repeat
        >>> by_step(nn.Sequential(Repeat(2), RateReadout()), [(torch.eye(2), torch.tensor([0, 1]))])
        [1.0, 1.0]
    """
    steps = max((m.steps for m in model.modules() if isinstance(m, Encoder)), default=0)
    accuracies = []
    for t in range(1, steps + (final is None)):
        with set_steps(model, t):
            accuracies.append(evaluate(model, batches, seed=seed).accuracy)
    return accuracies if final is None else [*accuracies, final.accuracy]


@contextmanager
def _own_seed(seed: int, place: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep CUDA's convolutions and products out of TF32, which would round the codes of a declared grid."""
    if not torch.cuda.is_available():
        yield
        return
    matmul, conv = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, conv
