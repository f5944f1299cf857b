"""The records that a training run makes while it goes, and the observer that receives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bitspike.tables import Shown, Table


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
        firing: of each layer of neurons its ``rate``, and the shares of ``silent`` and ``saturated`` neurons, after
            the epoch and over its first batch; None where there are no neurons.
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
    firing: Mapping[str, Mapping[str, float]] | None = None

    def row(self) -> dict[str, Any]:
        """Return plain values; those of constraints and of neurons only where there are some."""
        row, sometimes = asdict(self), ("constraint_failure", "constraint_window", "firing")
        return {name: row[name] for name in row if row[name] is not None or name not in sometimes}

    @property
    def never_fire(self) -> tuple[str, ...]:
        """The layers of which no neuron fired.

        Example:
            >>> layers = {"neuron1": {"silent": 1.0, "saturated": 0.0}, "neuron2": {"silent": 0.2, "saturated": 0.0}}
            >>> EpochRecord(
            ...     epoch=1, seconds=1.0, learning_rate=0.1, train_loss=2.3, train_accuracy=0.1, firing=layers
            ... ).never_fire
            ('neuron1',)
        """
        return tuple(name for name, layer in (self.firing or {}).items() if layer["silent"] == 1)

    @property
    def always_fire(self) -> tuple[str, ...]:
        """The layers of which every neuron sent the same spike at every step of every sample."""
        return tuple(name for name, layer in (self.firing or {}).items() if layer["saturated"] == 1)


def epochs_table(epochs: Sequence[EpochRecord], title: str = "") -> Table:
    """Return a table with a row for every epoch; columns without a value are left out.

    Example:
        >>> first = EpochRecord(epoch=1, seconds=1.5, learning_rate=0.1, train_loss=2.3, train_accuracy=0.1)
        >>> print(epochs_table([first]))
          epoch    loss  training  seconds
          1      2.3000  10.0%         1.5
    """
    columns = ("epoch", "loss", "training", "validation loss", "validation", "silent or saturated", "seconds")
    rows = [
        (
            str(e.epoch),
            f"{e.train_loss:.4f}",
            _percent(e.train_accuracy),
            "" if e.validation_loss is None else f"{e.validation_loss:.4f}",
            _percent(e.validation_accuracy),
            ", ".join((*e.never_fire, *e.always_fire)),
            f"{e.seconds:.1f}",
        )
        for e in epochs
    ]
    return Table(title, columns, rows)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"


@dataclass(frozen=True, kw_only=True, repr=False)
class History(Shown):
    """What ``fit`` did; it shows itself as a table of its epochs.

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

    def table(self) -> Table:
        """Return a row for every epoch."""
        count, best = len(self.epochs), self.kept == "best"
        kept = f"the best, epoch {self.best_epoch}, is kept" if best else "the last is kept"
        title = f"{count} epoch{'s' * (count != 1)} in {self.seconds:.1f} s on {self.device}, {self.precision}; {kept}"
        return epochs_table(self.epochs, title)

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

    def counted(self, done: int, total: int) -> None:
        """Hear how many recordings of events have become frames, and of how many."""

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

    def counted(self, done: int, total: int) -> None:
        for o in self._observers:
            o.counted(done, total)

    def batch_done(self, record: BatchRecord) -> None:
        for o in self._observers:
            o.batch_done(record)

    def epoch_done(self, record: EpochRecord) -> None:
        for o in self._observers:
            o.epoch_done(record)
