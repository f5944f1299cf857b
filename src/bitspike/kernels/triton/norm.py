"""The batch norm before a neuron or an activation on CUDA: statistics and gradients by torch's own kernels.

    y = (x - mean) * gain' + shift        gain' = gain / sqrt(var + eps)

in the order of :mod:`bitspike.kernels.norm`, with gain' computed in double precision and rounded once. What has to be
reduced over batch, time and space is torch's, in at least single precision, for either layout of memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.norm import Norm, by_batch


class Statistics(NamedTuple):
    """Mean, biased variance and ``1 / sqrt(var + eps)`` of every channel, each [C] in single precision."""

    mean: Tensor
    var: Tensor
    inverse: Tensor


def norm_fits(x: Tensor, norm: Norm, *, axis: int) -> bool:
    """Tell whether the norm's numbers are [C], of that axis of ``x``, float32 on its device, with enough to average."""
    if x.dim() <= axis:
        return False
    channels = x.shape[axis]
    return (
        all(
            values is None
            or (values.shape == (channels,) and values.dtype == torch.float32 and values.device == x.device)
            for values in norm[:4]
        )
        and (norm.running_mean is None) == (norm.running_var is None)
        and (x.numel() > channels or not by_batch(norm))  # torch refuses to take the variance of one value
    )


def statistics(x: Tensor, norm: Norm) -> Statistics:
    """Return the statistics that normalize ``x`` [N, C, ...]: its own in training, the running ones otherwise."""
    if by_batch(norm):
        # torch's own reduction keeps half precision's statistics wide if it is handed wide ones to update.
        wide: dict[str, Any] = {"dtype": torch.float32, "device": x.device}
        kept = torch.zeros(x.shape[1], **wide), torch.ones(x.shape[1], **wide)
        mean, var = torch.batch_norm_update_stats(x, *kept, 0.0)
    else:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        mean, var = norm.running_mean, norm.running_var
    return Statistics(mean, var, torch.rsqrt(var.double() + norm.eps).float())


def affine(norm: Norm, seen: Statistics) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, gain' and shift, each [C], as the kernels take them."""
    with torch.no_grad():
        scale = torch.sqrt(seen.var.double() + norm.eps)
        scale = (1 / scale if norm.gain is None else norm.gain.double() / scale).float()
        return seen.mean, scale, torch.zeros_like(seen.mean) if norm.shift is None else norm.shift.detach()


def update(x: Tensor, norm: Norm, seen: Statistics) -> None:
    """Move the running statistics of a norm in training towards those of ``x`` [N, C, ...], its variance unbiased."""
    if norm.training and norm.running_mean is not None and norm.running_var is not None:
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            norm.running_mean.lerp_(seen.mean, norm.momentum)
            norm.running_var.lerp_(seen.var * (count / (count - 1)), norm.momentum)


def norm_backward(
    grad: Tensor, x: Tensor, gain: Tensor | None, seen: Statistics, norm: Norm
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of ``x`` [N, C, ...], gain and shift, given that of the normalized values."""
    # torch 2.11 stops on CUDA where the shift's gradient is asked for and there is no gain.
    ones = torch.ones_like(seen.mean) if gain is None else gain
    dx, dgain, dshift = torch.ops.aten.native_batch_norm_backward(
        grad, x, ones, seen.mean, seen.var, seen.mean, seen.inverse, by_batch(norm), norm.eps, [True] * 3
    )
    return dx, None if gain is None else dgain, dshift
