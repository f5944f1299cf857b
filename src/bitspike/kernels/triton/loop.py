# mypy: ignore-errors
# ruff: noqa: RUF005 - Triton knows no unpacking
"""The time loop of every neuron in Triton, forward and backward: each element's potential stays in a register.

One program takes BLOCK elements of a step through all T of them. Steps lie a stride apart, which may be 0; within a
step elements are taken in the order of memory, so any dense layout will do, and a channel is found as
``(position // inner) % channels``. The backward pass computes the potentials again from the input: a short run is
unrolled and keeps them in registers, a long one in scratch memory of the program. Words as in ``triton_equations``.

This file imports Triton: :mod:`bitspike.kernels.triton.launch` imports it, and late.
"""

from __future__ import annotations

from bitspike.kernels.triton.compat import jit, tl
from bitspike.kernels.triton.equations import by_decay, charge, current, fire, numbers, pass_on, retreat


@jit
def forward(
    x,
    out,
    residual,
    thetas,
    initials,
    means,
    scales,
    shifts,
    decays,
    total,
    x_stride,
    residual_stride,
    inner,
    channels,
    theta,
    initial,
    decay,
    gain,
    v_reset,
    resolution,
    inverse,
    retract,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    ROUNDED: tl.constexpr,
    SIGNED: tl.constexpr,
    LEARNED: tl.constexpr,
    THETAS: tl.constexpr,
    INITIALS: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    STEPS: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the spikes [STEPS, total] of currents whose steps lie x_stride apart."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < total
    theta, initial, mean, scale, shift = numbers(
        at, inner, channels, thetas, initials, means, scales, shifts, theta, initial, THETAS, INITIALS, NORM
    )
    if LEARNED:
        decay = tl.load(decays)
        gain = 1.0 - decay
    sent = tl.zeros((BLOCK,), dtype=tl.float32)
    v = sent + initial
    if UNROLL:
        # All loads come before the first store, which the compiler could not move them across.
        currents = ()
        for _ in tl.static_range(STEPS):
            currents = currents + (current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL),)
            x += x_stride
            if RESIDUAL:
                residual += residual_stride
        for t in tl.static_range(STEPS):
            h = charge(v, currents[t], decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
            s, v, sent = fire(h, sent, theta, v_reset, retract, HARD, STRICT, SIGNED)
            tl.store(out + at, s.to(out.dtype.element_ty), mask=live)
            out += total
    else:
        for _ in range(STEPS):
            i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
            h = charge(v, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
            s, v, sent = fire(h, sent, theta, v_reset, retract, HARD, STRICT, SIGNED)
            tl.store(out + at, s.to(out.dtype.element_ty), mask=live)
            x += x_stride
            out += total
            if RESIDUAL:
                residual += residual_stride


@jit
def backward_short(
    x,
    grad,
    dx,
    partial,
    residual,
    thetas,
    initials,
    means,
    scales,
    shifts,
    decays,
    total,
    x_stride,
    grad_stride,
    residual_stride,
    inner,
    channels,
    theta,
    initial,
    decay,
    gain,
    v_reset,
    resolution,
    inverse,
    retract,
    peak,
    a,
    b,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    ROUNDED: tl.constexpr,
    SIGNED: tl.constexpr,
    LEARNED: tl.constexpr,
    THETAS: tl.constexpr,
    INITIALS: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    DETACH: tl.constexpr,
    KIND: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient [STEPS, total] of the currents, and each program's part of the gradient of the decay."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = at < total
    theta, initial, mean, scale, shift = numbers(
        at, inner, channels, thetas, initials, means, scales, shifts, theta, initial, THETAS, INITIALS, NORM
    )
    if LEARNED:
        decay = tl.load(decays)
        gain = 1.0 - decay
    ddecay = tl.zeros((BLOCK,), dtype=tl.float32)
    sent = tl.zeros((BLOCK,), dtype=tl.float32)
    v = sent + initial
    # ``kept`` is h; for a learned decay it is v, from which h follows with the current, which is read again anyway.
    kept = ()
    gs = ()
    backs = tl.zeros((BLOCK,), dtype=tl.int32)  # bit t: a spike could be taken back at step t
    for t in tl.static_range(STEPS):
        i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
        gs = gs + (tl.load(grad + at, mask=live, other=0.0),)
        h = charge(v, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
        if LEARNED:
            kept = kept + (v,)
        else:
            kept = kept + (h,)
        if SIGNED:
            backs = backs | tl.where(sent > 0.0, 1 << t, 0)
        _s, v, sent = fire(h, sent, theta, v_reset, retract, HARD, STRICT, SIGNED)
        x += x_stride
        grad += grad_stride
        dx += total
        if RESIDUAL:
            residual += residual_stride
    gv = tl.zeros((BLOCK,), dtype=tl.float32)
    for t in tl.static_range(STEPS - 1, -1, -1):
        x -= x_stride
        dx -= total
        if RESIDUAL:
            residual -= residual_stride
        h = kept[t]
        if LEARNED:
            i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
            h = charge(kept[t], i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
        g = gs[t].to(tl.float32)
        back = (backs >> t) & 1
        gh = retreat(g, gv, h, back, theta, v_reset, retract, peak, a, b, HARD, STRICT, SIGNED, DETACH, KIND)
        if LEARNED:
            ddecay += gh * by_decay(kept[t], i, decay, gain, LEAK, DECAY_INPUT)
        gv, di = pass_on(gh, decay, gain, LEAK, DECAY_INPUT)
        tl.store(dx + at, di.to(dx.dtype.element_ty), mask=live)
    if LEARNED:
        tl.store(partial + tl.program_id(0), tl.sum(ddecay, axis=0))


@jit
def backward_long(
    x,
    grad,
    dx,
    partial,
    scratch,
    residual,
    thetas,
    initials,
    means,
    scales,
    shifts,
    decays,
    total,
    x_stride,
    grad_stride,
    residual_stride,
    inner,
    channels,
    theta,
    initial,
    decay,
    gain,
    v_reset,
    resolution,
    inverse,
    retract,
    peak,
    a,
    b,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr,
    ROUNDED: tl.constexpr,
    SIGNED: tl.constexpr,
    LEARNED: tl.constexpr,
    THETAS: tl.constexpr,
    INITIALS: tl.constexpr,
    NORM: tl.constexpr,
    RESIDUAL: tl.constexpr,
    DETACH: tl.constexpr,
    KIND: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient [STEPS, total] of the currents, and each program's part of the gradient of the decay.

    A program takes one block after the other, with the potentials in its own piece of ``scratch``
    [programs, STEPS, planes, BLOCK]. The signed neuron has a second plane there, for ``sent``.
    """
    lane = tl.arange(0, BLOCK)
    if LEARNED:
        decay = tl.load(decays)
        gain = 1.0 - decay
    ddecay = tl.zeros((BLOCK,), dtype=tl.float32)
    planes = 1
    if SIGNED:
        planes = 2
    scratch += tl.program_id(0).to(tl.int64) * BLOCK * planes * STEPS
    start = tl.program_id(0).to(tl.int64) * BLOCK
    while start < total:
        at = start + lane
        live = at < total
        level, rest, mean, scale, shift = numbers(
            at, inner, channels, thetas, initials, means, scales, shifts, theta, initial, THETAS, INITIALS, NORM
        )
        sent = tl.zeros((BLOCK,), dtype=tl.float32)
        v = sent + rest
        for _t in range(STEPS):
            i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
            h = charge(v, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
            if LEARNED:  # as in backward_short
                tl.store(scratch + lane, v)
            else:
                tl.store(scratch + lane, h)
            if SIGNED:
                tl.store(scratch + BLOCK + lane, sent)
            _s, v, sent = fire(h, sent, level, v_reset, retract, HARD, STRICT, SIGNED)
            scratch += BLOCK * planes
            x += x_stride
            grad += grad_stride
            dx += total
            if RESIDUAL:
                residual += residual_stride
        tl.debug_barrier()  # what one thread has stored another may load
        gv = tl.zeros((BLOCK,), dtype=tl.float32)
        for _t in range(STEPS):
            scratch -= BLOCK * planes
            x -= x_stride
            grad -= grad_stride
            dx -= total
            if RESIDUAL:
                residual -= residual_stride
            before = tl.load(scratch + lane)
            h = before
            if LEARNED:
                i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
                h = charge(before, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
            back = sent
            if SIGNED:
                back = tl.load(scratch + BLOCK + lane)
            g = tl.load(grad + at, mask=live, other=0.0).to(tl.float32)
            gh = retreat(g, gv, h, back, level, v_reset, retract, peak, a, b, HARD, STRICT, SIGNED, DETACH, KIND)
            if LEARNED:
                ddecay += gh * by_decay(before, i, decay, gain, LEAK, DECAY_INPUT)
            gv, di = pass_on(gh, decay, gain, LEAK, DECAY_INPUT)
            tl.store(dx + at, di.to(dx.dtype.element_ty), mask=live)
        tl.debug_barrier()  # the next block overwrites the scratch
        start += tl.num_programs(0).to(tl.int64) * BLOCK
    if LEARNED:
        tl.store(partial + tl.program_id(0), tl.sum(ddecay, axis=0))
