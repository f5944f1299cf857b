"""A run that was stopped and goes on ends at the very same weights as one that was never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bitspike import weights
from bitspike.data import Batches, Flip, PixelGrid, Shift, load
from bitspike.models import digits_net
from bitspike.train import SGD, AdamW, BatchRecord, Cosine, History, Observer, fit

DIGITS, HELD = load("digits").split(0.9, seed=0)


class StopIn(Observer):
    """Stops a run in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def batch_done(self, record: BatchRecord) -> None:
        if record.epoch == self.epoch and record.batch >= 2:  # an accelerator tells of every 16th batch
            raise KeyboardInterrupt


def train(
    folder: Path, optimizer: SGD | AdamW, *, stop: int = 0, resume: bool = False
) -> tuple[dict[str, Tensor], History]:
    torch.manual_seed(7 if resume else 0)  # what a resumed process draws at first is overwritten
    net = weights.attach(digits_net(steps=2, width=0.25), quantize=weights.Uniform(bits=2))
    model = nn.Sequential(nn.Dropout(0.1), net)
    batches = Batches(DIGITS, 32, pixel_grid=PixelGrid(1 / 16), augment=[Shift(1), Flip()], shuffle=True, seed=5)
    history = fit(
        model,
        batches,
        epochs=4,
        seed=5,
        validation=Batches(HELD.subset(range(50)), 25, pixel_grid=PixelGrid(1 / 16)),
        optimizer=optimizer,
        schedule=Cosine(warmup_epochs=1),
        observer=StopIn(stop),
        folder=folder,
        resume=resume,
    )
    return model.state_dict(), history


@pytest.mark.parametrize("optimizer", [SGD(lr=0.1, weight_decay=1e-3, nesterov=True), AdamW(lr=0.01)])
def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path: Path, optimizer: SGD | AdamW) -> None:
    whole, told = train(tmp_path / "whole", optimizer)
    for stop in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", optimizer, stop=stop, resume=stop > 3)
    parts, told_in_parts = train(tmp_path / "parts", optimizer, resume=True)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert told.best_epoch == told_in_parts.best_epoch
    assert [(e.train_loss, e.validation_accuracy) for e in told.epochs] == [
        (e.train_loss, e.validation_accuracy) for e in told_in_parts.epochs
    ]
