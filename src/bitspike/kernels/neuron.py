"""The fused time loop of IF, LIF and PLIF neurons as one differentiable call.

Spikes equal those of the plain loop bit for bit; gradients equal it to the rounding of single precision. Only the input
is kept for the backward pass, which computes the potentials again: T times less to store than the plain loop keeps.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, cast

import torch
from torch import Tensor

from bitspike.kernels.native import NeuronStruct, library
from bitspike.ops.dynamics import Rule
from bitspike.ops.surrogate import ArcTan, Rectangle, Surrogate, Triangle

_HARD, _STRICT, _LEAK_AFTER, _DECAY_INPUT, _DETACH, _LEAKS, _LEARNED = 1, 2, 4, 8, 16, 32, 64


def fused_neuron(
    x: Tensor, *, threshold: float | Tensor, decay: float | Tensor | None, rule: Rule, initial: float
) -> Tensor | None:
    """Run a neuron over all steps from rest, or return None where the plain loop has to do it.

    Args:
        x: [T, N, ...] currents, float32 or bfloat16, on the CPU; any dense layout of [N, ...], and a step stride of 0.
        threshold: one number; thresholds per channel take the plain loop.
        decay: a number, a learned scalar tensor, or None for a neuron without a leak.
        rule: comparison, reset, leak, surrogate.
        initial: potential before the first step.

    Returns:
        spikes [T, N, ...] in the dtype and layout of ``x``.
    """
    surrogate = _surrogate(rule.surrogate)
    if (
        library() is None
        or surrogate is None
        or isinstance(threshold, Tensor)
        or type(x) not in (Tensor, torch.nn.Parameter)
        or x.device.type != "cpu"
        or x.dtype not in (torch.float32, torch.bfloat16)
        or x.numel() == 0
        or torch.compiler.is_compiling()
    ):
        return None
    learned = decay if isinstance(decay, Tensor) else None
    leak = 1.0 if decay is None else decay.item() if isinstance(decay, Tensor) else decay
    neuron = NeuronStruct(
        decay=leak,
        input_gain=1.0 if not rule.decay_input else (1 - learned).item() if learned is not None else 1 - leak,
        threshold=threshold,
        v_reset=rule.v_reset,
        initial=initial,
        resolution=rule.resolution or 0.0,
        center=rule.surrogate.center,
        a=surrogate[1],
        b=surrogate[2],
        flags=_HARD * (rule.reset == "hard")
        | _STRICT * (rule.fire == "gt")
        | _LEAK_AFTER * (rule.leak == "after")
        | _DECAY_INPUT * rule.decay_input
        | _DETACH * rule.detach_reset
        | _LEAKS * (decay is not None)
        | _LEARNED * (learned is not None),
        surrogate=surrogate[0],
    )
    return cast(Tensor, _Fused.apply(_dense(x), learned, neuron))


def _surrogate(surrogate: Surrogate) -> tuple[int, float, float] | None:
    """Return what the library calls a surrogate, and its two numbers; None for one that it does not know."""
    match surrogate:
        case Rectangle():
            return 0, surrogate.width / 2, 1 / surrogate.width
        case Triangle():
            return 1, 1 / surrogate.width, 1 / surrogate.width if surrogate.height is None else surrogate.height
        case ArcTan():
            return 2, math.pi / 2 * surrogate.alpha, surrogate.alpha / 2
    return None


def _dense(x: Tensor) -> Tensor:
    """Return ``x`` with each step in one piece of memory, in whatever order of axes; steps may share it."""
    if torch.ops.aten.is_non_overlapping_and_dense(x[0]) and x.stride(0) in (0, x[0].numel()):
        return x
    return x.contiguous()


def _like(x: Tensor) -> Tensor:
    """Return empty memory in the layout of ``x``, with a piece of its own for every step."""
    return torch.empty_strided(x.shape, (x[0].numel(), *x.stride()[1:]), dtype=x.dtype)


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor | None, neuron: NeuronStruct) -> Tensor:
        out = _like(x)
        native = library()
        assert native is not None
        native.bitspike_forward(
            ctypes.byref(neuron), x.dtype == torch.bfloat16, x.data_ptr(), out.data_ptr(), *_sizes(x)
        )
        ctx.save_for_backward(x)
        ctx.neuron, ctx.decay = neuron, decay
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        (x,) = ctx.saved_tensors
        dx = _like(x)
        grad = grads[0]
        if grad.stride() != dx.stride() or grad.dtype != x.dtype:
            grad = _like(x).copy_(grad)
        native = library()
        assert native is not None
        ddecay = native.bitspike_backward(
            ctypes.byref(ctx.neuron),
            x.dtype == torch.bfloat16,
            x.data_ptr(),
            grad.data_ptr(),
            dx.data_ptr(),
            *_sizes(x),
        )
        return dx, None if ctx.decay is None else torch.full_like(ctx.decay, ddecay), None


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    total = x[0].numel()
    return x.shape[0], x.stride(0) if x.shape[0] > 1 else total, total, torch.get_num_threads()
