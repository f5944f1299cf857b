"""The sections of epochs: how many, and how the weights are changed in them."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt

from bitspike.recipe.words.value import Clip, CrossEntropy, Loss, Optimizer, Schedule, Value


class Training(Value):
    """What ``bs.fit`` is told. The batch is that of all processes together."""

    epochs: PositiveInt
    batch_size: PositiveInt
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss = CrossEntropy(kind="cross_entropy")
    clip_gradient: Clip | None = None
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    keep: Literal["best", "last"] = "best"
    tensorboard: bool = False
