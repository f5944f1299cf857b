# mypy: ignore-errors
"""The equations of every neuron in Triton, one step forwards and one back, on elements that are held in registers.

Words: theta threshold, h potential that is compared, v potential after the reset, s spike, i input current, g gradient
of a spike, gv and gh gradients of v and h. ``sent`` counts the spikes of the signed neuron that were not taken back.
Products and sums stand in the order of :mod:`bitspike.ops.dynamics`; launched with ``enable_fp_fusion=False`` none of
them are contracted, so that spikes equal those of the plain loop bit for bit.
"""

from __future__ import annotations

from bitspike.kernels.triton.compat import jit, tl


@jit
def slope(x, peak, a, b, KIND: tl.constexpr):
    """Return a surrogate's derivative at the distance x; KIND, a and b are those of ``launch.surrogate_numbers``."""
    x = x - peak
    if KIND == 0:  # rectangle: a = width / 2, b = 1 / width
        y = tl.where(tl.abs(x) < a, b, 0.0)
    elif KIND == 1:  # triangle: a = 1 / width, b = height
        y = 1.0 - tl.abs(x) * a
        y = tl.where(y < 0.0, 0.0, y) * b
    elif KIND == 2:  # arc tangent: a = pi * alpha / 2, b = alpha / 2
        y = a * x
        y = b / (1.0 + y * y)
    elif KIND == 3:  # sigmoid: a = b = alpha
        y = 1.0 / (1.0 + tl.exp(-a * x))
        y = b * y * (1.0 - y)
    else:  # double-sided exponential: a = alpha, b = alpha / 2
        y = b * tl.exp(-a * tl.abs(x))
    return y


@jit
def numbers(
    at,
    inner,
    channels,
    thetas,
    initials,
    means,
    scales,
    shifts,
    theta,
    initial,
    THETAS: tl.constexpr,
    INITIALS: tl.constexpr,
    NORM: tl.constexpr,
):
    """Return threshold, initial potential, mean, scale and shift at the positions ``at``."""
    channel = (at // inner) % channels
    if THETAS:
        theta = tl.load(thetas + channel)
    if INITIALS:
        initial = tl.load(initials + channel)
    mean = 0.0
    scale = 0.0
    shift = 0.0
    if NORM:
        mean = tl.load(means + channel)
        scale = tl.load(scales + channel)
        shift = tl.load(shifts + channel)
    return theta, initial, mean, scale, shift


@jit
def current(x, residual, at, live, mean, scale, shift, NORM: tl.constexpr, RESIDUAL: tl.constexpr):
    """Read the input current at the positions ``at``: ``(x - mean) * scale + shift + residual``, or less of it."""
    i = tl.load(x + at, mask=live, other=0.0).to(tl.float32)
    if NORM:
        i = (i - mean) * scale + shift
    if RESIDUAL:
        i = i + tl.load(residual + at, mask=live, other=0.0).to(tl.float32)
    return i


@jit
def charge(
    v, i, decay, gain, resolution, inverse, LEAK: tl.constexpr, DECAY_INPUT: tl.constexpr, ROUNDED: tl.constexpr
):
    """Return h. LEAK is 0 for none, 1 before and 2 after the input is added."""
    if DECAY_INPUT:
        i = i * gain
    if LEAK == 0:
        h = v + i
    elif LEAK == 1:
        h = v * decay
        if ROUNDED:  # the resolution is a power of two: its inverse is exact
            h = tl.floor(h * inverse) * resolution
        h = h + i
    else:
        h = (v + i) * decay
        if ROUNDED:
            h = tl.floor(h * inverse) * resolution
    return h


@jit
def fire(
    h, sent, theta, v_reset, retract, HARD: tl.constexpr, STRICT: tl.constexpr, SIGNED: tl.constexpr
):  # fmt: skip
    """Compare and reset; returns s, v and sent."""
    if STRICT:
        s = tl.where(h - theta > 0.0, 1.0, 0.0)
    else:
        s = tl.where(h - theta >= 0.0, 1.0, 0.0)
    if SIGNED:
        s = s - tl.where((-h - retract >= 0.0) & (sent > 0.0), 1.0, 0.0)
        sent = sent + s
    if HARD:
        v = tl.where(s > 0.0, v_reset, h)
    else:
        v = h - theta * s
    return s, v, sent


@jit
def retreat(
    g,
    gv,
    h,
    back,
    theta,
    v_reset,
    retract,
    peak,
    a,
    b,
    HARD: tl.constexpr,
    STRICT: tl.constexpr,
    SIGNED: tl.constexpr,
    DETACH: tl.constexpr,
    KIND: tl.constexpr,
):
    """Take one step back; returns gh. ``back`` is above 0 where a spike could be taken back (signed neuron only)."""
    distance = h - theta
    ds = slope(distance, peak, a, b, KIND)
    if SIGNED:
        ds = ds + slope(-h - retract, peak, a, b, KIND) * tl.where(back > 0, 1.0, 0.0)
    gs = g
    if not DETACH:
        if HARD:
            gs = g + gv * (v_reset - h)
        else:
            gs = g - gv * theta
    if HARD:
        if STRICT:
            gv = tl.where(distance > 0.0, 0.0, gv)
        else:
            gv = tl.where(distance >= 0.0, 0.0, gv)
    return gs * ds + gv


@jit
def pass_on(gh, decay, gain, LEAK: tl.constexpr, DECAY_INPUT: tl.constexpr):
    """Return the gradients of the potential before the step and of its current."""
    gv = gh
    if LEAK > 0:
        gv = gh * decay
    di = gh
    if LEAK == 2:
        di = gv
    if DECAY_INPUT:
        di = di * gain
    return gv, di


@jit
def by_decay(v, i, decay, gain, LEAK: tl.constexpr, DECAY_INPUT: tl.constexpr):
    """Return dh/d(decay), given the potential before the step and its current."""
    if LEAK == 1:
        y = v
        if DECAY_INPUT:
            y = y - i
    else:
        y = v + i
        if DECAY_INPUT:
            y = v + i * gain - decay * i
    return y
