"""The functions that replace a neuron on the float rungs of the ladder: rectify, clip, count by formula (*)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from bitspike.conversion.result import Conversion
from bitspike.graph.rebuild import quantized_relu
from bitspike.ops.grids import Fire

Activation = Callable[[Tensor], Tensor]
Neurons = Literal["relu", "clip", "counts", "corrected"]
"""Which function replaces the neurons of a float graph: that of M2, of M3, of M4, or of M4 with the corrections."""


@dataclass(frozen=True, eq=False)
class Clip:
    """Rectify, and clip at lambda."""

    top: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return torch.minimum(z.clamp(min=0), self.top.to(z))


@dataclass(frozen=True, eq=False, kw_only=True)
class Counts:
    """Formula (*): the value that T steps of constant current z decode to, ``lambda N / T``.

    Args:
        top: lambda, broadcastable against one sample.
        steps: T.
        initial: v0 as a share of lambda.
        fire: ``gt`` fires above the threshold only, so that N = ceil(...) - 1.
        bias: what a correction adds to z.
        charge: what a correction adds to v0, in real units.

    Example:
        >>> Counts(top=torch.tensor([1.0]), steps=4)(torch.tensor([-1.0, 0.1, 0.4, 0.9, 3.0])).tolist()
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    top: Tensor
    steps: int
    initial: float = 0.5
    fire: Fire = "ge"
    bias: Tensor = field(default_factory=lambda: torch.zeros(1))
    charge: Tensor = field(default_factory=lambda: torch.zeros(1))

    def __call__(self, z: Tensor) -> Tensor:
        top = self.top.to(z)
        share = (self.steps * (z + self.bias.to(z)) + self.charge.to(z)) / top + self.initial
        # Pools of counts meet the threshold exactly, and often; what floats lose must not decide then.
        slack = 4 * self.steps * torch.finfo(z.dtype).eps
        n = (share + slack).floor() if self.fire == "ge" else (share - slack).ceil() - 1
        return n.clamp(0, self.steps) * top / self.steps


def by_channel(value: Tensor, axes: int) -> Tensor:
    """Shape one number, or one for each channel, so that it broadcasts against samples [C, ...] of so many axes.

    Example:
        >>> by_channel(torch.ones(8), 3).shape
        torch.Size([8, 1, 1])
    """
    return value.reshape(1) if value.numel() == 1 else value.reshape(-1, *[1] * (axes - 1))


def activation(conversion: Conversion, id: str, kind: Neurons) -> Activation:
    """Return what a rung computes in the place of one neuron, from the value that the neuron rectifies."""
    report, settings, axes = conversion.layers[id], conversion.settings, len(conversion.core[id].shape)
    limit, levels = (conversion.core[id].attrs.get(name) for name in ("clip", "levels"))
    if levels is not None and kind in ("relu", "clip"):  # trained with its clip and its levels
        return partial(quantized_relu, clip=float(limit or 0), levels=levels)
    if kind == "relu":
        return lambda z: z.clamp(0, limit)
    # With real thresholds lambda is met to 2**-30 only; pools of its spikes have to count in the very same number.
    top = by_channel(report.wanted if settings.rounded else report.value, axes)
    if kind == "clip":
        return Clip(top)
    initial = settings.initial
    if report.kind == "pool":  # its threshold is the size of the window, a whole number
        area = float(report.threshold.reshape(-1)[0])
        initial = math.floor(area * initial) / area
    counts = Counts(top=top, steps=settings.steps, initial=initial, fire=settings.fire)
    if kind != "corrected":
        return counts
    none = torch.zeros(1)
    bias, charge = (shifts.get(id, none) for shifts in (conversion.shifts.bias, conversion.shifts.initial))
    return replace(counts, bias=by_channel(bias, axes), charge=by_channel(charge, axes))


def corrected(conversion: Conversion) -> bool:
    """Tell whether weights, biases or initial potentials were corrected."""
    return bool(conversion.shifts.weights or conversion.shifts.bias or conversion.shifts.initial)
