"""Progress on the terminal: one bar where there is a terminal, a line per epoch where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from bitspike.errors import some
from bitspike.runs.notebook import Notebook, in_notebook
from bitspike.runs.stages import STAGES
from bitspike.train.launch import rank
from bitspike.train.observe import BatchRecord, EpochRecord, Observer

_WIDE = 100
"""Columns from which the speed has room next to the time that is left."""


@contextmanager
def shown(stream: TextIO, *, quiet: bool = False, keep_epochs: bool = False) -> Iterator[Observer]:
    """Yield what shows a run's progress on a stream, ``quiet`` none of it; a bar is cleared away at the end.

    ``keep_epochs`` leaves a line for every epoch.
    """
    if quiet:
        yield Observer()
        return
    console = Console(file=stream, highlight=False, markup=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Bar(bar, Lines(bar.console) if keep_epochs else None)


@contextmanager
def watched(observer: Observer | None) -> Iterator[Observer | None]:
    """Yield an observer; in its place, where there is none, what shows a training to the person who watches.

    That is a table in a notebook, and on a terminal a bar with a line for every epoch. Elsewhere, and of the processes
    of ``torchrun`` but the first, nobody watches.
    """
    if observer is None and rank() == 0 and in_notebook():
        yield Notebook()
    elif observer is None and rank() == 0 and sys.stderr.isatty():
        with shown(sys.stderr, keep_epochs=True) as bar:
            bar.stage("train")
            yield bar
    else:
        yield observer


class Lines(Observer):
    """One line per stage and epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def stage(self, name: str) -> None:
        self._say(STAGES.get(name, name))

    def note(self, text: str) -> None:
        self._say(text)

    def counted(self, done: int, total: int) -> None:
        # Ten lines at most, whatever the number of recordings.
        if done * 10 // total > (done - 1) * 10 // total:
            self._say(_counted(done, total))

    def epoch_done(self, record: EpochRecord) -> None:
        training = _said("training", record.train_accuracy, 2)
        validation = _said("validation", record.validation_accuracy, 2)
        failure, window = record.constraint_failure, record.constraint_window
        levels = "" if failure is None else f"  off levels by {failure / 2:.2g} at window {window}"
        said = f"{training}{validation}{levels}{_idle(record)}"
        self._say(f"epoch {record.epoch}  loss {record.train_loss:.4f}{said}  {record.seconds:.1f} s")

    def _say(self, text: str) -> None:
        # The console would wrap a line at the width that it guesses for a file.
        self._console.print(text, soft_wrap=True)


class Bar(Observer):
    """One bar over all epochs, with loss, accuracy, images per second and the time that is left.

    Args:
        bar: where it is drawn.
        lines: says every epoch that is done, above the bar; None says none.
    """

    def __init__(self, bar: Progress, lines: Lines | None = None) -> None:
        self._bar, self._lines = bar, lines
        self._task: TaskID | None = None
        self._epoch = 0
        self._started = time.perf_counter()
        self._validation = ""
        self._idle = ""

    def stage(self, name: str) -> None:
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(STAGES.get(name, name), total=None, numbers="")

    def note(self, text: str) -> None:
        self._bar.console.print(text, soft_wrap=True)

    def counted(self, done: int, total: int) -> None:
        if self._task is not None:
            self._bar.update(self._task, total=total, completed=done, numbers=_counted(done, total))

    def batch_done(self, record: BatchRecord) -> None:
        assert self._task is not None
        if record.epoch != self._epoch:
            self._epoch, self._started = record.epoch, time.perf_counter()
        batches = record.batches or record.batch
        speed = f"  {record.samples / max(time.perf_counter() - self._started, 1e-9):,.0f} images/s"
        self._bar.update(
            self._task,
            description=f"epoch {record.epoch}/{record.epochs}",
            total=record.epochs * batches,
            completed=(record.epoch - 1) * batches + record.batch,
            numbers=f"loss {record.loss:.3f}{_said('accuracy', record.accuracy, 1)}{self._validation}{self._idle}"
            + speed * (self._bar.console.width >= _WIDE),
        )

    def epoch_done(self, record: EpochRecord) -> None:
        if record.validation_accuracy is not None:
            self._validation = _said("validation", record.validation_accuracy, 1)
        self._idle = _idle(record)
        if self._lines is not None:
            self._lines.epoch_done(record)


def _idle(record: EpochRecord) -> str:
    """Return the layers that never fire, or always; nothing where there are none."""
    states = {"NEVER FIRES": record.never_fire, "ALWAYS FIRES": record.always_fire}
    return "".join(f"  {state}: {some(layers, 3)}" for state, layers in states.items() if layers)


def _counted(done: int, total: int) -> str:
    return f"{done:,} of {total:,} recordings are frames"


def _said(name: str, share: float | None, digits: int) -> str:
    """Return a share with its name; nothing where there is none."""
    return "" if share is None else f"  {name} {share:.{digits}%}"
