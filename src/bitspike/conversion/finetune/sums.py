"""Sums of a prepared network: of currents with skips, and of spikes that are a neuron of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bitspike.conversion.finetune.shared_step import SharedStep, largest_clip
from bitspike.graph.ir import Graph
from bitspike.nn.clip_floor_shift import ClipFloorShift


class ClippedSum(nn.Module):
    """A sum of spikes that is a neuron of its own."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        result: Tensor = self.activation(a + b)
        return result


class WholeSkip(nn.Module):
    """Scale a skip by the whole number of counts of its neuron that it is worth in integers.

        y = x * m U / value,  m = round(value / U)

    Args:
        group: the weighted branches that it meets.
        sources: the activations whose spikes it carries.
        share: what pools leave of them.

    Shape: [N, C, ...] to the same; the gradient sees the factor as a constant.
    """

    def __init__(self, group: SharedStep, sources: Sequence[ClipFloorShift], share: float) -> None:
        super().__init__()
        # In a tuple they stay what they are: parts of the network, not of this module.
        self.group, self.sources, self.share = group, tuple(sources), share

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            unit = self.group.unit()
            value = largest_clip(self.sources).to(unit.dtype) * self.share
            factor = (value / unit).round() * unit / value
        return x * factor.to(x.dtype).reshape(-1, *[1] * (x.dim() - 2))


def on_operations(graph: Graph, activations: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return activations as they take the place of their operations: a sum is added up first."""
    return {id: a if graph[id].kind == "relu" else ClippedSum(a) for id, a in activations.items()}


class SumWithSkips(nn.Module):
    """A sum of which one side or both are skips.

    Args:
        skips: by position, 0 or 1, what a skip goes through.
        signs: of the two sides.
    """

    def __init__(self, skips: Mapping[int, WholeSkip], signs: tuple[int, int]) -> None:
        super().__init__()
        self.signs = signs
        self.skips = nn.ModuleDict({str(n): skip for n, skip in skips.items()})

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = (self.skips[str(n)](x) if str(n) in self.skips else x for n, x in enumerate((a, b)))
        return a + b if self.signs[1] > 0 else a - b
