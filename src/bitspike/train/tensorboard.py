"""Training curves for TensorBoard, an optional part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError
from bitspike.train.observe import EpochRecord, Observer


class TensorBoard(Observer):
    """Writes every epoch's numbers as TensorBoard scalars.

    Args:
        folder: receives the event files.

    Raises:
        ConstraintError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ConstraintError(
                "tensorboard is asked for and not installed", fix="pip install 'bitspike[tb]', or tensorboard: false"
            ) from error
        self._writer: Any = SummaryWriter(str(folder))

    def epoch_done(self, record: EpochRecord) -> None:
        for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
            if (value := getattr(record, name)) is not None:
                self._writer.add_scalar(name.replace("_", "/"), value, record.epoch)
        for layer, fires in (record.firing or {}).items():
            self._writer.add_scalar(f"firing_rate/{layer}", fires["rate"], record.epoch)
        self._writer.add_scalar("learning_rate", record.learning_rate, record.epoch)
        self._writer.flush()
