"""Which answers are right: batches of inputs and labels, and classes in outputs and labels, where there are classes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from bitspike.errors import DataError


def pairs(batches: Iterable[Any], *, several: bool = False) -> Iterator[tuple[Any, Any]]:
    """Yield the inputs and labels of every batch.

    Args:
        batches: pairs; inputs are a tensor, or an object that moves to a device with ``to``.
        several: whether inputs may also be a tuple or list of tensors.

    Raises:
        DataError: a batch is no pair, or its inputs are no tensor.

    Example:
        >>> [(x.shape, y.shape) for x, y in pairs([(torch.zeros(4, 3), torch.zeros(4))])]
        [(torch.Size([4, 3]), torch.Size([4]))]
    """
    if isinstance(batches, Tensor):
        raise DataError(f"{_words(batches)} stands where batches (inputs, labels) are needed", fix="[(inputs, labels)]")
    for batch in batches:
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(
                f"a batch is a {_words(batch)}; needed is a pair (inputs, labels)",
                fix="a loader that yields (inputs, labels), both for the samples of one batch",
            )
        x, y = batch
        many = isinstance(x, tuple | list) and len(x) > 0 and all(isinstance(part, Tensor) for part in x)
        if not hasattr(x, "to") and not (several and many):
            ways = "a tensor" if not several else "a tensor, or a tuple of tensors for a network of several inputs"
            raise DataError(
                f"the inputs of a batch are a {_words(x)}; needed is {ways}",
                fix="a module around the network that takes one tensor and cuts it: self.net(x[:, :3], x[:, 3:])"
                if many
                else "torch.from_numpy(x) in the loader, or its default collate_fn",
            )
        yield x, y


def samples_in(inputs: Any, outputs: Any, labels: Any) -> int:
    """Return how many samples a batch holds: as many as outputs and labels agree on, else as many as inputs.

    Event frames come as [T, N, ...], so that the length of the inputs alone may be the number of steps.

    Example:
        >>> samples_in(torch.zeros(8, 32, 2), torch.zeros(32, 5), torch.zeros(32))
        32
        >>> samples_in(torch.zeros(4, 2), torch.zeros(4, 9), {"boxes": torch.zeros(7, 4)})
        4
    """
    both = [x for x in (outputs, labels) if isinstance(x, Tensor) and x.dim() > 0]
    return len(outputs) if len(both) == 2 and len(outputs) == len(labels) else len(inputs)


def true_classes(outputs: Any, labels: Any) -> Tensor | None:
    """Return the class of every sample, int64 [N]; None where outputs and labels are not about classes.

    Args:
        outputs: [N, classes] of the model; anything else has no classes.
        labels: whole numbers [N], or a share for every class [N, classes], of which the largest is the class.

    Example:
        >>> true_classes(torch.zeros(2, 3), torch.tensor([[0.1, 0.9, 0.0], [1.0, 0.0, 0.0]])).tolist()
        [1, 0]
        >>> true_classes((torch.zeros(2, 3), torch.zeros(2, 4)), torch.tensor([0, 1])) is None
        True
    """
    if not (isinstance(outputs, Tensor) and isinstance(labels, Tensor)) or outputs.dim() != 2:
        return None
    if labels.shape == outputs.shape and labels.is_floating_point() and outputs.shape[1] > 1:
        return labels.argmax(1)
    whole = not labels.is_floating_point() and labels.dtype != torch.bool and not labels.is_complex()
    # On an accelerator a look at the labels would wait for every batch.
    looks = whole and labels.shape == outputs.shape[:1]
    if looks and labels.device.type == "cpu" and len(labels) and not _in_range(outputs, labels):
        return None
    return labels.long() if looks else None


def need_classes(outputs: Any, labels: Any) -> None:
    """Refuse outputs that are not [N, classes] for N labels, and labels that are no class.

    Raises:
        DataError: names both sides.
    """
    if true_classes(outputs, labels) is not None:
        return
    if not isinstance(outputs, Tensor):
        raise DataError(
            f"the model gave a {_words(outputs)}; accuracy is that of one tensor [N, classes]",
            fix="a loss of your own trains it: bs.fit(..., loss=lambda outputs, labels: ...); accuracy is that of a "
            "module whose forward returns the head of classes, such as model(x)[0]",
        )
    if not isinstance(labels, Tensor):
        raise DataError(f"the labels are a {_words(labels)}; needed is a tensor of whole numbers [N]")
    if outputs.dim() != 2 or len(outputs) != len(labels):
        raise DataError(
            f"the model gave {list(outputs.shape)} for {len(labels)} labels; needed is [N, classes]",
            fix="end the model with a read-out: bs.RateReadout() averages [T, N, classes] over time",
        )
    shape, classes = list(labels.shape), outputs.shape[1]
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype == torch.bool:
        way = "labels.squeeze(1)" if labels.dim() == 2 and labels.shape[1] == 1 else ""
        way += ".long()" if way and labels.is_floating_point() else ""
        raise DataError(
            f"labels are {labels.dtype} {shape}; needed are whole numbers [{len(labels)}], or a share for each of the "
            f"{classes} classes, floating [{len(labels)}, {classes}]",
            fix=way or "labels.long(), or a loss of your own for other targets: bs.fit(..., loss=...)",
        )
    low, high = (int(v) for v in labels.aminmax())
    raise DataError(
        f"labels run from {low} to {high}, the model has {classes} classes",
        fix=f"build the model with num_classes={high + 1}, and number the labels from 0",
    )


def _in_range(outputs: Tensor, labels: Tensor) -> bool:
    low, high = (int(v) for v in labels.aminmax())
    return low >= 0 and high < outputs.shape[1]


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        shapes = [str(list(v.shape)) if isinstance(v, Tensor) else type(v).__name__ for v in value]
        return f"{type(value).__name__} of {', '.join(shapes)}"
    return f"tensor {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
