"""Classes in outputs and labels: where there are some, which they are, and what to say where there are none."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from bitspike.errors import DataError
from bitspike.tasks.batches import in_words


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
    if looks and labels.device.type == "cpu" and len(labels):
        low, high = labels.aminmax()
        looks = bool(low >= 0 and high < outputs.shape[1])
    return labels.long() if looks else None


def need_classes(outputs: Any, labels: Any) -> None:
    """Raise DataError for outputs that are not [N, classes] for N labels, and for labels that are no class."""
    if true_classes(outputs, labels) is not None:
        return
    if not isinstance(outputs, Tensor):
        raise DataError(
            f"the model gave a {in_words(outputs)}; accuracy is that of one tensor [N, classes]",
            fix="a loss of your own trains it: bs.fit(..., loss=lambda outputs, labels: ...); accuracy is that of a "
            "module whose forward returns the head of classes, such as model(x)[0]",
        )
    if not isinstance(labels, Tensor):
        raise DataError(
            f"the labels are a {in_words(labels)}; needed is a tensor of whole numbers [N]",
            fix="torch.as_tensor(labels) in the loader, or a loss of your own for other targets: bs.fit(..., loss=...)",
        )
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
