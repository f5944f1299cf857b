"""Training curves for TensorBoard, with a stand-in for the optional package."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from bitspike.errors import ConstraintError
from bitspike.train import EpochRecord
from bitspike.train.tensorboard import TensorBoard


def test_every_number_of_an_epoch_becomes_a_scalar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def __init__(self, folder: str) -> None:
            assert folder == str(tmp_path)

        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None:
            pass

    package = types.ModuleType("torch.utils.tensorboard")
    package.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", package)
    TensorBoard(tmp_path).epoch_done(
        EpochRecord(epoch=3, seconds=1.0, learning_rate=0.1, train_loss=0.5, train_accuracy=0.75)
    )
    assert written == [("train/loss", 0.5, 3), ("train/accuracy", 0.75, 3), ("learning_rate", 0.1, 3)]


def test_its_absence_is_one_helpful_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ConstraintError, match=r"not installed[\s\S]*bitspike\[tb\]"):
        TensorBoard(tmp_path)
