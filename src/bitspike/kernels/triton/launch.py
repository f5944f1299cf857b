"""Launch the Triton time loop on tensors: layouts, grids and scratch memory, and nothing of autograd.

Everything runs on the current stream of the tensors' device. The gradient of a learned decay is summed in two stages,
each in a fixed order: by every program, then over the programs. No atomic additions: the same input, the same bits.
"""

from __future__ import annotations

import functools
import importlib
import math
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitspike.kernels.cpp.memory import like
from bitspike.ops.dynamics import Rule
from bitspike.ops.surrogate import ArcTan, PiecewiseExponential, Rectangle, Sigmoid, Surrogate, Triangle

BLOCK = 512
"""Elements of one program: four a thread, of four warps."""

UNROLLED = 8
"""Up to so many steps are unrolled, with all their potentials in registers."""

SCRATCH = 2**27
"""Bytes of scratch memory for longer runs; exceeded only to give every multiprocessor one program."""

OPTIONS: dict[str, Any] = {"BLOCK": BLOCK, "num_warps": 4, "enable_fp_fusion": False}
"""Without fusion a product and a sum round one by one, as those of plain torch do. Triton's compiler contracts them
where it is not told otherwise (triton-lang/triton, pull requests 2495 and 11270)."""


class Loop(NamedTuple):
    """One call of a neuron: everything but its input."""

    rule: Rule
    threshold: float | Tensor
    """One for all, or [C] in single precision, as ``initial``."""
    initial: float | Tensor
    decay: float | Tensor | None
    """None: no leak. A tensor holds one number in single precision and is read on the device only."""
    retract: float | None = None
    """Given for the signed neuron."""
    affine: tuple[Tensor, Tensor, Tensor] | None = None
    """mean, scale and shift, each [C] in single precision: the neuron reads ``(x - mean) * scale + shift``."""
    residual: Tensor | None = None
    """Added to it; [T, N, ...] in the layout of the input, its steps any distance apart."""


def run_forward(x: Tensor, loop: Loop) -> Tensor:
    """Return the spikes [T, N, ...] in the dtype and layout of ``x``, whose steps are dense (:func:`dense`)."""
    out = like(x)
    steps, total = x.shape[0], x[0].numel()
    pointers, (x_stride, *sizes), numbers, flags = _arguments(x, loop)
    with on(x.device):
        _code().forward[(_blocks(total),)](
            x,
            out,
            *pointers,
            total,
            x_stride,
            *sizes,
            *numbers,
            **flags,
            STEPS=steps,
            UNROLL=unrolled(steps),
            **OPTIONS,
        )
    return out


