"""Layers without a state of their own, carried over time, the first axis."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from bitspike.nn.layers import call, plain
from bitspike.nn.norms.base import NORMS, changes_by_step
from bitspike.ops.precision import single


class TimeDistributed(nn.Sequential):
    """Carry ordinary layers over time: T is folded into N once, the layers run in order, and T is unfolded.

    The layers must be stateless in time; a batch norm inside pools its statistics over time as well, unless it is an
    ``AffineNorm`` that is ``by_step``.

    Example:
        >>> TimeDistributed(nn.Conv2d(1, 8, 3), nn.AvgPool2d(2))(torch.zeros(4, 2, 1, 10, 10)).shape
        torch.Size([4, 2, 8, 4, 4])
    """

    def forward(self, input: Tensor) -> Tensor:
        return self.run(input, list(self))

    def run(self, input: Tensor, layers: list[nn.Module]) -> Tensor:
        """Carry some layers over time, [T, N, ...] to [T, N, ...]; all of them are what a call does."""
        steps, samples = input.shape[:2]
        x = input
        # A repeated image has stride 0 over time: the first layers see it once, and their result is repeated.
        if steps > 1 and input.stride(0) == 0:
            once = next((i for i, layer in enumerate(layers) if not _same_for_equal_inputs(layer)), len(layers))
            x = input[0]
            for layer in layers[:once]:
                x = call(layer, x)
            x, layers = repeated(x, steps), layers[once:]
            if not layers:
                return x
        x = x.flatten(0, 1)
        for layer in layers:
            if changes_by_step(layer):  # it has to see which step is which
                x = layer(x.view(steps, samples, *x.shape[1:])).flatten(0, 1)
            else:
                x = call(layer, x)
        return x.view(steps, samples, *x.shape[1:])


class _Repeated(torch.autograd.Function):
    """``expand``, whose gradient adds the steps one after the other: six times as fast as a sum over them on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, steps: int) -> Tensor:
        return x.expand(steps, *x.shape)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        first, *others = grads[0].unbind(0)
        # Half precision is rounded once, at the end.
        total = single(first)
        for other in others:
            total = total + other if total is first else total.add_(other)
        return total.to(first.dtype), None


def repeated(x: Tensor, steps: int) -> Tensor:
    """Return [T, N, ...] with stride 0 over time: T times the same x."""
    return cast(Tensor, _Repeated.apply(x, steps)) if x.requires_grad and plain(x) else x.expand(steps, *x.shape)


_PURE = (
    nn.modules.conv._ConvNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._MaxPoolNd,
    nn.Linear,
    nn.Flatten,
    nn.Identity,
)


def _same_for_equal_inputs(layer: nn.Module) -> bool:
    """Tell whether equal samples surely give equal outputs and leave no trace: no dropout, no batch statistics.

    A user's subclass with a forward of its own may draw noise per sample, so it is not trusted.
    """
    kinds = _PURE if layer.training else _PURE + NORMS
    known = isinstance(layer, kinds) and not changes_by_step(layer)
    return known and type(layer).forward.__module__.startswith(("torch.nn.", "bitspike."))
