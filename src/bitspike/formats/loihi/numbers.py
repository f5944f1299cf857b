"""The numbers that Loihi holds: weights of 8 bits with an exponent, biases as mantissa and exponent, decays of 12 bits.

Source: the bit-accurate models of lava-nc 0.10.0 (``lava/proc/lif/models.py``, ``lava/proc/dense/models.py``,
``lava/utils/weightutils.py``) and the text that documents them there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitspike.formats.loihi.synapses import Synapses, by_row
from bitspike.integer.nodes import Dyadic, Integers

ALIGNED = 6
"""What arrives is shifted left by so many bits, and a threshold too."""
POTENTIAL_BITS = 24
"""A potential saturates at ``2**23 - 1`` and its negative; a current of that size wraps around."""
LIMIT = (1 << (POTENTIAL_BITS - 1)) - 1
THRESHOLD_BITS, DECAY_BITS = 17, 12
MANTISSA, MOST_BIAS_EXPONENT = (1 << 12) - 1, 7
CODE, MOST_EXPONENT = 127, 8
"""The largest weight code: twice of it is stored, since weights of both signs lose their last bit."""
NEVER = (1 << THRESHOLD_BITS) - 1
"""A threshold that a population of sums does not reach."""
_DIGIT = 7


@dataclass(frozen=True, eq=False)
class Part:
    """One matrix of 8-bit weights: ``codes * 2**exponent`` is what a spike adds, before the chip's shift by 6 bits."""

    codes: Synapses
    exponent: int


def parts_of(weights: Synapses) -> list[Part] | None:
    """Return matrices of 8-bit weights that add up to a matrix, or None where there are none; one where one is enough.

    Example:
        >>> row = Synapses(np.array([3, -200]), np.array([0, 1]), np.array([0, 2]), 2)
        >>> [(part.exponent, part.codes.values.tolist()) for part in parts_of(row)]
        [(0, [3, 56]), (7, [-2])]
    """
    parts: list[Part] = []
    left, exponent = weights.values, 0
    if left.size:
        bits = int(np.bitwise_or.reduce(left))
        exponent = min((bits & -bits).bit_length() - 1, MOST_EXPONENT)
        left = left >> exponent
    while True:
        last = not left.size or int(np.abs(left).max()) <= CODE
        # A digit of base 128 from -64 to 63; what is left of the number is a multiple of 128.
        digit = left if last else ((left + 64) & 127) - 64
        if exponent > MOST_EXPONENT:
            return None
        if digit.any() or not parts:
            parts.append(Part(_without_zeros(replace(weights, values=digit)), exponent))
        if last:
            return parts
        left, exponent = (left - digit) >> _DIGIT, exponent + _DIGIT


def _without_zeros(matrix: Synapses) -> Synapses:
    kept, rows = matrix.values != 0, matrix.rows()
    return by_row(matrix.values[kept], rows[kept], matrix.columns[kept], readers=matrix.readers, sources=matrix.sources)


def bias_of(values: Integers) -> tuple[Integers, Integers] | None:
    """Return mantissas and exponents of biases, or None where one needs more than 13 bits between its ends.

    Example:
        >>> [part.tolist() for part in bias_of(np.array([-5, 8192]))]
        [[-5, 2048], [0, 2]]
    """
    mantissa, exponent = values.copy(), np.zeros_like(values)
    for _ in range(MOST_BIAS_EXPONENT):
        large = np.abs(mantissa) > MANTISSA
        if (mantissa[large] % 2).any():
            return None
        mantissa, exponent = np.where(large, mantissa >> 1, mantissa), exponent + large
    return None if (np.abs(mantissa) > MANTISSA).any() else (mantissa, exponent)


def split_bias(values: Integers) -> tuple[Integers, Integers]:
    """Return biases as weights, which are shifted left by 6 bits, and what is left of each.

    Example:
        >>> [part.tolist() for part in split_bias(np.array([-65, 40760, 3]))]
        [[-1, 637, 0], [-1, -8, 3]]
    """
    weights = (values + 32) >> ALIGNED
    return weights, values - (weights << ALIGNED)


def decay_of(leak: Dyadic) -> int | None:
    """Return the decay of a leak, ``4096 - 4096 * leak``, or None where 12 bits do not hold it.

    Example:
        >>> decay_of(Dyadic(3, 2)), decay_of(Dyadic(0, 0)), decay_of(Dyadic(1, 13))
        (1024, None, None)
    """
    scaled, rest = divmod(leak.numerator << DECAY_BITS, 1 << leak.shift)
    decay = (1 << DECAY_BITS) - scaled
    return decay if not rest and 0 <= decay < 1 << DECAY_BITS else None
