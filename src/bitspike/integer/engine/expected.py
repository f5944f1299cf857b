"""How long each method is expected to take on a layer, from constants: enough to tell which cannot be the fastest.

A layer of I inputs in all (channels times taps), each of its O * places sums for R = N * T rows costs about

    DOT       R * O (a I + b)                      multiplies 16 outputs at once
    POPCOUNT  R * O (a planes I + b)               I rounded up to whole words of 32
    EVENTS    R * O (a rate I + b)                 O rounded up to 32, rate in spikes per neuron and step
    TABLE     O (a I rows + b T lanes)             O and I rounded up to whole units, rows to 64 and lanes of N to 16

nanoseconds, and what it takes to bring weights from memory that no cache keeps (:func:`fetched`). The constants were
read off races of ResNet-20's layers on one core of an AMD EPYC (Zen 4), by instruction set. Other processors are off by
a factor of two or so: what lies closer than :data:`HOPELESS` is raced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.integer.engine.fuse import Layer
from bitspike.kernels.engine.structs import Method, level, per_unit

HOPELESS = 4.0
"""Methods expected to take so many times as long as another are not raced."""

_DOT, _POPCOUNT, _EVENTS, _TABLE = Method.DOT, Method.POPCOUNT, Method.EVENTS, Method.TABLE
_LOOPS = {
    5: {_DOT: (4e-3, 1.2), _POPCOUNT: (7e-4, 1.4), _EVENTS: (2.1e-2, 2.4), _TABLE: (1.7e-3, 0.14)},
    4: {_DOT: (4e-3, 1.2), _POPCOUNT: (7e-4, 1.4), _EVENTS: (2.1e-2, 2.4), _TABLE: (1.7e-3, 0.18)},
    3: {_DOT: (1.1e-2, 0.6), _POPCOUNT: (1.6e-3, 4.1), _EVENTS: (2.4e-2, 2.6), _TABLE: (2e-3, 0.18)},
    1: {_DOT: (0.16, 2.3), _POPCOUNT: (1.1e-2, 3.0), _EVENTS: (3.2e-2, 3.6)},
}
"""By level of the loops and method: a and b of the equations above, in nanoseconds."""

_KEPT, _FETCH = 2**22, 0.05
"""Bytes of a layer's weights that are taken to stay in a cache, and nanoseconds for each byte beyond them."""


@dataclass(frozen=True)
class Work:
    """How often a layer's sums are needed.

    Args:
        samples, steps: N and T; one step for a layer whose input is constant in time.
        places: of its image.
        planes: bits that hold its codes; see :func:`bitspike.integer.engine.pack.bit_planes`.
        rate: spikes per neuron and step of what it reads.
    """

    samples: int
    steps: int
    places: int
    planes: int
    rate: float


def nanoseconds(layer: Layer, method: Method, work: Work) -> float:
    """Return about how long a method takes for a layer, on one core."""
    return _computed(layer, method, work) + fetched(layer, method, work.planes)


def _computed(layer: Layer, method: Method, work: Work) -> float:
    outputs, channels, *kernel = map(int, layer.codes.shape)
    taps, rows = math.prod(kernel), work.samples * work.steps
    a, b = _LOOPS[level()][method]
    if method == Method.TABLE:
        sums = whole(outputs, per_unit()) * work.places
        looked_up = a * taps * whole(channels, per_unit()) * whole(rows, 64)
        return sums * (looked_up + b * work.steps * whole(work.samples, 16))
    if method == Method.POPCOUNT:
        return rows * whole(outputs, 16) * work.places * (a * work.planes * taps * whole(channels, 32) + b)
    if method == Method.EVENTS:
        return rows * whole(outputs, 32) * work.places * (a * work.rate * taps * channels + b)
    return rows * whole(outputs, 16) * work.places * (a * taps * channels + b)


def fetched(layer: Layer, method: Method, planes: int) -> float:
    """Return the nanoseconds in which packed weights come from memory, those that no cache keeps from run to run.

    A race does not see them: it runs on a few of the weights. A table of six weights has 64 bytes.
    """
    outputs, channels, *kernel = map(int, layer.codes.shape)
    six = per_unit() == 6
    of_a_code = {_DOT: 1.0, _POPCOUNT: planes / 8, _EVENTS: 2.0, _TABLE: 64 / 6 if six else 16 / 4}[method]
    return max(0.0, of_a_code * outputs * channels * math.prod(kernel) - _KEPT) * _FETCH


def hopeful(layer: Layer, methods: list[Method], work: Work) -> list[Method]:
    """Return the methods that may be the fastest, the most promising first."""
    expected = {method: nanoseconds(layer, method, work) for method in methods}
    least = min(expected.values())
    return [m for m in sorted(expected, key=expected.__getitem__) if expected[m] <= HOPELESS * least]


def whole(size: int, unit: int) -> int:
    """Return a size rounded up to whole units.

    Example:
        >>> whole(17, 16)
        32
    """
    return -(-size // unit) * unit
