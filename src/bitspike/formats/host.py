"""What is left to the host, whatever the format: the codes, a border around images, and what stays real numbers."""

from __future__ import annotations

import math

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Shape


def before(net: IntegerNetwork) -> str:
    """Return what the host computes in real numbers before the spikes, in words; "" where there is nothing.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> before(one_convolution())
        ''
    """
    return "" if net.border is not None else _parts(net, "before the spikes: ")


def after(net: IntegerNetwork) -> str:
    """Return what the host computes in real numbers after the outputs, in words; "" where there is nothing."""
    return _parts(net, "after the spikes: ")


def around(net: IntegerNetwork) -> str:
    """Say which border the host puts around an image; "" where there is none."""
    border = net.border
    if border is None:
        return ""
    return (
        f"Around the image stands a border, {_sides(border.before, border.after)}, of the code of each channel: "
        f"{', '.join(map(str, border.codes))}. That is the mean of the normalization, which is folded into the first "
        "weights."
    )


def codes(entry: Input) -> str:
    """Say how a code is made of a real value."""
    grid, size = entry.grid, math.prod(entry.shape)
    when = "one step, the same ones at every step" if entry.constant else "each step"
    shape = f"It hands over {size} codes of {when}, {list(entry.shape)}, the last axis fastest"
    if entry.coding == "rate":
        return (
            f"{shape}: of a value x from 0 to 1 the n = round(x * T) spikes, ties to the even number, spread evenly: "
            "1 at the steps t from 1 to T at which floor(n * t / T) rises, else 0."
        )
    if entry.coding == "bernoulli":
        chance = "min(|x|, 1)" if entry.divisor == 1 else f"min(|x| / {entry.divisor!r}, 1)"
        return f"{shape}: of a value x at random, with the probability {chance}, 1 or, below 0, -1; else 0."
    if grid.scale == 1 / 255 and (grid.low, grid.high) == (0, 255):
        return f"{shape}: the bytes of an 8-bit image as they are, which stand for 0 to 1."
    if grid.scale == 1:
        return f"{shape}: whole numbers from {grid.low} to {grid.high} as they are."
    return (
        f"{shape}: round(x / {grid.scale!r}) of a real value x, ties to the even number, not below {grid.low} and not "
        f"above {grid.high}."
    )


def _parts(net: IntegerNetwork, where: str) -> str:
    parts = net.source.get("host", "").split("; ")
    return ", ".join(part.removeprefix(where) for part in parts if part.startswith(where))


def _sides(low: Shape, high: Shape) -> str:
    """Return in words how wide a border is."""
    if len({*low, *high}) == 1:
        return f"{low[0]} wide on every side"
    return f"{', '.join(map(str, low))} before and {', '.join(map(str, high))} after the places of its axes"
