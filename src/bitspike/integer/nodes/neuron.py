"""The spiking neuron.

Step by step, all integers (m / 2**k is the leak, >> an arithmetic shift, that is, rounding down):

    current   i = (sum over sources of gain * source) >> right_shift, plus bias
    leak      h = ((v * m) >> k) + i          leak "before" the input
              h = ((v + i) * m) >> k          leak "after" the input
    limits    h = max(h, floor) where there is one;  h saturates at ``width`` bits where there is one
    fire      s = 1 where h >= threshold ("ge") or h > threshold ("gt"), else 0
              signed: s = -1 where h <= -retract and the spikes sent so far add up to more than 0
    reset     v = h - threshold * s ("soft");  v = v_reset where s = 1, else h ("hard")

``gain``, ``bias`` and ``threshold`` may change per step and per channel: they are arrays [1 or T, 1 or C].
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import get_args

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Reals
from bitspike.integer.nodes.base import Gained
from bitspike.ops.grids import Dyadic, Fire, Leak, Reset


@dataclass(frozen=True, eq=False, kw_only=True)
class Neuron(Gained):
    """A spiking neuron; the module's docstring has its equations.

    Args:
        bias: [1 or T, 1 or C], added at every step.
        threshold: [1 or T, 1 or C].
        initial: potential before the first step, [1 or C].
        unit: real value of one count of the potential, [1] or [C].
        fraction_bits: k, how many bits of the potential lie below one count of the synaptic sum.
        leak: m / 2**k.
        floor: lower clamp of the potential, or None.
        width: bits at which the potential saturates, or None.
    """

    bias: Integers
    threshold: Integers
    initial: Integers
    unit: Reals
    fraction_bits: int = 0
    right_shift: int = 0
    leak: Dyadic = Dyadic(1, 0)
    leak_order: Leak = "before"
    reset: Reset = "soft"
    v_reset: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    fire: Fire = "ge"
    signed: bool = False
    retract: Integers = field(default_factory=lambda: np.ones(1, np.int64))
    floor: int | None = None
    width: int | None = None

    def __post_init__(self) -> None:
        least = 1 if self.fire == "ge" else 0
        problems = {
            f"fire={self.fire!r}: allowed are {get_args(Fire)}": self.fire not in get_args(Fire),
            f"reset={self.reset!r}: allowed are {get_args(Reset)}": self.reset not in get_args(Reset),
            f"leak_order={self.leak_order!r}: allowed are {get_args(Leak)}": self.leak_order not in get_args(Leak),
            "a signed neuron resets by subtraction": self.signed and self.reset != "soft",
            f"a threshold below {least} for {self.fire!r}": bool((self.threshold < least).any()),
            "retract below 0": bool((self.retract < 0).any()),
            "a negative shift": min(self.right_shift, self.fraction_bits, self.leak.shift, self.leak.numerator) < 0,
            f"width={self.width}: at least 2 bits": self.width is not None and self.width < 2,
        }
        if found := [text for text, wrong in problems.items() if wrong]:
            raise ConstraintError(f"neuron {self.id!r}: {'; '.join(found)}")
