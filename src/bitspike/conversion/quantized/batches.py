"""Read batches with labels or without: what a loader yields, or one tensor of all samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from bitspike.conversion.calibrate.feed import PIECE
from bitspike.errors import DataError
from bitspike.tasks.batches import in_words

Batches = Iterable[Any] | Tensor
"""Batches (inputs, labels), (inputs,) or inputs; inputs are a tensor, or a tuple of tensors. Or one tensor [N, ...]."""


def labelled(batches: Batches, where: str) -> Iterator[tuple[tuple[Tensor, ...], Any]]:
    """Yield inputs and labels of every batch that holds a sample; labels are None where a batch has none.

    Args:
        batches: a tensor of all samples is cut into batches of 256.
        where: the function that was called, for messages.

    Raises:
        DataError: there is no sample, or a batch does not begin with tensors, or they hold NaN or infinity.

    Example:
        >>> [(x[0].shape, y) for x, y in labelled([torch.zeros(2, 3), (torch.zeros(1, 3), 5)], "example")]
        [(torch.Size([2, 3]), None), (torch.Size([1, 3]), 5)]
    """
    if isinstance(batches, tuple) and len(batches) == 2 and all(isinstance(part, Tensor) for part in batches):
        raise DataError(
            f"{where} got a pair of tensors where batches are needed, {in_words(batches)}", fix="[(inputs, labels)]"
        )
    empty = True
    for batch in torch.split(batches, PIECE) if isinstance(batches, Tensor) else batches:
        first, labels = batch, None
        if isinstance(batch, tuple | list) and len(batch) in (1, 2):
            first, labels = batch[0], (batch[1] if len(batch) == 2 else None)
        inputs = tuple(first) if isinstance(first, tuple | list) else (first,)
        if not inputs or not all(isinstance(x, Tensor) and x.dim() for x in inputs):
            raise DataError(
                f"{where}: a batch is a {in_words(batch)}; it must begin with a tensor [N, ...] of inputs",
                fix="a loader that yields (inputs, labels), or inputs alone",
            )
        if not all(bool(x.isfinite().all()) for x in inputs):
            raise DataError(f"{where}: a batch holds NaN or infinity", fix="look at the transforms")
        if len(inputs[0]):
            empty = False
            yield inputs, labels
    if empty:
        raise DataError(
            f"{where}: there is no sample",
            fix="pass the loader itself, not iter(loader), which may have been read to its end before",
        )


def to_device(batch: Any, device: torch.device) -> Any:
    """Return inputs or labels on a device."""
    return tree_map(lambda x: x.to(device) if isinstance(x, Tensor) else x, batch)


def device_of(network: nn.Module) -> torch.device:
    """Return the device of a network's first parameter."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))
