# mypy: ignore-errors
"""The quantized ReLU in Triton, forward and backward, alone or after a batch norm and a residual.

The equations and the order of operations are those of :mod:`bitspike.ops.activation`; divisions round to nearest, as
those of plain torch on a CPU do. This file imports Triton: it is imported late.
"""

from __future__ import annotations

from bitspike.kernels.triton.compat import jit, tl
from bitspike.kernels.triton.equations import current, numbers


@jit
def share(y, clip, levels):
    """Return the code divided by its largest value: round(min(y / clip, 1) * levels) / levels, ties to even."""
    code = tl.math.div_rn(y, clip)
    # Comparisons, as minimum and maximum do, would lose NaN if they took the other side.
    code = tl.where(code < 0.0, 0.0, code)
    code = tl.where(code > 1.0, 1.0, code) * levels
    # Beyond 2**23 single precision holds whole numbers only: the sum rounds, to nearest and to even.
    code = (code + 12582912.0) - 12582912.0
    return tl.math.div_rn(code, levels)


@jit
def forward(
    x,
    out,
    residual,
    means,
    scales,
    shifts,
    clips,
    total,
    inner,
    channels,
    levels,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the activations of ``total`` values."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < total
    _, _, mean, scale, shift = numbers(
        at, inner, channels, means, means, means, scales, shifts, 0.0, 0.0, False, False, NORM
    )
    clip = tl.zeros((BLOCK,), dtype=tl.float32) + tl.load(clips)
    y = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
    steps = tl.zeros((BLOCK,), dtype=tl.float32) + levels
    tl.store(out + at, (share(y, clip, steps) * clip).to(out.dtype.element_ty), mask=live)


@jit
def backward(
    x,
    grad,
    dx,
    partial,
    residual,
    means,
    scales,
    shifts,
    clips,
    total,
    inner,
    channels,
    levels,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient of what is clipped, and each program's part of the gradient of the clip."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < total
    _, _, mean, scale, shift = numbers(
        at, inner, channels, means, means, means, scales, shifts, 0.0, 0.0, False, False, NORM
    )
    clip = tl.zeros((BLOCK,), dtype=tl.float32) + tl.load(clips)
    y = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
    g = tl.load(grad + at, mask=live, other=0.0).to(tl.float32)
    inside = tl.where((y > 0.0) & (y <= clip), 1.0, 0.0)
    tl.store(dx + at, (g * inside).to(dx.dtype.element_ty), mask=live)
    steps = tl.zeros((BLOCK,), dtype=tl.float32) + levels
    # Above the clip y / clip counts as 0, below zero too.
    part = share(y, clip, steps) - tl.where(y > clip, 0.0, tl.where(y < 0.0, 0.0, tl.math.div_rn(y, clip)))
    tl.store(partial + tl.program_id(0), tl.sum(tl.where(live, g * part, 0.0), axis=0))
