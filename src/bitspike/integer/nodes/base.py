"""What every node of an integer network has, and what a sum of wires has besides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bitspike.integer.arithmetic import Integers, Reals, Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """The base of all nodes.

    Args:
        id: unique, made of letters, digits and underscores; names the node's tensors in files.
        path: the module of the trained network that it came from.
        call: which call of that module, from 0.
        sources: ids of the nodes it reads.
        shape: of its output for one sample and one step.
        scale: real value of one output integer, [1] or [C].
    """

    id: str
    path: str
    call: int = 0
    sources: tuple[str, ...] = ()
    shape: Shape
    scale: Reals = field(default_factory=lambda: np.ones(1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Gained(Node):
    """The base of all nodes that read sum over sources of gain * source.

    Args:
        gains: one [1 or T, 1 or C] per source; all sources have the node's shape.
    """

    gains: tuple[Integers, ...]
