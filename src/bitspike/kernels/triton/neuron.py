"""The fused time loop on CUDA: IF, LIF, PLIF and the signed neuron, alone or after a batch norm and a residual.

Spikes equal those of the plain loop bit for bit in single precision; gradients equal it to rounding. Only the input,
and a residual where there is one, are kept for the backward pass, which computes the potentials again. A learned decay
and all statistics stay on the device: nothing waits for it, but the comparison at the first use of each kind of layer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from bitspike.kernels.cpp.memory import like
from bitspike.kernels.norm import Norm
from bitspike.kernels.triton.call import Kernels, call
from bitspike.kernels.triton.launch import Loop, dense, run_backward, run_forward, surrogate_numbers
from bitspike.kernels.triton.norm import norm_fits
from bitspike.kernels.triton.support import attempt, available
from bitspike.kernels.triton.trial import passed, plain_gradients
from bitspike.ops.dynamics import Rule
from bitspike.ops.grids import is_power_of_two

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def fused_neuron(
    x: Tensor,
    *,
    threshold: float | Tensor,
    decay: float | Tensor | None,
    rule: Rule,
    initial: float | Tensor,
    retract: float | None = None,
    norm: Norm | None = None,
    residual: Tensor | None = None,
) -> Tensor | None:
    """Run a neuron over all steps from rest, or return None where the plain loop has to do it.

    Arguments and result as those of :func:`bitspike.kernels.neuron.fused_neuron`. Currents may be float16 too, their
    steps any distance apart, and memory that is not dense is copied; a learned decay is float32, a resolution a power
    of two; a residual needs no norm.
    """
    if not (
        usable(x, norm, residual, channel_axis=2)
        and surrogate_numbers(rule.surrogate) is not None
        and _resolved(rule.resolution)
        and (retract is None or (decay is None and rule.reset == "soft"))
    ):
        return None
    if isinstance(decay, Tensor) and not (decay.numel() == 1 and decay.dtype == torch.float32 and _near(x, decay)):
        return None
    numbers = _spread(x, threshold), _spread(x, initial)
    if numbers[0] is None or numbers[1] is None:
        return None
    x = dense(x)
    if residual is not None and residual.stride()[1:] != x.stride()[1:]:
        residual = like(x).to(residual.dtype).copy_(residual)
    loop = Loop(
        rule,
        numbers[0],
        numbers[1],
        decay.reshape(()) if isinstance(decay, Tensor) else decay,
        retract,
        None if norm is None else (x.new_empty(()),) * 3,
        residual,
    )
    kernels = Kernels("decay", run_forward, run_backward, plain_gradients)
    return attempt(lambda: call(x, loop, norm, kernels)) if passed(x, loop) else None


def usable(x: Tensor, norm: Norm | None, residual: Tensor | None, *, channel_axis: int) -> bool:
    """Tell whether the kernels can run on ``x``, given the norm and the residual that follow it."""
    return (
        available(x.device)
        and _plain_tensor(x)
        and x.dtype in DTYPES
        and x.dim() >= channel_axis
        and x.numel() > 0
        and not torch.compiler.is_compiling()
        and (norm is None or norm_fits(x, norm, axis=channel_axis))
        and (residual is None or (residual.shape == x.shape and residual.dtype in DTYPES and _near(x, residual)))
    )


def _plain_tensor(x: Tensor) -> bool:
    """Tell whether ``x`` is no subclass with an arithmetic of its own."""
    return type(x) in (Tensor, torch.nn.Parameter)


def _near(x: Tensor, other: Tensor) -> bool:
    return _plain_tensor(other) and other.device == x.device


def _resolved(resolution: float | None) -> bool:
    """Tell whether dividing by the resolution is exact: torch divides on CUDA by multiplying with the inverse."""
    return resolution is None or (abs(math.log2(resolution)) <= 100 and is_power_of_two(resolution))


def _spread(x: Tensor, value: float | Tensor) -> float | Tensor | None:
    """Return a number, or one for each channel [C] in single precision; None for what does not fit."""
    if not isinstance(value, Tensor):
        return float(value)
    channels = x.shape[2] if x.dim() > 2 else 1
    if value.requires_grad or value.dim() > 1 or value.numel() not in (1, channels) or not _near(x, value):
        return None
    return value.to(torch.float32).expand(channels).contiguous()
