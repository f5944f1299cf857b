"""Pools: the sum, the largest integer or the largest count of a window."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.integer.arithmetic import Shape
from bitspike.integer.nodes.base import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool(Node):
    """The base of all nodes that make one integer of each window, channel by channel."""

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class SumPool(Pool):
    """The sum over a window; an average pool whose division went into ``scale``."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Pool):
    """The largest value of a window at each step."""


@dataclass(frozen=True, eq=False, kw_only=True)
class CountMaxPool(Pool):
    """The maximum of a window's running counts, as it grows: ``max_i N_i[t] - max_i N_i[t-1]``, N_i from 0.

    For spikes of 0 and 1 the output is 0 or 1 at every step, and its count is at the end the largest count of the
    window: max pooling of rates, exactly. A padded place counts 0.
    """
