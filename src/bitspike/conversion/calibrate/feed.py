"""Read inputs out of whatever a loader yields: tensors, tuples with labels after them, dictionaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import ConstraintError, DataError
from bitspike.graph.ir import Graph, Op
from bitspike.ops.precision import single

PIECE = 256
"""Samples that are looked at together where a batch holds more."""

Batches = Iterable[Any] | Tensor
"""A loader, with or without labels, or one tensor [N, ...] of all samples."""


def feed(
    graph: Graph, batches: Batches | None, *, samples: int, most: int | None = None
) -> Iterator[tuple[Tensor, ...]]:
    """Yield the inputs of a network until ``samples`` samples have come, in the order of the loader.

    A batch is a tensor; a tuple or list that begins with the inputs, labels or anything else after them; or a
    dictionary, in which the inputs are found by their names or else as the first tensors of their shape.

    Args:
        graph: its input operations say how many inputs there are, and of which shape.
        batches: what a loader yields, or one tensor of all samples.
        samples: how many to read; the last batch is cut.
        most: the most samples that are handed on at a time; None hands on batches as they are.

    Raises:
        ConstraintError: ``samples`` is below 1. DataError: there are no batches, or a batch does not hold the inputs,
            or holds them in another precision than that of the weights.
    """
    inputs = [op for op in graph if op.kind == "input"]
    weights = [p for m in graph.modules.values() for p in m.parameters()]
    home = weights[0].device if weights else None
    computes = {p.dtype for p in weights if p.is_floating_point()}
    if samples < 1:
        raise ConstraintError(f"samples={samples}: at least 1 is needed", fix="samples=1024")
    if batches is None:
        raise DataError("calibration needs data and got None", fix="calibrate=loader, with or without labels")
    if isinstance(batches, Mapping):
        raise DataError(
            f"the calibration data are a mapping with the keys {', '.join(map(repr, list(batches)[:3]))}; needed are "
            "batches",
            fix="a list of such mappings, if it is one batch: [batch]",
        )
    left = samples
    for batch in [batches] if isinstance(batches, Tensor) else batches:
        sample = tuple(x[:left] if home is None else x[:left].to(home) for x in _inputs(batch, inputs))
        for x in sample:
            _need_dtype(x, computes)
        n = sample[0].shape[0]
        cuts = [*range(0, n, most or max(n, 1)), n]
        for start, stop in pairwise(cuts):
            yield tuple(x[start:stop] for x in sample)
        left -= n
        if left <= 0:
            return
    if left == samples:
        raise DataError(
            "calibration needs data, and the loader yielded none; an iterator may have been read to its end before",
            fix="pass the loader itself, not iter(loader)",
        )


def _inputs(batch: Any, inputs: Sequence[Op]) -> list[Tensor]:
    if isinstance(batch, Mapping):
        named = [batch.get(op.id) for op in inputs]
        first = named if all(isinstance(x, Tensor) for x in named) else _by_shape(batch, inputs)
    elif isinstance(batch, Tensor):
        first = [batch]
    elif isinstance(batch, list | tuple) and batch and isinstance(batch[0], list | tuple):
        first = list(batch[0])[: len(inputs)]
    else:
        first = list(batch)[: len(inputs)] if isinstance(batch, list | tuple) else []
    wanted = ", ".join(f"[N{''.join(f', {n}' for n in op.shape)}]" for op in inputs)
    tensors = [x for x in first if isinstance(x, Tensor)]
    if len(tensors) != len(inputs) or any(
        tuple(x.shape[1:]) != op.shape for x, op in zip(tensors, inputs, strict=True)
    ):
        shown = ", ".join(str(list(x.shape)) if isinstance(x, Tensor) else type(x).__name__ for x in first)
        raise DataError(
            f"a batch of the calibration data ({type(batch).__name__}) begins with {shown or 'nothing'}; the network "
            f"takes {wanted}",
            fix=_way_out(first, inputs),
        )
    if not all(bool(x.isfinite().all()) for x in tensors if x.is_floating_point()):
        raise DataError("a batch of the calibration data holds NaN or infinity", fix="look at the transforms")
    if len({x.shape[0] for x in tensors}) > 1:
        raise DataError(
            f"the inputs of one batch hold {[x.shape[0] for x in tensors]} samples",
            fix="yield inputs that belong together: as many samples of each",
        )
    for x in tensors:
        if not x.is_floating_point():
            raise DataError(
                f"calibration data of {x.dtype}: the network needs floating values",
                fix="the transforms of the training, such as ToTensor and Normalize",
            )
    return tensors


def _need_dtype(x: Tensor, computes: set[torch.dtype]) -> None:
    """Refuse what torch would not multiply with the weights; halves are read in single precision."""
    kind = single(x).dtype
    if len(computes) == 1 and kind not in computes:
        (own,) = computes
        raise DataError(
            f"calibration data of {x.dtype}: the network computes in {own}",
            fix="x.float(), here and wherever the network is run" if own == torch.float32 else f"x.to({own})",
        )


def _way_out(first: Sequence[Any], inputs: Sequence[Op]) -> str:
    if any(isinstance(x, Tensor) and tuple(x.shape) == op.shape for x, op in zip(first, inputs, strict=False)):
        return "these are single samples; a loader yields batches: torch.utils.data.DataLoader(dataset, batch_size=64)"
    if any(hasattr(x, "__array__") and not isinstance(x, Tensor) for x in first):
        return "tensors: torch.from_numpy(x)"
    return "yield the inputs first: x, (x, labels), or {name: x}"


def _by_shape(batch: Mapping[str, Any], inputs: Sequence[Op]) -> list[Tensor]:
    """Return for each input the first value of its shape that is not taken yet."""
    values = [x for x in batch.values() if isinstance(x, Tensor) and x.is_floating_point()]
    taken = []
    for op in inputs:
        at = next((i for i, x in enumerate(values) if tuple(x.shape[1:]) == op.shape), None)
        if at is not None:
            taken.append(values.pop(at))
    return taken
