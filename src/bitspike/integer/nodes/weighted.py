"""Layers with weights: the sums of products of an integer network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, ClassVar

import numpy as np

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import (
    Integers,
    Shape,
    Whole,
    by_step,
    convolve,
    convolve_transposed,
    multiply,
    readers_along,
    window_shape,
)
from bitspike.integer.bounds.intervals import Interval, weighted
from bitspike.integer.limits import Between, Groups, Paddings, Sizes, Wide, Worth
from bitspike.integer.nodes.base import Node


@dataclass(frozen=True, eq=False, kw_only=True)
class Weight:
    """Integer weight codes and what one of them is worth.

    Args:
        codes: int64; a convolution's [C_out, C_in/groups, *kernel], a linear layer's [C_out, C_in].
        step: real value of one code, [1] or [C_out].
        bits: width of one stored code.
        low, high: the range that the scheme allows.
        levels: the allowed codes where not every integer of the range is one.
        scheme: the name of the quantiser.
    """

    codes: Integers
    step: Worth
    bits: Annotated[int, Between(1, 64)]
    low: Wide
    high: Wide
    levels: tuple[Wide, ...] | None = None
    scheme: str = ""

    def __post_init__(self) -> None:
        if self.codes.size and (self.codes.min() < self.low or self.codes.max() > self.high):
            raise ConstraintError(
                f"weight codes reach from {self.codes.min()} to {self.codes.max()}, "
                f"the grid {self.scheme!r} from {self.low} to {self.high}",
                fix="codes inside the grid, or the grid of the scheme that made them",
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(Node):
    """The base of all layers that multiply what they read by weight codes."""

    by_channel: ClassVar[bool] = False
    output_axis: ClassVar[int] = 0
    """The axis of the codes along which the output channels of a group lie."""

    weight: Weight

    def meeting(self) -> Iterator[Whole]:
        """Yield the codes that meet in one output, once per set of taps: [groups, C_out/groups, C_in/groups, *taps]."""
        yield self.weight.codes[None]

    def interval(self, inputs: list[Interval], steps: int) -> Interval:
        """Return the widest bounds of all sums of products."""
        sums = [weighted(inputs[0], codes) for codes in self.meeting()]
        return Interval(np.minimum.reduce([i.low for i in sums]), np.maximum.reduce([i.high for i in sums]))


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Weighted):
    """A convolution of one, two or three dimensions; zero padding.

    ``y_o = sum over channels of the group and taps k of w_k * x_(o * stride + k * dilation - padding)``
    """

    operation: ClassVar[str] = "convolution"

    stride: Sizes
    padding: Paddings
    dilation: Sizes
    groups: Groups = 1

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        window = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return by_step(inputs[0], lambda x: convolve(x, self.weight.codes, **window, groups=self.groups))

    def shape_of(self, source: Shape) -> Shape | None:
        out, per_group, *kernel = self.weight.codes.shape
        if len(kernel) != len(source) - 1 or per_group * self.groups != source[0] or out % self.groups:
            return None
        return (out, *window_shape(source[1:], tuple(kernel), self.stride, self.padding, self.dilation))

    def meeting(self) -> Iterator[Whole]:
        """Yield all codes: every window meets the whole kernel."""
        codes = self.weight.codes
        yield codes.reshape(self.groups, len(codes) // self.groups, *codes.shape[1:])

    def operations(self, source: Shape) -> int:
        """Return one product per code and place of the output."""
        return self.weight.codes.size * math.prod(self.shape[1:])

    def reach(self, source: Shape) -> Integers:
        """Return the windows that hold a place, times the output channels of its group."""
        kernel = self.weight.codes.shape[2:]
        axes = zip(source[1:], self.shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True)
        return self.shape[0] // self.groups * reduce(np.multiply.outer, [readers_along(*axis) for axis in axes])[None]


@dataclass(frozen=True, eq=False, kw_only=True)
class TransposedConvolution(Weighted):
    """A transposed convolution of one, two or three dimensions; codes are [C_in, C_out/groups, *kernel].

    The integer at place i adds ``w_k * x_i`` to place ``i * stride + k * dilation - padding``. The weight's ``step`` is
    [1] or [C_out]; ``padding`` cuts that much off every side and ``output_padding`` adds rows at the end.
    """

    operation: ClassVar[str] = "transposed_convolution"
    output_axis: ClassVar[int] = 1

    stride: Sizes
    padding: Paddings
    output_padding: Paddings
    dilation: Sizes
    groups: Groups = 1

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        window = {
            "stride": self.stride, "padding": self.padding, "output_padding": self.output_padding,
            "dilation": self.dilation,
        }  # fmt: skip
        return by_step(inputs[0], lambda x: convolve_transposed(x, self.weight.codes, **window, groups=self.groups))

    def shape_of(self, source: Shape) -> Shape | None:
        """Return what the spread kernels cover, less the padding."""
        into, per_group, *kernel = self.weight.codes.shape
        if len(kernel) != len(source) - 1 or into != source[0] or into % self.groups:
            return None
        axes = zip(source[1:], kernel, self.stride, self.padding, self.output_padding, self.dilation, strict=True)
        grown = ((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in axes)
        return (per_group * self.groups, *grown)

    def meeting(self) -> Iterator[Whole]:
        """Yield every stride-th tap in turn: tap k adds to the outputs at ``k * dilation`` modulo the stride."""
        codes = self.weight.codes
        codes = codes.reshape(self.groups, len(codes) // self.groups, *codes.shape[1:]).swapaxes(1, 2)
        for phase in np.ndindex(*self.stride):
            taps = codes
            for axis, (d, s, at) in enumerate(zip(self.dilation, self.stride, phase, strict=True), start=3):
                taps = taps.compress(np.arange(codes.shape[axis]) * d % s == at, axis)
            yield taps

    def operations(self, source: Shape) -> int:
        """Return one product per code and place of the source."""
        return self.weight.codes.size * math.prod(source[1:])

    def reach(self, source: Shape) -> Integers:
        """Return the taps that do not fall outside, times the output channels of the group."""
        kernel, each = self.weight.codes.shape[2:], self.weight.codes.shape[1]
        axes = zip(source[1:], self.shape[1:], kernel, self.stride, self.padding, self.dilation, strict=True)
        # Place x meets tap i in output x * s - p + d * i, if there is such an output.
        inside: list[Integers] = [
            np.array([sum(0 <= x * s - p + d * i < out for i in range(k)) for x in range(n)])
            for n, out, k, s, p, d in axes
        ]
        met: Integers = each * reduce(np.multiply.outer, inside)[None]
        return met


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Weighted):
    """A matrix product over the last axis: ``y_o = sum over i of w_oi * x_i``."""

    operation: ClassVar[str] = "linear"

    def run(self, inputs: list[Whole], steps: int) -> Integers:
        return by_step(inputs[0], lambda x: multiply(x, self.weight.codes.T))

    def shape_of(self, source: Shape) -> Shape | None:
        return self.weight.codes.shape[:1] if self.weight.codes.shape[1:] == source else None

    def operations(self, source: Shape) -> int:
        return self.weight.codes.size

    def reach(self, source: Shape) -> Integers:
        return np.full(source, len(self.weight.codes))
