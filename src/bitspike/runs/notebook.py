"""Progress in a notebook: a table of the epochs that grows, and a line below it for the epoch that runs."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

from bitspike.runs.stages import STAGES
from bitspike.tables import Table
from bitspike.train.observe import BatchRecord, EpochRecord, Observer, epochs_table

_EVERY = 0.5
"""Seconds between two changes of the line, at least."""


def in_notebook() -> bool:
    """Tell whether what this process shows appears in a notebook: Jupyter and its kin, not IPython in a terminal."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Notebook(Observer):
    """Show a run in the output of a cell."""

    def __init__(self) -> None:
        self._display: Any = importlib.import_module("IPython.display").display
        self._handle: Any = None
        self._epochs: list[EpochRecord] = []
        self._below: list[str] = []
        self._line = ""
        self._shown = 0.0

    def stage(self, name: str) -> None:
        self._line = STAGES.get(name, name)
        self._show()

    def note(self, text: str) -> None:
        self._below.append(text)
        self._show()

    def batch_done(self, record: BatchRecord) -> None:
        of = "" if record.batches is None else f" of {record.batches}"
        self._line = f"epoch {record.epoch} of {record.epochs}, batch {record.batch}{of}, loss {record.loss:.3f}"
        if time.perf_counter() - self._shown > _EVERY:
            self._show()

    def epoch_done(self, record: EpochRecord) -> None:
        if record.epoch == 1:  # of another training
            self._epochs.clear()
        self._epochs.append(record)
        self._line = ""
        self._show()

    def _show(self) -> None:
        rows = epochs_table(self._epochs)
        below = [*self._below, *([self._line] if self._line else [])]
        table = Table("", rows.columns, rows.rows, below)
        if self._handle is None:
            self._handle = self._display(table, display_id=True)
        else:
            self._handle.update(table)
        self._shown = time.perf_counter()
