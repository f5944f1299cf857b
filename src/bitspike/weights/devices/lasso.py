"""Pruning: groups of weights are pulled to zero together, and what is small is left out."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError


@checked
@dataclass(frozen=True)
class GroupLasso:
    """Prune weights that train, by a group lasso with a cap and by a threshold; for the slot ``prune``.

        groups: ``group`` consecutive input channels of one output channel, at all places of the kernel
        a_g = sqrt(sum of w**2 in g + 1e-12),   R = strength * sum over layers and groups of min(a_g, cap * mean(a_g))
        mask = |w| > threshold * max|w|,   computed anew in every forward pass, so a weight can return

    R is added to the loss (:func:`bitspike.weights.penalties`). w is the float master of what trains: of the SRAM where
    the slot ``recover`` has one, which is then masked alone, and of the weight itself elsewhere.

    Args:
        strength: of the pull, >= 0.
        group: input channels in a group, at least 1; the last group of a layer may have fewer.
        cap: groups above so many times the mean are not pulled, except through the mean; above 0.
        threshold: share of the layer's largest weight up to which weights are left out, in [0, 1).
        first: whether the model's first layer is pruned too.

    Raises:
        ConstraintError: a number outside what is allowed.

    Source: hybrid RRAM/SRAM networks, code of R. Kuang 2022 (options ``swp``, ``group``, ``lamda``, ``ratio``, ``th``).

    Example:
        >>> stage = GroupLasso(threshold=0.5).build("conv", torch.empty(1))
        >>> stage(torch.tensor([[0.4, 0.6, -1.0, 0.0]])).tolist()
        [[0.0, 0.6000000238418579, -1.0, 0.0]]
    """

    strength: float = 1e-4
    _: KW_ONLY
    group: int = 16
    cap: float = 1.0
    threshold: float = 0.005
    first: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.group, int) and not isinstance(self.group, bool) and self.group >= 1
        if not (whole and math.isfinite(self.strength) and self.strength >= 0):
            raise ConstraintError(
                f"GroupLasso(strength={self.strength}, group={self.group!r}): a finite number >= 0 and a whole "
                "number of at least 1 are needed",
                fix="GroupLasso(strength=1e-4, group=16)",
            )
        if not (self.cap > 0 and 0 <= self.threshold < 1):
            raise ConstraintError(
                f"GroupLasso(cap={self.cap}, threshold={self.threshold}): a number above 0 and one in [0, 1) are "
                "needed",
                fix="GroupLasso(cap=1.0, threshold=0.005)",
            )

    def build(self, name: str, weight: Tensor) -> LassoStage:
        """Return the stage of one layer."""
        return LassoStage(self)


class LassoStage(nn.Module):
    """The pruning of one layer.

    Attributes:
        axis: the channel axis of the weight, which ``attach`` sets; the other of the first two holds the inputs.
    """

    def __init__(self, plan: GroupLasso) -> None:
        super().__init__()
        self.plan, self.axis = plan, 0

    def mask(self, master: Tensor) -> Tensor:
        """Return which weights stay, bool, of the shape of the master."""
        magnitude = master.detach().abs()
        return magnitude > self.plan.threshold * magnitude.amax() if magnitude.numel() else magnitude.bool()

    def forward(self, w: Tensor) -> Tensor:
        """Return the weights that stay, chosen by themselves."""
        return w * self.mask(w)

    def penalty(self, master: Tensor) -> Tensor:
        """Return R of this layer."""
        norms = (self.grouped(master).square().sum(2) + 1e-12).sqrt()
        if not norms.numel():
            return norms.sum()
        return self.plan.strength * torch.minimum(norms, self.plan.cap * norms.mean()).sum()

    def grouped(self, w: Tensor) -> Tensor:
        """Return the weights as [outputs, groups, weights of a group]; the last group is filled with zeros."""
        by_output = w.transpose(0, self.axis)
        outputs, inputs = by_output.shape[:2]
        group = min(self.plan.group, max(1, inputs))
        taps = by_output.reshape(outputs, inputs, -1)
        full = nn.functional.pad(taps, (0, 0, 0, -inputs % group))
        return full.reshape(outputs, -1, group * taps.shape[2])

    def extra_repr(self) -> str:
        return repr(self.plan)
