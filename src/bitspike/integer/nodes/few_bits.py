"""The spiking neuron whose potential is kept from step to step as a code of few bits.

It is a :class:`~bitspike.integer.nodes.neuron.Neuron` up to its reset. What is left then, r, is rounded to the nearest
code, and the next step reads what the code stands for; before the first step the potential is such a value too:

    keep      code = (r + half) >> kept_shift, half = 2**(kept_shift - 1), or 0 where kept_shift is 0
              code is clipped to -2**(kept_bits - 1) .. 2**(kept_bits - 1) - 1
              v = code << kept_shift

Nothing is multiplied: one code is worth ``2**kept_shift`` counts of the sum that arrives. Only the code lies in memory
between two steps. Source: Yin et al., MINT, ASP-DAC 2024, arXiv 2305.09850.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers
from bitspike.integer.bounds.intervals import Numbers, Seen
from bitspike.integer.limits import Between
from bitspike.integer.nodes.neuron import Neuron


@dataclass(frozen=True, eq=False, kw_only=True)
class FewBitNeuron(Neuron):
    """A neuron that keeps its potential in few bits; the module's docstring has what it adds to ``Neuron``.

    Args:
        kept_bits: width of a code in two's complement, at which it saturates.
        kept_shift: how many bits a code is coarser than a count of the potential.

    Raises:
        ConstraintError: the potential before the first step is no value that a code stands for.
    """

    kept_bits: Annotated[int, Between(2, 62)]
    kept_shift: Annotated[int, Between(0, 40)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kept_bits < 2 or self.kept_shift < 0:
            raise ConstraintError(
                f"neuron {self.id!r}: kept_bits={self.kept_bits}, kept_shift={self.kept_shift}: at least 2 bits, and "
                "a shift of 0 or more",
                fix="kept_bits=2, kept_shift=0",
            )
        after = self.restored(self.stored(self.initial))
        if (after != self.initial).any():
            wrong = int(self.initial[after != self.initial][0])
            raise ConstraintError(
                f"neuron {self.id!r}: a first potential of {wrong}, which no code of {self.kept_bits} bits stands for; "
                f"needed are multiples of {1 << self.kept_shift} from {self.codes[0] << self.kept_shift} to "
                f"{self.codes[1] << self.kept_shift}",
                fix="initial=node.restored(node.stored(initial)), the nearest of them",
            )

    @property
    def codes(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        return -(1 << (self.kept_bits - 1)), (1 << (self.kept_bits - 1)) - 1

    @property
    def half(self) -> int:
        """What is added before the shift, so that it rounds to the nearest code."""
        return (1 << self.kept_shift) >> 1

    def stored(self, potential: Numbers) -> Numbers:
        """Return the codes that are kept of potentials after the reset.

        Example:
            >>> from bitspike.integer.examples import few_bits
            >>> few_bits(bits=2, shift=1)["neuron"].stored(np.array([-9, -3, -1, 0, 1, 9]))
            array([-2, -1,  0,  0,  1,  1])
        """
        codes: Numbers = np.clip((potential + self.half) >> self.kept_shift, *self.codes)
        return codes

    def restored(self, codes: Numbers) -> Numbers:
        """Return the potentials that codes stand for."""
        return codes << self.kept_shift

    def carried(self, potential: Integers) -> Integers:
        return self.restored(self.stored(potential))

    def _carried_bounds(self, low: Numbers, high: Numbers, state: Seen, work: Seen) -> tuple[Numbers, Numbers]:
        # Rounding and clip are monotone, so the ends may be kept by themselves.
        work.add(low + self.half, high + self.half)
        codes = self.stored(low), self.stored(high)
        state.add(*codes)
        return self.restored(codes[0]), self.restored(codes[1])

    def uncounted(self, *, changing: bool) -> Iterator[str]:
        yield f"keeps its potential in {self.kept_bits} bits; needed is a Neuron, which keeps it as it is"
        yield from super().uncounted(changing=changing)
