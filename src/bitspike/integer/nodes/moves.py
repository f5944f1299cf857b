"""Nodes that move integers and leave every one of them as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from bitspike.integer.arithmetic import Shape, Whole
from bitspike.integer.bounds.intervals import Interval, mixed, side_by_side
from bitspike.integer.limits import MOST_VALUES, Between, Offsets, Sizes
from bitspike.integer.nodes.base import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Move(Node):
    """The base of all nodes whose integers are those of their sources, or 0, each in another place.

    ``run`` takes numbers of any type, so it also tells where a number comes from.
    """

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return those of the source where channels stay what they are, and else the widest for all of them."""
        return inputs[0] if self.by_channel else mixed(inputs[0], self.shape[0])


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Move):
    """The same integers in another shape, the last axis fastest; batch and time stay."""

    operation: ClassVar[str] = "reshape"
    by_channel: ClassVar[bool] = False

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        (x,) = inputs
        return x.reshape(*x.shape[:2], *self.shape)

    def shape_of(self, source: Shape) -> Shape | None:
        """Return its own shape, if it holds as many integers."""
        return self.shape if math.prod(source) == math.prod(self.shape) else None

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return those of the channel that each place of a flattened source comes from, and else the widest."""
        each, rest = divmod(self.shape[0], inputs[0].low.shape[1])
        if rest or len(self.shape) > 1:
            return mixed(inputs[0], self.shape[0])
        return Interval(np.repeat(inputs[0].low, each, axis=1), np.repeat(inputs[0].high, each, axis=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Move):
    """Its sources one after another along the channels; other axes are equal."""

    operation: ClassVar[str] = "concat"
    by_channel: ClassVar[bool] = False

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        """Join the channels; what is constant is repeated where another source is not."""
        longest = max(len(x) for x in inputs)
        return np.concatenate([np.broadcast_to(x, (longest, *x.shape[1:])) for x in inputs], axis=2)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        return side_by_side(inputs)

    def problems(self, inputs: list[Shape], steps: int) -> Iterator[str]:
        """Yield that sources are missing or differ in more than their channels."""
        if not inputs:
            yield "a concatenation needs a source"
        elif any(s[1:] != self.shape[1:] for s in inputs) or sum(s[0] for s in inputs) != self.shape[0]:
            yield f"its sources have the shapes {[list(s) for s in inputs]}"


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Move):
    """Channels ``start`` to ``stop`` (not included) of its source: ``y_c = x_(start + c)``."""

    operation: ClassVar[str] = "slice"
    by_channel: ClassVar[bool] = False

    start: Annotated[int, Between(0, MOST_VALUES)]
    stop: Annotated[int, Between(1, MOST_VALUES)]

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        return inputs[0][:, :, self.start : self.stop]

    def shape_of(self, source: Shape) -> Shape | None:
        """Return so many channels, if the source has them."""
        return (self.stop - self.start, *source[1:]) if 0 <= self.start < self.stop <= source[0] else None

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        return Interval(inputs[0].low[:, self.start : self.stop], inputs[0].high[:, self.start : self.stop])


@dataclass(frozen=True, eq=False, kw_only=True)
class Upsample(Move):
    """Every integer repeated ``factors`` times along each axis after the channels: ``y_i = x_(i // factor)``."""

    operation: ClassVar[str] = "upsample"

    factors: Sizes

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        (x,) = inputs
        for axis, factor in enumerate(self.factors, start=3):
            x = np.repeat(x, factor, axis)
        return x

    def shape_of(self, source: Shape) -> Shape | None:
        if len(self.factors) != len(source) - 1 or min(self.factors, default=1) < 1:
            return None
        return (source[0], *(n * f for n, f in zip(source[1:], self.factors, strict=True)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Move):
    """Zeros around its source, ``before`` and ``after`` along each axis after the channels; negative numbers cut.

    ``y_i = x_(i - before)``, and 0 where the source has no such place.
    """

    operation: ClassVar[str] = "pad"

    before: Offsets
    after: Offsets

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        """Add the zeros, then cut."""
        (x,) = inputs
        sides = list(zip(self.before, self.after, strict=True))
        x = np.pad(x, [(0, 0)] * 3 + [(max(0, a), max(0, b)) for a, b in sides])
        kept = [slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape[3:], sides, strict=True)]
        return x[(slice(None), slice(None), slice(None), *kept)]

    def shape_of(self, source: Shape) -> Shape | None:
        if not len(self.before) == len(self.after) == len(source) - 1:
            return None
        return (source[0], *(n + a + b for n, a, b in zip(source[1:], self.before, self.after, strict=True)))


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Move):
    """The axes of a sample in another order, channels counted as axis 0; batch and time stay.

    Args:
        axes: axis i of the output is axis ``axes[i]`` of the source.
    """

    operation: ClassVar[str] = "transpose"
    by_channel: ClassVar[bool] = False

    axes: Annotated[Shape, Between(0, 15)]

    def run(self, inputs: list[Whole], steps: int) -> Whole:
        return inputs[0].transpose(0, 1, *(axis + 2 for axis in self.axes))

    def shape_of(self, source: Shape) -> Shape | None:
        if sorted(self.axes) != list(range(len(source))):
            return None
        return tuple(source[axis] for axis in self.axes)

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return those of the source where the channels stay in place."""
        return inputs[0] if self.axes[0] == 0 else mixed(inputs[0], self.shape[0])
