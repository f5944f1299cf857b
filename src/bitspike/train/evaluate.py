"""How good a network is: accuracy, loss and confusion over a whole set, always in single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitspike.errors import DataError
from bitspike.nn import Encoder, set_steps
from bitspike.nn.entering import counted_inputs
from bitspike.train.losses import CrossEntropy

Loss = Callable[[Tensor, Tensor], Tensor]
Batches = Iterable[tuple[Tensor, Tensor]]


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
        batches: pairs of inputs and int64 labels.
        loss: as in ``fit``; None is plain cross-entropy.
        seed: of the random coders in the model; torch's own generator is as before afterwards.
        add_up: adds a tensor up over all processes, where each has its own share of the set.

    Raises:
        DataError: there is no sample. ConstraintError: of a converted network, inputs that are none of its own, such as
            bytes for a network of images in [0, 1]; :mod:`bitspike.ops.entering` has the rules.

    Example:
        >>> x, y = torch.eye(2), torch.tensor([0, 0])
        >>> evaluate(nn.Identity(), [(x, y)]).accuracy
        0.5
    """
    loss = CrossEntropy() if loss is None else loss
    place = next((p for p in [*model.parameters(), *model.buffers()]), torch.empty(0)).device
    training = model.training
    model.eval()
    total = torch.zeros((), dtype=torch.float64, device=place)
    confusion = torch.zeros(0, 0, dtype=torch.int64, device=place)
    try:
        with _own_seed(seed, place), full_precision(), counted_inputs(model) as clipped:
            for x, y in batches:
                x, y = x.to(place), y.to(place)
                out = model(x)
                need_classes(out, y)
                if not confusion.numel():
                    confusion = torch.zeros(out.shape[1], out.shape[1], dtype=torch.int64, device=place)
                total += loss(out, y).double() * len(y)
                classes = len(confusion)
                confusion += torch.bincount(y * classes + out.argmax(1), minlength=classes**2).view(classes, classes)
    finally:
        model.train(training)
    count = torch.tensor(clipped.values, dtype=torch.float64, device=place)
    if add_up is not None:
        total, confusion, count = add_up(total), add_up(confusion), add_up(count)
    samples = int(confusion.sum())
    if samples == 0:
        raise DataError("there is nothing to evaluate: the set holds no sample")
    clipped.warn()
    return Evaluation(int(confusion.trace()) / samples, float(total) / samples, samples, confusion.cpu(), int(count))


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


def need_classes(outputs: Tensor, labels: Tensor) -> None:
    """Refuse outputs that are not [N, classes] for N labels, and labels that are no class.

    Raises:
        DataError: names both sides.
    """
    if outputs.dim() != 2 or len(outputs) != len(labels):
        raise DataError(
            f"the model gave {list(outputs.shape)} for {len(labels)} labels; needed is [N, classes]",
            fix="end the model with a read-out: bs.RateReadout() averages [T, N, classes] over time",
        )
    # On an accelerator this would wait for every batch; there the loss itself refuses such labels.
    if labels.device.type == "cpu" and len(labels):
        low, high = (int(v) for v in labels.aminmax())
        if low < 0 or high >= outputs.shape[1]:
            raise DataError(
                f"labels run from {low} to {high}, the model has {outputs.shape[1]} classes",
                fix=f"build the model with num_classes={high + 1}, and number the labels from 0",
            )


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
