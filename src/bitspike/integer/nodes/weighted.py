"""Layers with weights: the sums of products of an integer network."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import Integers, Reals, Shape
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
    step: Reals
    bits: int
    low: int
    high: int
    levels: tuple[int, ...] | None = None
    scheme: str = ""

    def __post_init__(self) -> None:
        if self.codes.size and (self.codes.min() < self.low or self.codes.max() > self.high):
            raise ConstraintError(
                f"weight codes reach from {self.codes.min()} to {self.codes.max()}, "
                f"the grid {self.scheme!r} from {self.low} to {self.high}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(Node):
    """The base of all layers that multiply what they read by weight codes."""

    weight: Weight


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Weighted):
    """A convolution of one, two or three dimensions; zero padding."""

    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class TransposedConvolution(Weighted):
    """A transposed convolution of one, two or three dimensions; codes are [C_in, C_out/groups, *kernel].

    The weight's ``step`` is [1] or [C_out]. Every input integer is spread over the kernel with the given stride;
    ``padding`` cuts that much off every side and ``output_padding`` adds rows at the end.
    """

    stride: Shape
    padding: Shape
    output_padding: Shape
    dilation: Shape
    groups: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Weighted):
    """A matrix product over the last axis."""
