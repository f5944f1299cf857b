"""Running statistics of norms measured again, for a network whose weights have changed and shall stay as they are."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, DataError
from bitspike.nn.norms.base import NORMS
from bitspike.nn.trace import evaluation
from bitspike.ops.precision import full_precision
from bitspike.ops.wrappers import unwrapped
from bitspike.tasks.batches import pairs, samples_of
from bitspike.train.evaluate import Batches, seeded
from bitspike.weights.chips import drawn_anew

M = TypeVar("M", bound=nn.Module)


@torch.no_grad()
@checked
def adapt(model: M, batches: Batches, *, seed: int = 0) -> M:
    """Measure the running statistics of a model's norms anew on a few batches, in place, and return the model.

    A chip whose weights differ from those that were trained sends other sums to its norms. Their means and variances,
    of every step where each step has its own, are replaced by those of these batches, in the mean over all samples.
    Nothing else changes: weights, gains and shifts stay, and labels are not read.

        with bs.on_chip(model, seed):
            bs.adapt(model, calibration_loader)
            net = bs.lower(model, images[:1])

    Args:
        model: has batch norms (or norms of Bitspike) with running statistics.
        batches: pairs of inputs and labels, read once; a few hundred samples are enough.
        seed: of the random coders in the model.

    Raises:
        ConstraintError: no norm keeps running statistics, or weights are drawn anew at every call.
        DataError: there is no sample.

    Example:
        >>> model = nn.Sequential(nn.BatchNorm1d(1))
        >>> adapt(model, [(torch.tensor([[2.0], [4.0]]), torch.zeros(2))])[0].running_mean.tolist()
        [3.0]
    """
    inner = unwrapped(model)
    norms = [module for module in inner.modules() if isinstance(module, NORMS) and _keeps_statistics(module)]
    if not norms:
        raise ConstraintError(
            f"adapt: no norm of {type(inner).__name__} keeps running statistics, so there is nothing to measure",
            fix="leave adapt out; batch norms with track_running_stats=True have them",
        )
    if drawn_anew(inner):
        raise ConstraintError(
            "adapt: weights are drawn anew at every call in evaluation, so the norms would fit none of them",
            fix="with bs.on_chip(model, seed): bs.adapt(model, batches)",
        )
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    momenta, samples = [norm.momentum for norm in norms], 0
    try:
        with evaluation(model), seeded(seed, device), full_precision():
            for norm in norms:
                norm.training = True
            for x, y in pairs(batches):
                x = x.to(device)
                if not (count := samples_of(x, y)):
                    continue
                samples += count
                # So that the running mean is that over all samples so far.
                for norm in norms:
                    norm.momentum = count / samples
                model(x)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    if not samples:
        raise DataError("adapt: the batches hold no sample", fix="pass the loader itself, not iter(loader)")
    return model


def _keeps_statistics(norm: nn.Module) -> bool:
    return isinstance(getattr(norm, "running_mean", None), Tensor) and hasattr(norm, "momentum")
