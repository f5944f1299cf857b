"""Measure where a converted network differs from the float one, layer by layer and cause by cause."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.analysis.ledger.ledger import Ledger
from bitspike.analysis.ledger.study import Study
from bitspike.arguments import checked
from bitspike.conversion.calibrate.feed import feed
from bitspike.conversion.result import Conversion
from bitspike.errors import ConstraintError, DataError
from bitspike.integer.network import IntegerNetwork
from bitspike.tasks.batches import inputs_in
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task
from bitspike.train.evaluate import seeded

Batches = Iterable[Any] | Tensor


@torch.no_grad()
@checked
def analyze(
    network: nn.Module,
    batches: Batches,
    *,
    out: str | Path | None = None,
    samples: int = 256,
    limits: IntegerNetwork | None = None,
    batch: int = 16,
    seed: int = 0,
    task: Task = Classification(),
    name: str = "",
) -> Ledger:
    """Split the gap between a converted network and its float original into its causes, for every layer.

    :func:`bitspike.verbs.analyze.analyze` documents arguments, result and errors, and has an example; ``name`` is what
    the ledger calls the network, by default its class.
    """
    study = Study(network, limits, task)
    for n, (inputs, labels) in enumerate(_samples(study.conversion, batches, samples, batch)):
        with seeded(seed + n):
            study.add(inputs, labels)
    ledger = study.ledger()
    ledger = replace(ledger, model=name or ledger.model)
    if out is not None:
        ledger.write(out)
    return ledger


def _samples(
    conversion: Conversion, batches: Batches, samples: int, most: int
) -> Iterator[tuple[tuple[Tensor, ...], Tensor | None]]:
    """Yield inputs and labels, at most ``most`` samples at a time."""
    if batches is None:
        raise DataError("the analysis needs data and got None", fix="bs.analyze(network, loader)")
    if samples < 1:
        raise ConstraintError(f"samples={samples}: at least one is needed", fix="samples=256")
    events = conversion.settings.coding == "events"
    left = samples
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        if left <= 0:
            return
        if events:
            inputs: tuple[Tensor, ...] = (inputs_in(batch)[:, :left],)
        else:
            (inputs,) = feed(conversion.graph, [batch], samples=left)
        axis = 1 if events else 0
        n = inputs[0].shape[axis]
        labels = _labels(batch, n)
        for start in range(0, n, most):
            stop = min(start + most, n)
            cut = tuple(x.narrow(axis, start, stop - start) for x in inputs)
            yield cut, None if labels is None else labels[start:stop]
        left -= n
    if left == samples:
        raise DataError("the analysis needs data, and the loader yielded none", fix="pass the loader itself")


def _labels(batch: Any, n: int) -> Tensor | None:
    """Return the labels of a batch where it has whole numbers for each sample after the inputs.

    The last of several inputs is no label: numbers that do not fit the outputs are sorted out by the task later.
    """
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        return None
    labels = batch[-1]
    fits = isinstance(labels, Tensor) and labels.dim() > 0 and not labels.is_floating_point() and len(labels) >= n
    return cast(Tensor, labels)[:n] if fits else None
