"""NIR files of other programs: floats become integers if all of them are multiples of one power of two.

A float is a whole number times a power of two, so weights, biases and potentials of a network whose numbers lie on such
a grid are integers in a finer unit, exactly. Where spikes set the potential to a value, a threshold may be any number:
the potential is compared with the next one that it can have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from bitspike.errors import ExportError
from bitspike.integer.nodes import Dyadic, Fire, Integers, Reset

MOST_BITS = 40
"""Of a fraction; with numbers of 20 bits before the point, 63 bits hold the sums."""
LEAK_BITS, NEAR = 8, 1e-6
"""A leak or a factor within this relative distance of m / 2**8 is read as that: files store float32 of dt / tau."""


@dataclass(frozen=True)
class Conventions:
    """How the neurons of a file run, as far as the file does not say it: what another writer took for granted.

    Args:
        steps: T.
        dt: length of a step in the unit of the file's time constants; None where nobody said it.
        fire: comparison with the threshold.
        reset: ``hard``, to ``v_reset``, or ``soft``, by subtraction.
    """

    steps: int
    dt: float | None
    fire: Fire
    reset: Reset


@dataclass(frozen=True)
class Dynamics:
    """A neuron's leak, and what one unit of current adds to the potential: ``gain / 2**bits``."""

    leak: Dyadic
    gain: int
    bits: int


def fraction_bits(values: Any, what: str) -> int:
    """Return the fewest bits after the point that hold all values.

    Raises:
        ExportError: there are none below ``MOST_BITS``.

    Example:
        >>> fraction_bits([4.5, 3.0], "weights"), fraction_bits([2.0], "weights")
        (1, 0)
    """
    floats = np.asarray(values, np.float64)
    for bits in range(MOST_BITS + 1):
        scaled = np.ldexp(floats, bits)
        if np.array_equal(scaled, np.rint(scaled)):
            return bits
    raise ExportError(f"its {what} are real numbers that no {MOST_BITS} bits after the point hold", fix=QUANTIZE)


QUANTIZE = "quantize the network first: bs.convert, or bs.attach and bs.lower"
"""The way out for weights and parameters that are no integers."""


def in_units(values: Any, bits: int) -> Integers:
    """Return values as integers of 2**-bits.

    Example:
        >>> in_units([4.5], 1).tolist()
        [9]
    """
    return np.rint(np.ldexp(np.asarray(values, np.float64), bits)).astype(np.int64)


def integer_threshold(theta: Any, bits: int, fire: Fire) -> Integers:
    """Return the integer threshold that separates multiples of 2**-bits as the real one does.

    Example:
        >>> integer_threshold([4.5, 4.0], 0, "ge").tolist(), integer_threshold([4.5, 4.0], 0, "gt").tolist()
        ([5, 4], [4, 4])
    """
    scaled = np.ldexp(np.asarray(theta, np.float64), bits)
    return (np.ceil(scaled) if fire == "ge" else np.floor(scaled)).astype(np.int64)


def uniform(values: Any, what: str) -> float:
    """Return the one value of an array."""
    distinct = np.unique(np.asarray(values, np.float64))
    if distinct.size != 1:
        raise ExportError(
            f"its {what} differ from neuron to neuron, an integer neuron has one",
            fix=f"the same {what} for all neurons of the node",
        )
    return float(distinct[0])


def dynamics(node: Any, kind: Literal["IF", "LIF"], run: Conventions) -> Dynamics:
    """Return leak and gain of a neuron, by Euler's step of ``dt``.

    Raises:
        ExportError: the step is needed and not given, or a factor is no m / 2**k.
    """
    r = uniform(node.r, "r")
    if kind == "IF":
        if r != 1 and run.dt is None:
            raise ExportError(
                f"its r is {r:g}, so a step adds r * dt = {r:g} * dt times the current, and the file does not say dt",
                fix=f"read_nir(path, steps=T, dt={1 / r:g}) where the writer meant one step",
            )
        gain = _near(r * (run.dt or 1.0), "r * dt")
        return Dynamics(Dyadic(1, 0), gain.numerator, gain.shift)
    if run.dt is None:
        raise ExportError(
            f"its tau is {uniform(node.tau, 'tau'):g} and the file does not say the step: the leak is 1 - dt / tau",
            fix="read_nir(path, steps=T, dt=...); SpikingJelly and snnTorch write 0.0001 unless told otherwise",
        )
    if np.asarray(node.v_leak).any():
        raise ExportError("its v_leak is not 0: the potential leaks elsewhere", fix="v_leak = v_reset = 0")
    pull = run.dt / uniform(node.tau, "tau")
    leak, gain = _near(1 - pull, "leak 1 - dt / tau"), _near(uniform(node.r, "r") * pull, "gain r * dt / tau")
    return Dynamics(leak, gain.numerator, gain.shift)


def exact_bits(leak: Dyadic, steps: int, bits: int) -> int:
    """Return the fraction bits that keep a leak exact over all steps, or 0 if there are too many and it has to round.

    Example:
        >>> exact_bits(Dyadic(1, 1), 8, 3), exact_bits(Dyadic(1, 1), 80, 3), exact_bits(Dyadic(1, 0), 80, 3)
        (8, 0, 0)
    """
    needed = leak.shift * steps
    return needed if needed + bits <= MOST_BITS else 0


def _near(value: float, what: str) -> Dyadic:
    """Return m / 2**k next to a value that float32 rounded."""
    for shift in range(LEAK_BITS + 1):
        m = round(value * 2**shift)
        if m > 0 and abs(m / 2**shift - value) <= NEAR * abs(value):
            return Dyadic(m, shift)
    if abs(value) <= NEAR:
        return Dyadic(0, 0)
    raise ExportError(
        f"its {what} is {value:.9g}, and an integer neuron has m / 2**k with k up to {LEAK_BITS}",
        fix=f"time constants that make it such a number, {round(value * 2**LEAK_BITS)} / {2**LEAK_BITS} for example",
    )


def assumed(run: Conventions, *, said: Sequence[str]) -> str:
    """Say what was assumed of a file; ``said`` names what the caller passed.

    Example:
        >>> assumed(Conventions(4, None, "ge", "hard"), said=["fire"])[48:]
        'start at 0, fire at the threshold (given) and are set to v_reset'
    """
    fire = "at the threshold" if run.fire == "ge" else "above the threshold"
    reset = "are set to v_reset" if run.reset == "hard" else "lose the threshold"
    words = [fire + " (given)" * ("fire" in said), reset + " (given)" * ("reset" in said)]
    step = "" if run.dt is None else f", a step of {run.dt:g} (given)"
    return f"codes of 0 and 1 at every step, potentials that start at 0, fire {words[0]} and {words[1]}{step}"
