"""Where integers enter an integer network, and where they leave it."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.integer.arithmetic import Integers
from bitspike.integer.nodes.base import Gained, Node
from bitspike.ops.grids import Grid


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Where codes enter. ``coding`` says how the host makes them from real values: ``direct``, ``bernoulli``, ``rate``.

    Args:
        grid: the integer grid of the codes.
        constant: the same codes at every step, so the wire is [1, N, ...].
        divisor: of the Bernoulli coder.
    """

    grid: Grid
    constant: bool = True
    coding: str = "direct"
    divisor: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Gained):
    """What leaves the network: the sum over all steps of gain * source, plus bias. [N, ...], without a time axis."""

    bias: Integers
