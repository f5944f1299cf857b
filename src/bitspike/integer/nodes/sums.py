"""Sums of wires, and the sum over time."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.integer.nodes.base import Gained, Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Burst(Node):
    """All that arrives over time, at once: the sum over all steps at the first step, 0 at every other.

    In front of a neuron it makes the schedule layer by layer: the neuron fires when its whole input is there.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Gained):
    """The sum of gain * source over all sources, on one grid."""
