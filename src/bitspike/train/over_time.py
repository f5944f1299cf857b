"""Losses of what a network reads out at every step, where a loss says ``over_time = True``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from bitspike.errors import ConstraintError
from bitspike.nn import RateReadout, SumReadout
from bitspike.tasks.losses import mean_loss
from bitspike.tasks.task import Loss


@contextmanager
def of_outputs(loss: Loss, model: nn.Module) -> Iterator[Loss]:
    """Yield a loss as one of outputs and labels; an ``over_time`` one is given what the read-out reads, [T, N, ...].

    The model must have run just before, on the same samples.

    Raises:
        ConstraintError: the loss is over time, and the model has not exactly one read-out.

    Example:
        >>> import torch
        >>> from bitspike.tasks.spike_trains import SpikeTrains
        >>> model, x = nn.Sequential(SumReadout()), torch.zeros(5, 1, 2)
        >>> with of_outputs(SpikeTrains(synapse_decay=0.5, passes=1), model) as loss:
        ...     round(loss(model(x), torch.tensor([0])).item(), 4)
        1.2285
    """
    if not getattr(loss, "over_time", False):
        yield partial(mean_loss, loss)
        return
    readouts = [module for module in model.modules() if isinstance(module, RateReadout | SumReadout)]
    if len(readouts) != 1:
        raise ConstraintError(
            f"{type(loss).__name__} is about what a read-out reads at every step; {type(model).__name__} has "
            f"{len(readouts)} read-outs",
            fix="end the network with one bs.SumReadout(), or loss=None for cross-entropy of the outputs",
        )
    read: list[Any] = []

    def reading(_module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        read[:] = (*inputs, *named.values())[:1]

    def last(_outputs: Any, labels: Any) -> Tensor:
        return mean_loss(loss, read.pop(), labels)

    handle = readouts[0].register_forward_pre_hook(reading, with_kwargs=True)
    try:
        yield last
    finally:
        handle.remove()
