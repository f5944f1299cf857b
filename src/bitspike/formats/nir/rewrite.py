"""The same neuron in other numbers: steps that change no spike, whatever the input.

Each step shifts, scales or compares a potential differently, until the neuron is one that a reader of NIR runs.
:mod:`bitspike.formats.nir.scale` has the counts that they scale to.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bitspike.formats.nir.scale import finer
from bitspike.integer.bounds.grain import grain, zero_bits
from bitspike.integer.nodes import Dyadic, Fire, Integers, Neuron

LARGEST = 1 << 24
"""Floats of 32 bits hold every integer up to it."""
_TRIED = 4096
"""Thresholds that are tried at once."""


def reduced(node: Neuron) -> Neuron:
    """Write the leak with an odd numerator and before the input.

    A leak after the input, h = ((v + i) m) >> k, scales the current as well. Before the input the current has to be
    multiplied by m itself, and the potential needs k bits more.
    """
    m, k = node.leak.numerator, node.leak.shift
    while k and m % 2 == 0:
        m, k = m // 2, k - 1
    node = replace(node, leak=Dyadic(m, k))
    if node.leak_order == "before" or (m, k) == (1, 0):  # without a leak the order says nothing
        return replace(node, leak_order="before")
    fine = finer(node, np.array([1 << k]))
    shrunk: dict[str, Any] = {"gains": tuple(gain * m for gain in node.gains), "bias": node.bias * m}
    return replace(fine, **shrunk, leak_order="before")


def shifted(node: Neuron, by: Integers) -> Neuron:
    """Measure the potential from ``by`` [1 or C]; the leak then decays to another value, which the bias compensates.

    With v = u / s + by, the step v' = d v + i is u' = d u + s i + s (d - 1) by. The scale s makes the last term whole.
    A threshold moves along, the amount that a soft reset takes does not: see :func:`compared`.
    """
    if not by.any():
        return node
    scale = 1 << node.leak.shift
    pull = (node.leak.numerator - scale) * by  # s (d - 1) by, with d = m / 2**k and s = 2**k
    fine = finer(node, np.array([scale]))
    moved: dict[str, Any] = {"bias": fine.bias + pull, "initial": fine.initial - scale * by}
    if node.reset == "hard":
        moved |= {"v_reset": fine.v_reset - scale * by, "threshold": fine.threshold - scale * by}
    return replace(fine, **moved)


def compared(node: Neuron, fire: Fire) -> Neuron:
    """Change >= to > or back: v >= theta is v > theta - 1; with a soft reset by theta it is v + 1 > theta."""
    if node.fire == fire:
        return node
    step = 1 if fire == "ge" else -1
    if node.reset == "hard":
        return replace(node, fire=fire, threshold=node.threshold + step)
    return replace(shifted(node, np.array([step])), fire=fire)


def one_threshold(node: Neuron, steps: int, fire: Fire) -> Neuron | None:
    """Give all channels of a neuron that resets to 0 one threshold.

    In units f times smaller all potentials are multiples of f, so every threshold in (f (theta - 1), f theta] fires
    for the same ones. The smallest threshold is taken for which each channel has a factor f. At the latest there is one
    at theta**2 for the largest theta, unless that is beyond what a float holds: then None.
    """
    node = compared(node, "ge")
    bits = zero_bits(*node.gains, node.bias) if float(node.leak) == 1 else grain(node, steps) or 0
    # Potentials are multiples of the step; a threshold rounded up to one fires for the same potentials.
    step = 1 << min(bits, 24)
    theta = -(-node.threshold[0] // step) * step
    if (node.threshold == node.threshold[0, 0]).all():
        return compared(replace(node, threshold=node.threshold[:, :1]), fire)
    for first in range(int(theta.max()), LARGEST >> 2, _TRIED):
        tried = np.arange(first, first + _TRIED)[:, None]
        factor = -(-tried // theta)
        fits = (factor * (theta - step) < tried).all(1)
        if fits.any():
            hit = int(np.argmax(fits))
            fine = finer(node, factor[hit])
            return compared(replace(fine, threshold=np.full((1, 1), first + hit)), fire)
        if first > int(theta.max()) ** 2:
            break
    return None
