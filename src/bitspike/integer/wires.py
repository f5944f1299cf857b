"""What a wire means while a network is lowered: real value = sum of scale * integers over its branches, plus an offset.

Batch norms, pools and biases only change scales and offsets; no integer is touched until a neuron, a read-out or a
layer that needs plain integers decides on a grid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from bitspike.integer.network import Integers, Reals, Shape


@dataclass(frozen=True, eq=False)
class Branch:
    """Integers of one node, each worth ``scale`` [1] or [C], which may be negative."""

    node: str
    scale: Reals


@dataclass(frozen=True, eq=False)
class Wire:
    """A symbolic wire.

    Args:
        branches: their values are added.
        offset: real value that is added at every step, [1] or [C].
        shape: for one sample and one step.
        timed: whether the trained network's tensor has a time axis here.
    """

    branches: tuple[Branch, ...]
    offset: Reals
    shape: Shape
    timed: bool

    @property
    def plain(self) -> bool:
        """One branch, one positive scale for all channels, no offset: integers that any layer can read."""
        return (
            len(self.branches) == 1
            and bool((self.branches[0].scale == self.branches[0].scale.flat[0]).all())
            and float(self.branches[0].scale.flat[0]) > 0
            and not self.offset.any()
        )

    def affine(self, gain: Reals, shift: Reals) -> Wire:
        """Return ``gain * wire + shift``, per channel."""
        branches = tuple(replace(b, scale=b.scale * gain) for b in self.branches)
        return replace(self, branches=branches, offset=self.offset * gain + shift)

    def plus(self, other: Wire) -> Wire:
        """Return the sum of two wires of one shape."""
        return replace(self, branches=self.branches + other.branches, offset=self.offset + other.offset)


@dataclass(frozen=True, eq=False)
class OnGrid:
    """Branches and offset in units of ``unit / 2**fraction_bits``.

    Args:
        unit: real value of one count of the synaptic sum, [1] or [C].
        gains: one [1, 1 or C] per branch.
        bias: [1, 1 or C].
        worst: the largest relative rounding, of a gain or of the bias against ``reference``; 0 if exact.
    """

    unit: Reals
    fraction_bits: int
    gains: tuple[Integers, ...]
    bias: Integers
    worst: float


def smallest_scale(wire: Wire) -> Reals:
    """Return the smallest magnitude of a branch's scale by channel, the natural unit of their sum."""
    scales = np.stack(np.broadcast_arrays(*[np.abs(b.scale) for b in wire.branches]))
    scales = np.where(scales > 0, scales, np.inf).min(0)
    finite = scales[np.isfinite(scales)]
    # A channel that a batch norm has switched off has no scale of its own; any unit serves it.
    return np.where(np.isfinite(scales), scales, finite.min() if finite.size else 1.0)


def put_on_grid(wire: Wire, unit: Reals, fraction_bits: int, *, reference: Reals) -> OnGrid:
    """Round a wire's scales and offset to multiples of ``unit / 2**fraction_bits``.

    Args:
        wire: what is rounded.
        unit: [1] or [C].
        fraction_bits: k.
        reference: real value against which an error of the offset is measured, such as the threshold.
    """
    step = unit / 2.0**fraction_bits
    gains, worst = [], 0.0
    for branch in wire.branches:
        exact = branch.scale / step
        gain = np.round(exact)
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(exact == 0, 0.0, np.abs(gain / exact - 1))
        worst = max(worst, _error(relative))
        gains.append(gain.astype(np.int64)[None])
    exact = wire.offset / step
    bias = np.round(exact)
    worst = max(worst, _error(np.abs(bias - exact) * step / reference))
    return OnGrid(unit, fraction_bits, tuple(gains), bias.astype(np.int64)[None], worst)


def whole(values: Reals) -> Reals:
    """Return values with those that are whole up to the rounding of a float product made whole."""
    near = np.round(values)
    return np.where(np.abs(values - near) <= 1e-9 * np.maximum(1.0, np.abs(near)), near, values)


def _error(values: Reals) -> float:
    worst = float(np.max(values))
    return 0.0 if worst < 1e-9 or not math.isfinite(worst) else worst
