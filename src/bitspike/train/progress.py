"""How far a run has come: its records and best weights, in memory and on disk; a killed run goes on from here."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike import __version__
from bitspike.errors import RunError
from bitspike.files import write_whole
from bitspike.train.average import Average
from bitspike.train.checkpoint import (
    AVERAGE,
    MODEL,
    OPTIMIZER,
    STATE,
    Snapshot,
    load_best,
    load_last,
    restore,
    save_best,
    save_last,
    state_of,
)
from bitspike.train.checkpoint_checks import averaging_of, need_same_optimizer, need_same_tensors, records_of
from bitspike.train.observe import EpochRecord


@dataclass
class Progress:
    """The state of a run between two epochs.

    Args:
        folder: where ``metrics.jsonl`` and ``checkpoints/`` stand; None writes nothing.
        writes: whether this process is the one that writes.
        seed, epochs: must be the same when the run goes on.
    """

    folder: Path | None
    writes: bool
    seed: int
    epochs: int
    records: list[EpochRecord] = field(default_factory=list)
    best_epoch: int | None = None
    best_state: dict[str, Tensor] | None = None
    best_digest: str | None = None

    @property
    def done(self) -> int:
        """Number of epochs that are finished."""
        return len(self.records)

    def go_on(self, model: nn.Module, stepper: Any, average: Average | None = None) -> None:
        """Restore all that is given, and the records, from the newest checkpoint, if there is one of this run."""
        assert self.folder is not None
        checkpoints = self.folder / "checkpoints"
        snapshot = load_last(checkpoints)
        if snapshot is None:
            return
        state, last = snapshot.state, checkpoints / "last"
        records = records_of(state, str(last / STATE))
        decay = None if average is None else average.ema.decay
        stated = {**state, "average": averaging_of(state, str(last / STATE))}
        for name, mine in (("seed", self.seed), ("epochs", self.epochs), ("average", decay)):
            if stated[name] != mine:
                raise RunError(
                    f"{checkpoints} was made with {name} {stated[name]}, this run has {name} {mine}",
                    fix=f"go on with {name} {stated[name]}, or start in another folder",
                )
        restore(model, snapshot.model, source=str(last))
        need_same_tensors(model.state_dict(), snapshot.model, str(last / MODEL))
        if average is not None:
            assert snapshot.average is not None
            average.go_on(snapshot.average, state["average"]["updates"], str(last / AVERAGE))
            need_same_tensors(model.state_dict(), snapshot.average, str(last / AVERAGE))
        best = state["best_epoch"]
        if best is not None:
            noted = state.get("best_digest")
            self.best_state, self.best_digest = load_best(checkpoints, digest=noted, done=state["epoch"])
            need_same_tensors(model.state_dict(), self.best_state, str(checkpoints / "best" / MODEL))
        need_same_optimizer(stepper, snapshot.optimizer, str(last / OPTIMIZER))
        stepper.load_state_dict(snapshot.optimizer)
        self.records, self.best_epoch = records, best

    def end_epoch(self, record: EpochRecord, model: nn.Module, stepper: Any, average: Average | None = None) -> None:
        """Take in an epoch's record, keep its weights if none were better, and write the checkpoint.

        The weights that are kept are those that were measured: the averaged ones where there are some.
        """
        self.records.append(record)
        best = _as_good(record, self.records)
        state = state_of(model)
        averaged = None if average is None else average.state()
        measured = state if averaged is None else averaged
        if best:
            self.best_epoch, self.best_state = record.epoch, measured
        if self.folder is None or not self.writes:
            return
        checkpoints = self.folder / "checkpoints"
        # The best goes first: killed between the two, the run repeats this epoch and writes the same best again.
        if best:
            self.best_digest = save_best(checkpoints, measured, epoch=record.epoch)
        rows = [r.row() for r in self.records]
        about: dict[str, Any] = {
            "schema": 1,
            "epoch": self.done,
            "epochs": self.epochs,
            "seed": self.seed,
            "best_epoch": self.best_epoch,
            "best_digest": self.best_digest,
            "history": rows,
            "versions": {"bitspike": __version__, "torch": str(torch.__version__)},
        }
        if average is not None:
            about["average"] = average.about
        save_last(checkpoints, Snapshot(state, stepper.state_dict(), about, averaged))
        write_whole(self.folder / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _as_good(record: EpochRecord, records: list[EpochRecord]) -> bool:
    """Tell whether no epoch was better on the validation set: by accuracy, or by loss where there is none."""
    if record.validation_accuracy is not None:
        return record.validation_accuracy >= max(r.validation_accuracy or 0.0 for r in records)
    losses = [r.validation_loss for r in records if r.validation_loss is not None]
    return record.validation_loss is not None and record.validation_loss <= min(losses)
