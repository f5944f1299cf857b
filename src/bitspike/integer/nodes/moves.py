"""Nodes that move integers and leave every one of them as it is."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.integer.arithmetic import Shape
from bitspike.integer.nodes.base import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(Node):
    """The base of all nodes whose integers are those of their sources, or 0, each in another place."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Move):
    """Its sources side by side along the channels; other axes are equal."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Move):
    """Channels ``start`` to ``stop`` (not included) of its source."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Upsample(Move):
    """Every integer repeated ``factors`` times along each axis behind the channels (nearest neighbour)."""

    factors: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Move):
    """Zeros around its source, ``before`` and ``after`` along each axis behind the channels; negative numbers cut."""

    before: Shape
    after: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Move):
    """The axes of a sample in another order, channels counted as axis 0; batch and time stay.

    Args:
        axes: axis i of the output is axis ``axes[i]`` of the source.
    """

    axes: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Move):
    """The same integers in another shape; batch and time stay."""
