# mypy: ignore-errors
# ruff: noqa: RUF005 - Triton knows no unpacking
"""The time loop of every neuron in Triton, forward and backward: each element's potential stays in a register.

One program takes BLOCK elements of a step through all T of them. Steps lie a stride apart, which may be 0; within a
step elements are taken in the order of memory, so any dense layout will do, and a channel is found as
``(position // inner) % channels``. The backward pass computes the potentials again from the input: a short run is
unrolled and keeps them in registers, a long one in scratch memory of the program. Words as in
:mod:`bitspike.kernels.triton.equations`.

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
def replay(
    x, residual, at, live, mean, scale, shift, v, sent, decay, gain, resolution, inverse, theta, v_reset, retract,
    HARD: tl.constexpr, STRICT: tl.constexpr, LEAK: tl.constexpr, DECAY_INPUT: tl.constexpr, ROUNDED: tl.constexpr,
    SIGNED: tl.constexpr, LEARNED: tl.constexpr, NORM: tl.constexpr, RESIDUAL: tl.constexpr,
):  # fmt: skip
    """Repeat one step of the forward pass; return what the way back needs of it, the potential and the spikes sent.

    That is h; for a learned decay it is v, from which h follows with the current, which is read again anyway.
    """
    i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
    h = charge(v, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
    kept = h
    if LEARNED:
        kept = v
    _s, v, sent = fire(h, sent, theta, v_reset, retract, HARD, STRICT, SIGNED)
    return kept, v, sent


@jit
def step_back(
    x, residual, at, live, mean, scale, shift, g, gv, kept, back, ddecay, decay, gain, resolution, inverse, theta,
    v_reset, retract, peak, a, b, HARD: tl.constexpr, STRICT: tl.constexpr, LEAK: tl.constexpr,
    DECAY_INPUT: tl.constexpr, ROUNDED: tl.constexpr, SIGNED: tl.constexpr, LEARNED: tl.constexpr,
    NORM: tl.constexpr, RESIDUAL: tl.constexpr, DETACH: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """Take the gradient back over one step; return that of the potential before it, of its current, and of the decay.

    ``kept`` is that of :func:`replay`; ``back`` is above 0 where a spike could be taken back.
    """
    h = kept
    if LEARNED:
        i = current(x, residual, at, live, mean, scale, shift, NORM, RESIDUAL)
        h = charge(kept, i, decay, gain, resolution, inverse, LEAK, DECAY_INPUT, ROUNDED)
    gh = retreat(g, gv, h, back, theta, v_reset, retract, peak, a, b, HARD, STRICT, SIGNED, DETACH, KIND)
    if LEARNED:
        ddecay += gh * by_decay(kept, i, decay, gain, LEAK, DECAY_INPUT)
    gv, di = pass_on(gh, decay, gain, LEAK, DECAY_INPUT)
    return gv, di, ddecay


@jit
def backward(  # noqa: C901 - a kernel is one function, and both of its loops have the same steps
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
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the gradient [STEPS, total] of the currents, and each program's part of the gradient of the decay.

    With UNROLL a program takes one block, and its steps stay in registers. Without, it takes one block after the other,
    with its steps in its own piece of ``scratch`` [programs, STEPS, planes, BLOCK]; the signed neuron has a second
    plane there, for ``sent``.
    """
    lane = tl.arange(0, BLOCK)
    if LEARNED:
        decay = tl.load(decays)
        gain = 1.0 - decay
    ddecay = tl.zeros((BLOCK,), dtype=tl.float32)
    start = tl.program_id(0).to(tl.int64) * BLOCK
    if UNROLL:
        at = start + lane
        live = at < total
        level, rest, mean, scale, shift = numbers(
            at, inner, channels, thetas, initials, means, scales, shifts, theta, initial, THETAS, INITIALS, NORM
        )
        sent = tl.zeros((BLOCK,), dtype=tl.float32)
        v = sent + rest
        kept = ()
        gs = ()
        backs = tl.zeros((BLOCK,), dtype=tl.int32)  # bit t: a spike could be taken back at step t
        for t in tl.static_range(STEPS):
            gs = gs + (tl.load(grad + at, mask=live, other=0.0),)
            if SIGNED:
                backs = backs | tl.where(sent > 0.0, 1 << t, 0)
            one, v, sent = replay(
                x, residual, at, live, mean, scale, shift, v, sent, decay, gain, resolution, inverse, level, v_reset,
                retract, HARD, STRICT, LEAK, DECAY_INPUT, ROUNDED, SIGNED, LEARNED, NORM, RESIDUAL,
            )  # fmt: skip
            kept = kept + (one,)
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
            gv, di, ddecay = step_back(
                x, residual, at, live, mean, scale, shift, gs[t].to(tl.float32), gv, kept[t], (backs >> t) & 1, ddecay,
                decay, gain, resolution, inverse, level, v_reset, retract, peak, a, b, HARD, STRICT, LEAK, DECAY_INPUT,
                ROUNDED, SIGNED, LEARNED, NORM, RESIDUAL, DETACH, KIND,
            )  # fmt: skip
            tl.store(dx + at, di.to(dx.dtype.element_ty), mask=live)
    else:
        planes = 1
        if SIGNED:
            planes = 2
        scratch += tl.program_id(0).to(tl.int64) * BLOCK * planes * STEPS
        while start < total:
            at = start + lane
            live = at < total
            level, rest, mean, scale, shift = numbers(
                at, inner, channels, thetas, initials, means, scales, shifts, theta, initial, THETAS, INITIALS, NORM
            )
            sent = tl.zeros((BLOCK,), dtype=tl.float32)
            v = sent + rest
            for _t in range(STEPS):
                if SIGNED:
                    tl.store(scratch + BLOCK + lane, sent)
                one, v, sent = replay(
                    x, residual, at, live, mean, scale, shift, v, sent, decay, gain, resolution, inverse, level,
                    v_reset, retract, HARD, STRICT, LEAK, DECAY_INPUT, ROUNDED, SIGNED, LEARNED, NORM, RESIDUAL,
                )  # fmt: skip
                tl.store(scratch + lane, one)
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
                back = sent
                if SIGNED:
                    back = tl.load(scratch + BLOCK + lane)
                g = tl.load(grad + at, mask=live, other=0.0).to(tl.float32)
                gv, di, ddecay = step_back(
                    x, residual, at, live, mean, scale, shift, g, gv, tl.load(scratch + lane), back, ddecay, decay,
                    gain, resolution, inverse, level, v_reset, retract, peak, a, b, HARD, STRICT, LEAK, DECAY_INPUT,
                    ROUNDED, SIGNED, LEARNED, NORM, RESIDUAL, DETACH, KIND,
                )  # fmt: skip
                tl.store(dx + at, di.to(dx.dtype.element_ty), mask=live)
            tl.debug_barrier()  # the next block overwrites the scratch
            start += tl.num_programs(0).to(tl.int64) * BLOCK
    if LEARNED:
        tl.store(partial + tl.program_id(0), tl.sum(ddecay, axis=0))
