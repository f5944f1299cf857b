"""What each process of ``test_ddp.py`` runs: five small trainings on its share of random images."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.data import Batches, ImageSet, PixelGrid
from bitspike.train import EMA, SGD, Constant, EpochRecord, Observer, fit
from bitspike.train.launch import leave, rank, world_size
from bitspike.weights import Constrained, attach

COUNT, BATCH = 39, 8


class Watched:
    """Batches that remember which images went by."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches
        self.seen: list[list[int]] = []

    def __len__(self) -> int:
        return len(self.batches)

    def set_epoch(self, epoch: int) -> None:
        self.batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self.batches:
            self.seen.extend((x.flatten(1) * 256).long().tolist())
            yield x, y


class Ears(Observer):
    def __init__(self) -> None:
        self.heard: list[EpochRecord] = []

    def epoch_done(self, record: EpochRecord) -> None:
        self.heard.append(record)


def train(folder: Path, *norm: nn.Module, taught: bool = False, constrained: bool = False) -> dict[str, Any]:
    """Train one epoch, or three under constraints, with this process's share of the images and tell all about it."""
    g = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 4, 4, 1), generator=g, dtype=torch.uint8)
    images = ImageSet(pixels, torch.randint(0, 2, (COUNT,), generator=g), ("a", "b"), "noise")
    share: dict[str, Any] = {"pixel_grid": PixelGrid(1 / 256), "rank": rank(), "world_size": world_size()}
    watched, ears = Watched(Batches(images, BATCH // world_size(), shuffle=True, wrap=False, **share)), Ears()
    torch.manual_seed(rank())  # the weights of the first process must win
    model = nn.Sequential(nn.Conv2d(1, 4, 3), *norm, nn.Flatten(), nn.Linear(16, 2))
    if constrained:  # the scale too is that of the first process, and each decision a common one
        attach(model, quantize=Constrained((-1, 0, 1), multiplier_lr=0.1, patience=2), include="0")
    torch.manual_seed(2)
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)) if taught else None
    history = fit(
        model,
        watched,
        epochs=3 if constrained else 1,
        optimizer=SGD(lr=0.5),
        schedule=Constant(),
        validation=Batches(images, 7, **share),
        folder=folder,
        observer=ears,
        device="cpu",
        precision="fp32",
        teacher=teacher,
        average=EMA(decay=0.5) if taught else None,
    )
    record = history.epochs[0]
    return {
        "state": [_numbers(name, value) for name, value in model.state_dict().items()],
        "seen": watched.seen,
        "steps": len(watched),
        "loss": record.train_loss,
        "held": [record.validation_accuracy, record.validation_loss],
        "heard": len(ears.heard),
        "workers": history.workers,
    }


def _numbers(name: str, value: Tensor) -> list[float]:
    """Return the numbers of a state; the last objective is kept in the bits of an integer."""
    if not name.endswith("quantize.schedule"):
        return value.flatten().tolist()  # type: ignore[no-any-return]
    return [*value[:3].tolist(), value[3:].view(torch.float64).item()]


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    told = {
        "plain": train(out / f"plain{rank()}"),
        "constrained": train(out / f"constrained{rank()}", constrained=True),
        "norm": train(out / f"norm{rank()}", nn.BatchNorm2d(4)),
        "taught": train(out / f"taught{rank()}", taught=True),
        "taught norm": train(out / f"taught-norm{rank()}", nn.BatchNorm2d(4), taught=True),
    }
    (out / f"told{rank()}.json").write_text(json.dumps(told))
    leave()
