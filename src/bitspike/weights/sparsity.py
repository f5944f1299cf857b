"""How much pruning leaves out: of the weights that train, and of their groups."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.ops.wrappers import unwrapped
from bitspike.weights.devices.lasso import LassoStage
from bitspike.weights.path import paths


@dataclass(frozen=True)
class LayerSparsity:
    """Counts of one layer.

    Args:
        weights: of the memory that is pruned.
        zeros: of these, those that are left out.
        groups: of input channels of one output channel.
        empty: of these, those without any weight that stays.
    """

    weights: int
    zeros: int
    groups: int
    empty: int


@dataclass(frozen=True)
class Sparsity:
    """Counts by layer, of the layers that are pruned, and their shares over all of them.

    Example:
        >>> print(Sparsity({"conv2": LayerSparsity(288, 72, 16, 4)}))
        25.00 % of 288 weights and 25.00 % of 16 groups are left out, in 1 layer
    """

    layers: dict[str, LayerSparsity]

    @property
    def weights(self) -> float:
        """Weights that are left out, as a share of all."""
        return _share(self.layers, "zeros", "weights")

    @property
    def groups(self) -> float:
        """Groups of which all weights are left out, as a share of all."""
        return _share(self.layers, "empty", "groups")

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        layers = {name: vars(layer) for name, layer in self.layers.items()}
        return {"weights": self.weights, "groups": self.groups, "layers": layers}

    def __str__(self) -> str:
        of_weights, of_groups = (sum(getattr(x, n) for x in self.layers.values()) for n in ("weights", "groups"))
        return (
            f"{self.weights:.2%} of {of_weights} weights and {self.groups:.2%} of {of_groups} groups are left out, in "
            f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}"
        ).replace("%", " %")


def _share(layers: dict[str, LayerSparsity], part: str, whole: str) -> float:
    total = sum(getattr(layer, whole) for layer in layers.values())
    return sum(getattr(layer, part) for layer in layers.values()) / total if total else 0.0


@torch.no_grad()
@checked
def sparsity(model: nn.Module) -> Sparsity:
    """Count what the prune stages of a model leave out now; where a layer has SRAM, of its SRAM.

    Raises:
        ConstraintError: no layer is pruned.

    Example:
        >>> from bitspike.weights import GroupLasso, attach
        >>> conv = attach(nn.Conv2d(32, 8, 3), prune=GroupLasso(first=True))
        >>> sparsity(conv).layers[""].groups
        16
    """
    layers: dict[str, LayerSparsity] = {}
    for name, _, _, path, latent in paths(unwrapped(model)):
        if isinstance(path.prune, LassoStage):
            stays = path.prune.mask(path.cells(latent))
            groups = path.prune.grouped(stays.float()).amax(2) if stays.numel() else torch.zeros(0, 0)
            layers[name] = LayerSparsity(stays.numel(), int((~stays).sum()), groups.numel(), int((groups == 0).sum()))
    if not layers:
        raise ConstraintError(
            f"sparsity: no layer of {type(unwrapped(model)).__name__} is pruned",
            fix="bs.attach(model, prune=bs.GroupLasso())",
        )
    return Sparsity(layers)