def run_backward(x: Tensor, grad: Tensor, loop: Loop) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of what the neuron reads after norm and residual, like ``x``, and of a learned decay.

    ``grad`` [T, N, ...] is that of the spikes, in any layout; the gradient of the decay is in double precision.
    """
    dx = like(x)
    if grad.stride()[1:] != dx.stride()[1:] or grad.dtype != x.dtype:
        grad = like(x).copy_(grad)
    steps, total = x.shape[0], x[0].numel()
    blocks = _blocks(total)
    short = unrolled(steps)
    planes = 1 if loop.retract is None else 2
    programs = blocks if short else min(blocks, programs_at_once(x.device, 4 * BLOCK * steps * planes))
    partial = None
    if isinstance(loop.decay, Tensor):
        partial = torch.empty(programs, dtype=torch.float32, device=x.device)
    kind, a, b = surrogate_numbers(loop.rule.surrogate) or (0, 0.0, 0.0)
    pointers, (x_stride, *sizes), numbers, flags = _arguments(x, loop)
    rest = (total, x_stride, grad.stride(0), *sizes, *numbers, loop.rule.surrogate.center, a, b)
    flags |= {"DETACH": loop.rule.detach_reset, "KIND": kind, "STEPS": steps}
    scratch = None
    if not short:
        scratch = torch.empty(programs * steps * planes * BLOCK, dtype=torch.float32, device=x.device)
    with on(x.device):
        _code().backward[(programs,)](x, grad, dx, partial, scratch, *pointers, *rest, **flags, UNROLL=short, **OPTIONS)
    return dx, None if partial is None else partial.double().sum()


def _blocks(total: int) -> int:
    return -(-total // BLOCK)


def _code() -> ModuleType:
    """Import the kernels, and with them Triton."""
    return importlib.import_module("bitspike.kernels.triton.loop")


def flags_of(loop: Loop) -> dict[str, Any]:
    """Return what the kernels are compiled for."""
    rule = loop.rule
    leak = 0 if loop.decay is None else 1 if rule.leak == "before" else 2
    return {
        "HARD": rule.reset == "hard",
        "STRICT": rule.fire == "gt",
        "LEAK": leak,
        "DECAY_INPUT": rule.decay_input and leak > 0,
        "ROUNDED": rule.resolution is not None and leak > 0,
        "SIGNED": loop.retract is not None,
        "LEARNED": isinstance(loop.decay, Tensor),
        "THETAS": isinstance(loop.threshold, Tensor),
        "INITIALS": isinstance(loop.initial, Tensor),
        "NORM": loop.affine is not None,
        "RESIDUAL": loop.residual is not None,
    }


def surrogate_numbers(surrogate: Surrogate) -> tuple[int, float, float] | None:
    """Return what the kernels, native ones too, call a surrogate, and its two numbers; None where they know none."""
    # Of exactly these classes: a subclass may have another derivative.
    kind: type[Surrogate] = type(surrogate)
    if kind not in (Rectangle, Triangle, ArcTan, Sigmoid, PiecewiseExponential):
        return None
    match surrogate:
        case Rectangle():
            return 0, surrogate.width / 2, 1 / surrogate.width
        case Triangle():
            return 1, 1 / surrogate.width, 1 / surrogate.width if surrogate.height is None else surrogate.height
        case ArcTan():
            return 2, math.pi / 2 * surrogate.alpha, surrogate.alpha / 2
        case Sigmoid():
            return 3, surrogate.alpha, surrogate.alpha
        case PiecewiseExponential():
            return 4, surrogate.alpha, surrogate.alpha / 2
    return None


def unrolled(steps: int) -> bool:
    """Tell whether so many steps are unrolled; Triton 3.2 cannot keep a row of values in registers."""
    return steps <= UNROLLED and _has_tuples()


def dense(x: Tensor) -> Tensor:
    """Return ``x`` with each step in one piece of memory, in whatever order of axes; steps lie any distance apart."""
    return x if torch.ops.aten.is_non_overlapping_and_dense(x[0]) else x.contiguous()


def on(device: torch.device) -> AbstractContextManager[Any]:
    """Make ``device`` the current one, whose current stream a launch takes."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def programs_at_once(device: torch.device, size: int) -> int:
    """Return how many programs with ``size`` bytes of scratch each run at a time."""
    processors = torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
    return max(processors, min(8 * processors, SCRATCH // size))


@functools.cache
def _has_tuples() -> bool:
    return hasattr(_code().tl, "tuple")


def _arguments(x: Tensor, loop: Loop) -> tuple[list[Any], list[int], list[float], dict[str, Any]]:
    """Return pointers, sizes, numbers and flags in the order in which both kernels take them."""
    rule, decay = loop.rule, loop.decay
    channels = x.shape[2] if x.dim() > 2 else 1
    inner = x.stride(2) if channels > 1 else 1
    # In double precision, as the plain loop computes 1 - decay before torch makes single precision of it.
    leak = decay if isinstance(decay, float) else 1.0
    resolution = rule.resolution or 1.0
    threshold, initial, residual = loop.threshold, loop.initial, loop.residual
    pointers = [
        residual,
        threshold if isinstance(threshold, Tensor) else None,
        initial if isinstance(initial, Tensor) else None,
        *(loop.affine or (None, None, None)),
        decay if isinstance(decay, Tensor) else None,
    ]
    sizes = [x.stride(0), 0 if residual is None else residual.stride(0), inner, channels]
    numbers = [
        0.0 if isinstance(threshold, Tensor) else threshold,
        0.0 if isinstance(initial, Tensor) else initial,
        leak,
        1 - leak,
        rule.v_reset,
        resolution,
        1 / resolution,
        loop.retract or 0.0,
    ]
    return pointers, sizes, [float(n) for n in numbers], flags_of(loop)
