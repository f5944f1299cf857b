"""The records that a training run makes while it goes, and the observer that receives them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """One finished epoch; a line of ``metrics.jsonl``.

    Args:
        epoch: from 1.
        seconds: training and validation of this epoch.
        learning_rate: of the last iteration.
        train_loss, train_accuracy: mean over the epoch's samples, while the weights moved.
        validation_loss, validation_accuracy: after the epoch; None without a validation set. Accuracies are the metric
            of the task: fractions, and None where the task cannot judge outputs and labels.
        constraint_failure, constraint_window: score and window of weights that are trained under constraints, as
            :func:`bitspike.weights.constraint_failure` measures them after the epoch; None where there are none.
    """

    epoch: int
    seconds: float
    learning_rate: float
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    constraint_failure: float | None = None
    constraint_window: int | None = None

    def row(self) -> dict[str, Any]:
        """Return plain values; those of constraints only where weights are trained under some."""
        row = asdict(self)
        return {name: row[name] for name in row if row[name] is not None or not name.startswith("constraint_")}


@dataclass(frozen=True, kw_only=True)
class History:
    """What ``fit`` did.

    Args:
        epochs: one record per epoch, those before a resume included.
        best_epoch: the epoch (from 1) of the highest validation accuracy or, where there is none, of the smallest
            validation loss, the later one on a tie; None without validation.
        kept: which weights the model holds now.
        precision: ``fp32`` or ``bf16``.
        device: where it was trained.
        workers: number of processes.
    """

    epochs: tuple[EpochRecord, ...]
    best_epoch: int | None
    kept: Literal["best", "last"]
    precision: str
    device: str
    workers: int

    @property
    def seconds(self) -> float:
        """Training time over all sittings."""
        return sum(e.seconds for e in self.epochs)

    def then(self, later: History) -> History:
        """Return the history of two trainings of one network, whose epochs are counted on."""
        done = len(self.epochs)
        epochs = tuple(replace(e, epoch=e.epoch + done) for e in later.epochs)
        best = None if later.best_epoch is None else later.best_epoch + done
        return replace(later, epochs=(*self.epochs, *epochs), best_epoch=best)

    def rows(self) -> list[dict[str, Any]]:
        """Return the records as plain dictionaries, in order."""
        return [e.row() for e in self.epochs]


@dataclass(frozen=True, kw_only=True)
class BatchRecord:
    """Where an epoch stands after a batch: means over this process's samples so far.

    Args:
        epoch, batch: from 1.
        epochs, batches: how many there are; None if not known.
        samples: seen so far in this epoch.
        loss, accuracy: means over them; accuracy is None where the task cannot judge outputs and labels.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int | None
    samples: int
    loss: float
    accuracy: float | None


class Observer:
    """Hears what happens; every method does nothing until it is overridden. Only the first process calls it."""

    def stage(self, name: str) -> None:
        """Hear that a stage of a journey begins."""

    def note(self, text: str) -> None:
        """Hear a sentence that the user should read."""

    def batch_done(self, record: BatchRecord) -> None:
        """Hear that a training batch is done."""

    def epoch_done(self, record: EpochRecord) -> None:
        """Hear that an epoch is done and saved."""


class Observers(Observer):
    """Pass everything on to several observers, in order."""

    def __init__(self, *observers: Observer | None) -> None:
        self._observers = [o for o in observers if o is not None]

    def stage(self, name: str) -> None:
        for o in self._observers:
            o.stage(name)

    def note(self, text: str) -> None:
        for o in self._observers:
            o.note(text)

    def batch_done(self, record: BatchRecord) -> None:
        for o in self._observers:
            o.batch_done(record)

    def epoch_done(self, record: EpochRecord) -> None:
        for o in self._observers:
            o.epoch_done(record)
