"""The constraint function of constrained backpropagation: how far a weight is from its level, with a free window.

Everything is in units of one code: ``u = w / step``, and the levels are whole numbers. With the neighbours ``c_i`` and
``c_i+1`` of a weight between two levels, ``D = c_i+1 - c_i``, and a window parameter g >= 1:

    cs = 2 |u - nearest level|                       the saw-tooth, slope +-2
    cs = 0  where  2 |u - nearest| > D (1 - 1/g)     the free window around the middle between two levels

g = 1 leaves all weights between the outermost levels free; as g grows the window closes. Beyond the outermost levels no
weight is free.

Source: Kim and Jeong, NeurIPS 2021, arXiv 2110.02550, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor


def nearest_code(u: Tensor, levels: Sequence[int]) -> Tensor:
    """Return the nearest level of each value; half-way between two it is the upper one.

    Args:
        u: weights in units of one code, any shape, no gradient.
        levels: whole numbers, ascending.

    Returns:
        whole numbers, of shape and dtype of ``u``, and lying in memory as it does.

    Example:
        >>> nearest_code(torch.tensor([-3.0, 0.0, 0.2, 9.0]), (-1, 1)).tolist()
        [-1.0, 1.0, 1.0, 1.0]
    """
    lying, back = _in_memory_order(u)
    return u.new_tensor(levels)[_index(lying, levels)].permute(back)


def _index(u: Tensor, levels: Sequence[int]) -> Tensor:
    middles = [(a + b) / 2 for a, b in pairwise(levels)]
    return torch.bucketize(u, u.new_tensor(middles), right=True)


def _in_memory_order(u: Tensor) -> tuple[Tensor, list[int]]:
    """Return a tensor with its axes in the order in which they lie in memory, and the order that takes them back.

    Table look-ups read contiguous tensors alone, and weights that train with channels last are none.
    """
    order = sorted(range(u.dim()), key=u.stride, reverse=True)
    return u.permute(order).contiguous(), sorted(range(u.dim()), key=order.__getitem__)


def sawtooth(u: Tensor, levels: Sequence[int], window: float = math.inf) -> tuple[Tensor, Tensor]:
    """Return the constraint function of each weight and its derivative, both in units of one code.

    On a level both are 0: of the slopes -2 and +2 that meet there, the mean is a subgradient that moves nothing.

    Args:
        u: weights in units of one code, any shape, no gradient.
        levels: whole numbers, ascending.
        window: g, at least 1; infinite leaves no weight free.

    Example:
        >>> value, slope = sawtooth(torch.tensor([-1.5, -0.75, 0.1, 0.75]), (-1, 1), window=2)
        >>> [round(v, 6) for v in value.tolist()], slope.int().tolist()
        ([1.0, 0.5, 0.0, 0.5], [-2, 2, 0, -2])
    """
    u, back = _in_memory_order(u)
    index = _index(u, levels)
    distance = u - u.new_tensor(levels)[index]
    value, slope = 2 * distance.abs(), 2 * distance.sign()
    if window == math.inf:
        return value.permute(back), slope.permute(back)
    gaps = [b - a for a, b in pairwise(levels)]
    reach = 1 - 1 / window
    # How far the saw-tooth reaches from a level down and up; from the outermost ones outwards it has no end.
    down, up = (u.new_tensor(part) * reach for part in ([1, *gaps], [*gaps, 1]))
    down[0] = up[-1] = math.inf
    active = value <= torch.where(distance < 0, down[index], up[index])
    return (value * active).permute(back), (slope * active).permute(back)


def weighed_sum(w: Tensor, step: Tensor, multiplier: Tensor, levels: Sequence[int], window: float) -> Tensor:
    """Return ``sum(multiplier * cs(w))``, a scalar in units of the weight, with the derivative by hand.

    The derivative is ``multiplier * dcs/dw``; the window is never differentiated through, and the step is a constant.

    Args:
        w: weights, any shape, single or double precision.
        step: real value of one code; broadcasts against ``w``.
        multiplier: one factor per weight, >= 0.
        levels: whole numbers, ascending.
        window: g, at least 1.

    Example:
        >>> w = torch.tensor([0.75, 1.5], requires_grad=True)
        >>> weighed_sum(w, torch.ones(1), torch.tensor([0.5, 1.0]), (-1, 1), window=2.0).backward()
        >>> w.grad.tolist()
        [-1.0, 2.0]
    """
    with torch.no_grad():
        value, slope = sawtooth(w.detach() / step, levels, window)
        total = (value * step * multiplier).sum()
        slope = slope * multiplier
    return cast(Tensor, _WithSlope.apply(w, total, slope))


class _WithSlope(torch.autograd.Function):
    """Return ``total``, whose derivative with respect to ``w`` is ``slope``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(w: Tensor, total: Tensor, slope: Tensor) -> Tensor:
        return total.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[2])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return grads[0] * slope, None, None
