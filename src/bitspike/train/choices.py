"""What ``fit`` is told and cannot use, refused before anything is trained, each with the way out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, IterableDataset

from bitspike.errors import ConstraintError, DataError, short

_PAIRS = "[(inputs, labels)]"


def refuse_wrong_kinds(model: Any, schedule: Any, loss: Any, clip_gradient: Any, observer: Any) -> None:
    """Refuse arguments of ``fit`` that are of another kind.

    Raises:
        ConstraintError: for the first of them.
    """
    if not isinstance(model, nn.Module):
        raise ConstraintError(
            f"fit({type(model).__name__}): needed is a network, an nn.Module",
            fix="bs.fit(model, train_loader, epochs=20)",
        )
    if not callable(getattr(schedule, "factor", None)):
        own = isinstance(schedule, torch.optim.lr_scheduler.LRScheduler)
        more = "; a scheduler of torch belongs into a loop of your own" if own else ""
        raise ConstraintError(
            f"fit(schedule={short(schedule)}): it is no schedule of learning rates",
            fix=f"schedule=bs.train.Cosine(), bs.train.Steps(...) or bs.train.Constant(){more}",
        )
    if loss is not None and not callable(loss):
        raise ConstraintError(
            f"fit(loss={short(loss)}): it is no function of outputs and labels",
            fix="loss=torch.nn.functional.cross_entropy, or leave it out, which is the same",
        )
    if clip_gradient is not None and not hasattr(clip_gradient, "apply"):
        limit = clip_gradient if isinstance(clip_gradient, int | float) else 1.0
        raise ConstraintError(
            f"fit(clip_gradient={short(clip_gradient)}): what the limit is of is not said",
            fix=f"clip_gradient=bs.train.ClipNorm({limit}) or bs.train.ClipValue({limit})",
        )
    if observer is not None and not (hasattr(observer, "batch_done") and hasattr(observer, "epoch_done")):
        raise ConstraintError(
            f"fit(observer={short(observer)}): it is no observer", fix="an object of a class below bs.train.Observer"
        )


def refuse_outside(epochs: int, keep: str, resume: bool, folder: object) -> None:
    """Refuse values of ``fit`` that lie outside what is allowed.

    Raises:
        ConstraintError: for the first of them.
    """
    if epochs < 1:
        raise ConstraintError(f"fit(epochs={epochs}): at least 1 is needed", fix="epochs=20")
    if keep not in ("best", "last"):
        raise ConstraintError(f"fit(keep={keep!r}): allowed are 'best' and 'last'", fix="keep='best'")
    if resume and folder is None:
        raise ConstraintError("fit(resume=True): which run to resume is not stated", fix="fit(folder=..., resume=True)")


def refuse_no_batches(batches: Any, name: str) -> None:
    """Refuse data that are not dealt out in batches.

    Raises:
        DataError: with what makes batches of them.
    """
    if batches is None and name == "validation":
        return
    if isinstance(batches, Dataset) and not isinstance(batches, IterableDataset):
        refuse_one_sample(batches, next(iter(batches), None), name)
    if not isinstance(batches, Tensor) and not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        of_images = f"bs.data.Batches({name}, 64, pixel_grid=bs.data.PixelGrid(scale=2**-8))"
        raise DataError(
            f"fit({name}={type(batches).__name__}): needed are batches (inputs, labels)",
            fix=of_images if hasattr(batches, "classes") else _PAIRS,
        )
    if isinstance(batches, tuple) and len(batches) == 2 and all(isinstance(part, Tensor) for part in batches):
        raise DataError(
            f"fit({name}=(inputs, labels)): a pair of tensors is one batch, and needed are several",
            fix=f"{_PAIRS}, or list(zip(inputs.split(64), labels.split(64)))",
        )


def refuse_one_sample(batches: Any, first: Any, name: str) -> None:
    """Refuse a data set of torch whose ``first`` item is a sample; one that deals out batches itself is right.

    Raises:
        DataError: with what makes batches of its samples.
    """
    if not isinstance(batches, Dataset) or not isinstance(first, tuple | list) or len(first) != 2:
        return
    label = first[1]
    if isinstance(label, int | float | str) or (isinstance(label, Tensor) and label.dim() == 0):
        shuffle = "" if isinstance(batches, IterableDataset) else ", shuffle=True"
        raise DataError(
            f"fit({name}={type(batches).__name__}): it gives one sample after the other, and needed are batches",
            fix=f"{name}=torch.utils.data.DataLoader({name}, batch_size=64{shuffle})",
        )
