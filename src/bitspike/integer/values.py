"""What integers are worth outside the network, in NumPy alone: real inputs to codes, integers of an output to reals."""

from __future__ import annotations

import numpy as np

from bitspike.arguments import checked
from bitspike.integer.nodes import Input, Integers, Readout, Reals


def codes_of(source: Input, values: Reals) -> Integers:
    """Return the codes of real values as the host makes them: the nearest, ties to the even one, inside the grid.

    Args:
        source: the input; its coder has run already.
        values: finite, of any shape.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> codes_of(one_convolution().input, np.array([-3.0, 0.5, 7.6]))
        array([0, 0, 8])
    """
    return np.clip(np.rint(values / source.grid.scale), source.grid.low, source.grid.high).astype(np.int64)


@checked
def decode(output: Readout, value: Integers) -> Reals:
    """Return the real value of an output: ``scale * integers``, float64 [N, ...]."""
    real: Reals = value * output.scale.reshape(1, -1, *[1] * (value.ndim - 2))
    return real
