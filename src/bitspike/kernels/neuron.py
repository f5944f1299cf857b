"""The fused time loop of IF, LIF, PLIF and signed IF neurons as one differentiable call, alone or after a batch norm.

Spikes equal those of the plain loop bit for bit; gradients equal it to the rounding of single precision. Only the input
is kept for the backward pass, which computes the potentials again: T times less to store than the plain loop keeps.
"""

from __future__ import annotations

import ctypes
import math
from ctypes import POINTER, Structure, c_double, c_float, c_int32, c_void_p

import torch
from torch import Tensor

from bitspike.kernels import norm as norms
from bitspike.kernels.cpp import loader as native
from bitspike.kernels.cpp.memory import AFFINE, LAYER, per_channel, pointer, usable
from bitspike.kernels.fused import Loop, run
from bitspike.kernels.norm import Norm
from bitspike.kernels.triton import neuron as triton_neuron
from bitspike.kernels.triton import support as triton_support
from bitspike.kernels.triton.launch import surrogate_numbers
from bitspike.ops.dynamics import Rule

ABI = 3
CHANNEL_AXIS = 2
_HARD, _LEAK_AFTER, _DECAY_INPUT, _DETACH, _LEAKS, _LEARNED, _SIGNED, _WORTH = (1 << bit for bit in range(8))


class NeuronStruct(Structure):
    """One neuron layer as the library sees it; the fields of ``struct Neuron`` in neuron.cpp, in its order."""

    _fields_ = (
        *[
            (name, c_float)
            for name in (
                "decay",
                "input_gain",
                "threshold",
                "bar",
                "v_reset",
                "initial",
                "resolution",
                "center",
                "a",
                "b",
                "retract",
                "worth",
            )
        ],
        ("flags", c_int32),
        ("surrogate", c_int32),
        ("thresholds", c_void_p),
        ("bars", c_void_p),
        ("initials", c_void_p),
    )


_SIGNATURES: dict[str, native.Signature] = {
    "bitspike_neuron_forward": (None, (POINTER(NeuronStruct), LAYER, AFFINE, *[c_void_p] * 3)),
    "bitspike_neuron_backward": (c_double, (POINTER(NeuronStruct), LAYER, AFFINE, *[c_void_p] * 5)),
}


def library() -> ctypes.CDLL | None:
    """Return the native library, or None where plain torch is used."""
    return native.load("neuron", ABI, _SIGNATURES)


