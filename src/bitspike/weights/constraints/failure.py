"""How far weights under constraints still are from their levels: what the final projection would change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from bitspike.arguments import checked
from bitspike.weights.constraints.backprop import ConstrainedWeight
from bitspike.weights.path import paths

OFF = 1e-3
"""A weight further from its level than this share of the scale is off it."""


@dataclass(frozen=True)
class ConstraintFailure:
    """Where the weights of a network stand that are trained under constraints.

    Args:
        score: the constraint-failure score: the mean over all of them of twice the distance to the nearest level.
        relative: the same in units of each layer's scale.
        off: share of the weights that are further than a thousandth of the scale from their level.
        weights: how many there are.
        window: g, the smallest of all layers.
    """

    score: float
    relative: float
    off: float
    weights: int
    window: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return dict(vars(self))


@checked
def constraint_failure(model: nn.Module) -> ConstraintFailure | None:
    """Measure the weights of a model that are trained under constraints; None where there are none.

    Source: the score CFS of Kim and Jeong, NeurIPS 2021, arXiv 2110.02550.

    Example:
        >>> import torch
        >>> from bitspike.weights import Constrained, attach
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> layer.weight.data = torch.tensor([[0.5, -1.5]])  # the scale is 1
        >>> failure = constraint_failure(attach(layer, quantize=Constrained((-1, 1))))
        >>> failure.score, failure.off
        (1.0, 1.0)
    """
    score = relative = off = 0.0
    weights, windows = 0, list[int]()
    for _, _, _, path, latent in paths(model):
        if isinstance(stage := path.quantize, ConstrainedWeight):
            share = stage.distances(latent).double()
            score += float((2 * share * stage.step.double() * stage.plan.reach).sum())
            relative += 2 * float(share.sum())
            off += float((share > OFF).sum())
            weights += latent.numel()
            windows.append(stage.standing.window)
    if not windows:
        return None
    count = max(weights, 1)
    return ConstraintFailure(score / count, relative / count, off / count, weights, min(windows))
