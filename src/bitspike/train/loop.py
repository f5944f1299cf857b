"""The training loop: ``fit`` is a whole run from top to bottom, ``_epoch`` one epoch of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bitspike.arguments import checked
from bitspike.devices import Device, Precision, choose_device, choose_precision
from bitspike.errors import DataError
from bitspike.ops.wrappers import unwrapped
from bitspike.tasks.batches import pairs, samples_in
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Loss, Task
from bitspike.train.average import EMA, Average
from bitspike.train.checkpoint import restore
from bitspike.train.choices import refuse_no_batches, refuse_one_sample, refuse_outside, refuse_wrong_kinds
from bitspike.train.distill import Distillation, Objective, objective
from bitspike.train.evaluate import Batches, measure
from bitspike.train.first_batch import explained, refuse_samples_as_steps
from bitspike.train.launch import Workers
from bitspike.train.observe import EpochRecord, History, Observer
from bitspike.train.optimizers import SGD, Clip
from bitspike.train.progress import Progress
from bitspike.train.schedules import Cosine, Schedule
from bitspike.train.tally import Tally
from bitspike.train.torch_optimizer import AnyOptimizer, left_alone, optimizer_of, unchanged
from bitspike.train.watch import Watch
from bitspike.weights import after_epoch, after_step, constraint_failure, learning_rate_factor, penalties


@checked
def fit(
    model: nn.Module,
    train_loader: Batches,
    *,
    epochs: int,
    seed: int = 0,
    validation: Batches | None = None,
    optimizer: AnyOptimizer = SGD(),
    lr: float | None = None,
    schedule: Schedule = Cosine(),
    loss: Loss | None = None,
    clip_gradient: Clip | None = None,
    precision: Precision = "auto",
    device: Device = "auto",
    keep: Literal["best", "last"] = "best",
    observer: Observer | None = None,
    folder: Path | str | None = None,
    resume: bool = False,
    task: Task = Classification(),
    teacher: nn.Module | None = None,
    distill: Distillation | None = None,
    average: EMA | None = None,
) -> History:
    """Train a model on (input, label) batches and leave it with the weights of its best, or its last, epoch.

    Every epoch starts torch's generator from (seed, epoch, process), so a run that goes on from a checkpoint ends at
    the very same weights as one that was never stopped. Under ``torchrun`` the gradient is the mean over all samples
    of all processes, also where their shares differ, and only the first process writes.

    ``bs.fit`` has a second meaning, that of the command line: ``bs.fit("quickstart", chip="fanin1024-v1")`` finds the
    cheapest change that makes a recipe's network fit a chip (:func:`bitspike.verbs.fit.fit_to_chip`).

    Args:
        model: any module; the penalties and hooks of weight paths attached to it are called. One that ``torch.compile``
            made trains compiled; other wrappers are passed over, since placing and spreading happen here.
        train_loader: pairs of inputs [N, ...] and int64 labels [N], or whatever ``loss`` takes, such as shares of
            classes [N, classes], read once per epoch. Its ``set_epoch(e)`` is called
            with e from 0, if it has one. Under ``torchrun`` each process brings its own share, in equally many batches.
        epochs: how often the data is read, at least 1.
        seed: of everything random in the epochs; the initial weights are the caller's.
        validation: batches that choose the best epoch, by the metric of the task (accuracy) or, where the labels are
            not about classes, by loss; without them the last is kept.
        optimizer: a value that says what is built, such as ``bs.train.AdamW(lr=1e-3)``; or an optimizer of torch that
            was made for this model. The schedule multiplies its learning rates, which it has again afterwards.
        lr: learning rate before the schedule, above 0, in the place of that of a value; None leaves it.
        schedule, clip_gradient: values that say what is built.
        loss: any callable of outputs and labels, as model and loader give them, that returns a mean; None is that of
            the task, cross-entropy; one that says ``over_time = True``, as :class:`bitspike.train.SpikeTrains` does, is
            given what the network's read-out reads at every step, [T, N, ...], for the outputs. Accuracy is counted
            where outputs are [N, classes] and labels are classes or shares of them, and is None otherwise.
        precision: ``bf16`` computes convolutions and products in bfloat16 (masters, norms, membranes stay single),
            with channels last in memory; ``auto`` takes it where the machine gains from it. Evaluation is always in
            single precision.
        device: where to train; the model returns to where it was.
        keep: which weights the model is left with.
        observer: hears of every batch and epoch. Of a layer that never fires, or always, it hears in a note; without
            an observer a warning says so. Without one ``bs.fit`` shows progress in a terminal and in a notebook;
            ``bs.train.Observer()`` keeps it still.
        folder: receives ``metrics.jsonl`` and ``checkpoints/``; None writes nothing.
        resume: go on from ``folder/checkpoints`` if there is a checkpoint.
        task: says which answers are right; a network of another task than classification has its own.
        teacher: a trained network whose answers to the same batches are learned too. It stays as it is, computes in
            evaluation mode and in the precision of the model, and costs one forward pass a batch: about a third more
            time where it is as large as the model.
        distill: how much of the loss is the teacher's; None is ``Distillation()`` where there is one. ``train_loss`` is
            of both parts together, ``validation_loss`` of the labels alone.
        average: measure and keep the moving average of weights and running statistics, instead of the weights; it costs
            memory for one more copy of the network.

    Raises:
        ConstraintError: a value outside what is allowed.
        DataError: the loader gives no batch, something else than pairs, or a label that is no class of the model.
        RunError: the loss is not finite, the checkpoint belongs to another run, or the processes disagree.

    Example:
        >>> import torch
        >>> x, y = torch.eye(2), torch.tensor([0, 1])
        >>> history = fit(nn.Linear(2, 2), [(x, y)], epochs=20, optimizer=SGD(lr=1.0), device="cpu")
        >>> history.epochs[-1].train_accuracy
        1.0
    """
    refuse_wrong_kinds(model, schedule, loss, clip_gradient, observer)
    refuse_outside(epochs, keep, resume, folder)
    refuse_no_batches(train_loader, "train_loader")
    refuse_no_batches(validation, "validation")
    whole, model = model, unwrapped(model)
    loss = task.loss if loss is None else loss
    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    used = choose_device(device)
    workers = Workers(choose_precision(precision, used), used)
    built = optimizer_of(model, optimizer, lr)
    rates = [float(group["lr"]) for group in built.param_groups]
    wrapped, stepper = workers.setup(whole if hasattr(whole, "_orig_mod") else model, built)
    mean = None if average is None else Average(model, average)
    progress = Progress(folder=None if folder is None else Path(folder), writes=workers.first, seed=seed, epochs=epochs)
    hears = observer if observer is not None and workers.first else Observer()
    watch = Watch(observer) if workers.first else None
    if text := left_alone(model, built):
        hears.note(text)
    if resume:
        progress.go_on(model, stepper, mean)
        if not progress.done:
            hears.note(f"{folder} holds no checkpoint yet: the training starts from its first epoch")
        shared = "the run folder must lie where every process can read it"
        workers.need_equal(progress.done, "found different numbers of finished epochs", fix=shared)
        if watch is not None and progress.records:
            watch.go_on(progress.records[-1])
    batches = workers.agreed_length(train_loader)
    if average is not None and batches is not None and (text := average.doubt(epochs * batches)):
        hears.note(text)

    with (
        torch.random.fork_rng(devices=[workers.device] if used == "cuda" else []),
        workers.quiet(),
        objective(loss, model, teacher, distill, workers) as minimized,
        unchanged(built) if built is optimizer else nullcontext(),
    ):
        for epoch in range(progress.done, epochs):
            start = time.perf_counter()
            torch.manual_seed(epoch_seed(seed, epoch, workers.rank))
            tally = Tally(epoch=epoch + 1, epochs=epochs, batches=batches, observer=hears, task=task)
            set_rate = _Rate(stepper, _scaled(rates, learning_rate_factor(model)), schedule, epoch, epochs, batches)
            own = _epoch(
                wrapped, model, train_loader, epoch, stepper, set_rate, minimized, clip_gradient, workers, tally, mean
            )
            # All processes decide alike: by the mean of their sums, whose losses carry their shares already.
            after_epoch(model, objective=float(workers.add_up(own)) / workers.count)
            workers.average_buffers(model)
            measured = model
            if mean is not None:
                measured = mean.network
                mean.copy_buffers()
                workers.average_buffers(measured)
            train_loss, train_right = tally.over(workers.add_up)
            result = None
            if validation is not None:
                result = measure(measured, validation, task, loss=loss, seed=seed, add_up=workers.add_up, strict=False)
            failure = constraint_failure(measured)
            record = EpochRecord(
                epoch=epoch + 1,
                seconds=time.perf_counter() - start,
                learning_rate=set_rate.rate,
                train_loss=train_loss,
                train_accuracy=train_right,
                validation_loss=None if result is None else result.loss,
                validation_accuracy=None if result is None else result.score,
                constraint_failure=None if failure is None else failure.score,
                constraint_window=None if failure is None else failure.window,
                firing=None if watch is None else watch.measure(measured, tally.first),
            )
            progress.end_epoch(record, model, stepper, mean)
            hears.epoch_done(record)
            if watch is not None:
                watch.tell(record, measured, tally.first)

    best = keep == "best" and progress.best_state is not None
    if best:
        assert progress.best_state is not None
        restore(model, progress.best_state, source="the best epoch")
    elif mean is not None:
        restore(model, mean.state(), source="the average")
    stepper.zero_grad(set_to_none=True)
    workers.give_back()
    model.to(home)
    return History(
        epochs=tuple(progress.records),
        best_epoch=progress.best_epoch,
        kept="best" if best else "last",
        precision=workers.precision,
        device=used,
        workers=workers.count,
    )


def _epoch(
    wrapped: nn.Module,
    model: nn.Module,
    batches: Batches,
    epoch: int,
    stepper: Any,
    set_rate: _Rate,
    minimized: Objective,
    clip: Clip | None,
    workers: Workers,
    tally: Tally,
    average: Average | None,
) -> Tensor:
    """Read the data once and make one step per batch; return the sum of what was minimized, float64 []."""
    if hasattr(batches, "set_epoch"):
        batches.set_epoch(epoch)
    wrapped.train()
    total = torch.zeros((), dtype=torch.float64, device=workers.device)
    for batch, (x, y) in enumerate(pairs(batches)):
        set_rate(batch)
        if tally.first is None:
            refuse_one_sample(batches, (x, y), "train_loader")
        x, y = workers.send(x), tree_map(lambda t: workers.send(t) if isinstance(t, Tensor) else t, y)
        if tally.first is None:
            tally.first = x
            if epoch == 0:
                refuse_samples_as_steps(model, x, y)
        with explained(x):
            outputs = wrapped(x)
        mean, n = minimized(x, outputs, y), samples_in(x, outputs, y)
        stepper.zero_grad()
        objective = mean * workers.share(n) + penalties(model)
        workers.backward(objective)
        if clip is not None:
            clip.apply(model.parameters())
        stepper.step()
        after_step(model)
        if average is not None:
            average.update()
        total += objective.detach()
        tally.add(mean.detach(), outputs, y, n)
    tally.read()
    if tally.batch == 0:
        raise DataError(
            f"the training loader gave no batch in epoch {epoch + 1}",
            fix="pass the loader itself, which can be read once in each epoch, not iter(loader)",
        )
    return total


def _scaled(rates: Sequence[float], factor: float) -> list[float]:
    return [rate * factor for rate in rates]


class _Rate:
    """Sets the learning rates of every iteration, one a group of parameters; without a known length, of every epoch."""

    def __init__(
        self, stepper: Any, rates: Sequence[float], schedule: Schedule, epoch: int, epochs: int, batches: int | None
    ) -> None:
        self.stepper, self.rates, self.schedule = stepper, rates, schedule
        self.epoch, self.epochs, self.batches = epoch, epochs, batches
        self.rate = rates[0]

    def __call__(self, batch: int) -> None:
        within = min(1.0, (batch + 0.5) / self.batches) if self.batches else 0.5
        factor = self.schedule.factor(self.epoch + within, self.epochs)
        for group, rate in zip(self.stepper.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.rate = self.rates[0] * factor


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Return the seed of torch's generator in one epoch (from 0) of one process: a hash, so that no two overlap.

    Example:
        >>> epoch_seed(0, 1) == epoch_seed(1, 0)
        False
    """
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1, np.uint64)[0]) >> 1