def fused_neuron(
    x: Tensor,
    *,
    threshold: float | Tensor,
    decay: float | Tensor | None,
    rule: Rule,
    initial: float | Tensor,
    retract: float | None = None,
    worth: Tensor | None = None,
    norm: Norm | None = None,
    residual: Tensor | None = None,
) -> Tensor | None:
    """Run a neuron over all steps from rest, or return None where the plain loop has to do it.

    Args:
        x: [T, N, ...] currents, float32 or bfloat16, on the CPU; any dense layout of [N, ...], and a step stride of 0.
            Channels, where something is given per channel, are axis 2. Tensors on other devices are for Triton.
        threshold: one number, or one per channel [C].
        decay: a number, a learned scalar tensor, or None for a neuron without a leak.
        rule: comparison, reset, leak, surrogate.
        initial: potential before the first step; one number, or one per channel [C].
        retract: how far below zero a signed neuron takes a spike back; None for any other neuron.
        worth: of a spike, a scalar float32 tensor above 0 with a gradient of its own: currents are divided by it, and
            it is sent for a spike; None for 1.
        norm: normalize ``x`` first. In training its running statistics are moved.
        residual: [T, N, C, ...], added to what the norm gives; only with a norm.

    Returns:
        spikes [T, N, ...], times their worth, in the dtype and layout of ``x``.
    """
    # The kernels round a leak down.
    if rule.rounding != "floor" and rule.resolution is not None and decay is not None:
        return None
    if x.device.type != "cpu" or triton_support.interpreting():
        if worth is not None:
            return None
        return triton_neuron.fused_neuron(
            x,
            threshold=threshold,
            decay=decay,
            rule=rule,
            initial=initial,
            retract=retract,
            norm=norm,
            residual=residual,
        )
    surrogate = surrogate_numbers(rule.surrogate)
    thresholds, initials = _values(threshold), _values(initial)
    native_library = library()
    if (
        native_library is None
        or surrogate is None
        or not usable(x)
        or not _fits(x, thresholds)
        or not _fits(x, initials)
        or (isinstance(decay, Tensor) and decay.numel() != 1)
        or (norm is None and residual is not None)
        or (norm is not None and not norms.fits(x, norm, CHANNEL_AXIS))
        or (residual is not None and residual.shape != x.shape)
        or (worth is not None and (isinstance(decay, Tensor) or not _one_number(worth)))
    ):
        return None
    learned = worth if worth is not None else decay if isinstance(decay, Tensor) else None
    leak = 1.0 if decay is None else decay.item() if isinstance(decay, Tensor) else decay
    bars = _bars(thresholds, rule)
    neuron = NeuronStruct(
        decay=leak,
        input_gain=1.0
        if not rule.decay_input or decay is None
        else (1 - decay).item()
        if isinstance(decay, Tensor)
        else 1 - leak,
        threshold=0.0 if isinstance(thresholds, Tensor) else thresholds,
        bar=0.0 if isinstance(bars, Tensor) else bars,
        v_reset=rule.v_reset,
        initial=0.0 if isinstance(initials, Tensor) else initials,
        resolution=rule.resolution or 0.0,
        center=rule.surrogate.center,
        a=surrogate[1],
        b=surrogate[2],
        retract=retract or 0.0,
        worth=1.0 if worth is None else worth.item(),
        flags=_HARD * (rule.reset == "hard" and retract is None)
        | _LEAK_AFTER * (rule.leak == "after")
        | _DECAY_INPUT * rule.decay_input
        | _DETACH * rule.detach_reset
        | _LEAKS * (decay is not None)
        | _LEARNED * isinstance(decay, Tensor)
        | _SIGNED * (retract is not None)
        | _WORTH * (worth is not None and worth.requires_grad),
        surrogate=surrogate[0],
        thresholds=pointer(thresholds) if isinstance(thresholds, Tensor) else None,
        bars=pointer(bars) if isinstance(bars, Tensor) else None,
        initials=pointer(initials) if isinstance(initials, Tensor) else None,
    )
    alive = (thresholds, bars, initials)
    by_channel = norm is not None or any(isinstance(values, Tensor) for values in alive)
    run_forward, run_backward = native_library.bitspike_neuron_forward, native_library.bitspike_neuron_backward
    loop = Loop(run_forward, run_backward, neuron, norm, CHANNEL_AXIS if by_channel else None, alive)
    return run(loop, x, residual, learned)


def _values(value: float | Tensor) -> float | Tensor:
    """Return one number, or float32 [C]; a tensor that learns is returned as it is, and fits nowhere."""
    if not isinstance(value, Tensor) or value.requires_grad:
        return value
    return value.item() if value.numel() == 1 else value.detach().float().contiguous()


def _fits(x: Tensor, values: float | Tensor) -> bool:
    return not isinstance(values, Tensor) or (
        not values.requires_grad and x.dim() > CHANNEL_AXIS and per_channel(values, x.shape[CHANNEL_AXIS])
    )


def _one_number(worth: Tensor) -> bool:
    return worth.numel() == 1 and worth.dtype == torch.float32 and worth.device.type == "cpu" and usable(worth)


def _bars(thresholds: float | Tensor, rule: Rule) -> float | Tensor:
    """Return what a potential has to reach, in single precision: h > threshold is h >= the next number above it."""
    if rule.fire == "ge":
        return thresholds
    values = thresholds if isinstance(thresholds, Tensor) else torch.tensor(thresholds, dtype=torch.float32)
    above = values.nextafter(torch.tensor(math.inf))
    return above if isinstance(thresholds, Tensor) else above.item()
