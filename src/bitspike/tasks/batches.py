"""Batches of any task: pairs of inputs and labels, and how many samples a pair holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor

from bitspike.errors import DataError, some


def pairs(batches: Iterable[Any], *, several: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield the inputs and labels of every batch.

    Args:
        batches: pairs; inputs are a tensor, or an object that moves to a device with ``to``.
        several: whether inputs may also be a tuple or list of tensors.

    Raises:
        DataError: a batch is no pair, or its inputs are no tensor.

    Example:
        >>> import torch
        >>> [(x.shape, y.shape) for x, y in pairs([(torch.zeros(4, 3), torch.zeros(4))])]
        [(torch.Size([4, 3]), torch.Size([4]))]
    """
    if isinstance(batches, Tensor):
        raise DataError(
            f"{in_words(batches)} stands where batches (inputs, labels) are needed", fix="[(inputs, labels)]"
        )
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(f"a batch is a {in_words(batch)}; needed is a pair (inputs, labels)", fix=_in_pairs(batch))
        x, y = batch
        many = isinstance(x, tuple | list) and len(x) > 0 and all(isinstance(part, Tensor) for part in x)
        if not hasattr(x, "to") and not (several and many):
            ways = "a tensor" if not several else "a tensor, or a tuple of tensors for a network of several inputs"
            raise DataError(
                f"the inputs of a batch are a {in_words(x)}; needed is {ways}",
                fix="a module around the network that takes one tensor and cuts it: self.net(x[:, :3], x[:, 3:])"
                if many
                else "torch.from_numpy(x) in the loader, or its default collate_fn",
            )
        yield x, y


def inputs_in(batch: Any) -> Tensor:
    """Return the inputs of a batch that needs no labels: it is a tensor, or begins with one.

    Raises:
        DataError: it is something else.

    Example:
        >>> import torch
        >>> inputs_in((torch.zeros(4, 3), "labels", 7)).shape
        torch.Size([4, 3])
    """
    first = batch[0] if isinstance(batch, tuple | list) and batch else batch
    if not isinstance(first, Tensor):
        raise DataError(
            f"a batch is a {in_words(batch)}; needed is a tensor of inputs, or a pair (inputs, labels)",
            fix=_in_pairs(batch),
        )
    return first


def _in_pairs(batch: Any) -> str:
    """Return how a loader of other batches yields pairs."""
    collate = "DataLoader(dataset, ..., collate_fn=lambda rows: {}), with default_collate from torch.utils.data"
    if isinstance(batch, Mapping):
        named = {k: v for k, v in batch.items() if isinstance(k, str) and isinstance(v, Tensor)}
        x = next((k for k, v in named.items() if v.is_floating_point() and v.dim() > 1), "images")
        y = next((k for k, v in named.items() if not v.is_floating_point() and k != x), "labels")
        if x not in batch or y not in batch:
            return "batches with both, as pairs (inputs, labels)"
        both = f"itemgetter({x!r}, {y!r})(default_collate(rows))"
        return f"{collate.format(both)} and itemgetter from operator"
    if isinstance(batch, tuple | list) and len(batch) > 2:
        return collate.format("default_collate(rows)[:2]") + ": the first two, if they are inputs and labels"
    return "a loader that yields (inputs, labels): DataLoader(TensorDataset(inputs, labels), batch_size=64)"


def need_loader(batches: Iterable[Any]) -> None:
    """Refuse what can be read only once, where it is read several times.

    Raises:
        DataError: the batches are an iterator or a generator.
    """
    if isinstance(batches, Iterator):
        raise DataError(
            f"the batches are a {type(batches).__name__}, which can be read once, and they are read several times",
            fix="pass the loader itself, not iter(loader), or list(batches)",
        )


def samples_in(inputs: Any, outputs: Any, labels: Any) -> int:
    """Return how many samples a batch holds: as many as outputs and labels agree on, else as many as inputs.

    Event frames come as [T, N, ...], so that the length of the inputs alone may be the number of steps.

    Example:
        >>> import torch
        >>> samples_in(torch.zeros(8, 32, 2), torch.zeros(32, 5), torch.zeros(32))
        32
        >>> samples_in(torch.zeros(4, 2), torch.zeros(4, 9), {"boxes": torch.zeros(7, 4)})
        4
    """
    both = [x for x in (outputs, labels) if isinstance(x, Tensor) and x.dim() > 0]
    return len(outputs) if len(both) == 2 and len(outputs) == len(labels) else len(inputs)


def samples_of(inputs: Any, labels: Any) -> int:
    """Return how many samples a batch holds, as :func:`samples_in` does, before there are outputs.

    Example:
        >>> import torch
        >>> samples_of(torch.zeros(8, 32, 2), torch.zeros(32)), samples_of(torch.zeros(4, 2), None)
        (32, 4)
    """
    return samples_in(inputs, labels, labels)


def in_words(value: Any) -> str:
    """Say what was passed, with the shapes of its tensors.

    Example:
        >>> import torch
        >>> in_words((torch.zeros(2, 3), 1))
        'tuple of [2, 3], int'
        >>> in_words({"image": torch.zeros(2, 3), "label": 1})
        "dict with 'image', 'label'"
    """
    if isinstance(value, Mapping):
        return f"{type(value).__name__} with {some([repr(key) for key in value], most=4) or 'nothing'}"
    if isinstance(value, tuple | list):
        shapes = [str(list(v.shape)) if isinstance(v, Tensor) else type(v).__name__ for v in value]
        return f"{type(value).__name__} of {', '.join(shapes)}"
    return f"tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
