"""The two fits: a model to its data, as a training loop does, and a recipe's network to a chip, as the verb does."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, Literal, overload

from torch import nn

from bitspike.hardware.chips.chip import Chip
from bitspike.hardware.chips.plan_repairs import ANYWHERE, Way
from bitspike.recipe import AnyRecipe
from bitspike.runs.fitting import Fitting, fit_to_chip
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Loss, Task
from bitspike.train.evaluate import Batches
from bitspike.train.launch import Device, Precision
from bitspike.train.loop import fit as to_data
from bitspike.train.observe import History, Observer
from bitspike.train.optimizers import SGD, Clip, Optimizer
from bitspike.train.schedules import Cosine, Schedule


@overload
def fit(
    model: nn.Module,
    train_loader: Batches,
    *,
    epochs: int,
    seed: int = 0,
    validation: Batches | None = None,
    optimizer: Optimizer = SGD(),
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
) -> History: ...


@overload
def fit(
    recipe: str | Path | AnyRecipe,
    chip: str | Path | Chip,
    *,
    ways: Collection[Way] = ANYWHERE,
    neuron_price: float = 0.25,
    out: str | Path | None = None,
    set: Iterable[str] = (),
) -> Fitting: ...


@wraps(to_data, assigned=("__doc__",))
def fit(*args: Any, **options: Any) -> Any:  # noqa: D103 (it has the text of training, which tells of both)
    trains = isinstance(args[0] if args else options.get("model"), nn.Module)
    return (to_data if trains or "epochs" in options else fit_to_chip)(*args, **options)
