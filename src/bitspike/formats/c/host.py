"""The host's side of a C program: what it has to do before a run, in words, and as a function that packs an image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitspike.formats.c.text import integer, plain
from bitspike.formats.host import after, around, before, codes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Readout, Shape

_SHOWN = 16
"""Channels whose worth is listed."""


@dataclass(frozen=True)
class Packing:
    """How an image of whole numbers, pixel after pixel, becomes the codes that a program reads.

    Args:
        image: its shape [C, H, W]; of an input of one axis H is 1.
        around: of what the program reads, [C, H, W].
        before: rows above and columns to the left of the image.
        border: the code of every channel there; zeros where there is none.
        most: the largest code; pixels above it become it.
    """

    image: Shape
    around: Shape
    before: Shape
    border: tuple[int, ...]
    most: int

    @property
    def ctype(self) -> str:
        """C's type of a channel of a pixel."""
        return "uint8_t" if self.most < 1 << 8 else "uint16_t"

    @property
    def highest(self) -> int:
        """The largest number that this type holds."""
        return (1 << 8 if self.most < 1 << 8 else 1 << 16) - 1

    @property
    def clips(self) -> bool:
        """Whether a pixel may lie above the largest code."""
        return self.most < self.highest

    def __call__(self, pixels: npt.NDArray[np.unsignedinteger]) -> Integers:
        """Return the codes [C, H, W] of pixels [H, W, C], as the function of the program does."""
        _, height, width = self.image
        top, left = self.before
        codes = np.empty(self.around, np.int64)
        codes[...] = np.array(self.border).reshape(-1, 1, 1)
        inside = np.minimum(pixels.astype(np.int64), self.most).transpose(2, 0, 1)
        codes[:, top : top + height, left : left + width] = inside
        return codes


def packing_of(net: IntegerNetwork) -> Packing | None:
    """Return how images are packed; None where what enters is no image of whole numbers from 0 up.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> packing_of(one_convolution())
        Packing(image=(1, 4, 4), around=(1, 4, 4), before=(0, 0), border=(0,), most=8)
    """
    entry, border = net.input, net.border
    low, high = entry.grid.low, entry.grid.high
    if entry.coding != "direct" or low != 0 or high >= 1 << 16 or not 2 <= len(entry.shape) <= 3 or before(net):
        return None
    channels, *places = entry.shape if border is None else border.image(entry.shape)
    missing = [1] * (2 - len(places))
    return Packing(
        image=(channels, *missing, *places),
        around=(entry.shape[0], *missing, *entry.shape[1:]),
        before=(0, 0) if border is None else (*[0] * len(missing), *border.before),
        border=(0,) * channels if border is None else border.codes,
        most=high,
    )


def duties(net: IntegerNetwork, name: str) -> list[str]:
    """Return what the host has to do, a sentence or two for each thing, in the order in which it is done."""
    said, packing, border = [], packing_of(net), net.border
    if words := before(net):
        said.append(f"Before the codes it computes, in real numbers: {plain(words)}.")
    said.append(codes(net.input))
    if packing is not None:
        channels, height, width = packing.image
        numbers = "byte" if packing.ctype == "uint8_t" else "integer of 16 bits"
        limited = f"; what is above {packing.most} becomes {packing.most}" * packing.clips
        said.append(
            f"`{name}_pack` makes them of an image: {height} rows of {width} pixels of {channels} {numbers}"
            f"{'s' * (channels > 1)} each, in the order of cameras and image files{limited}."
        )
    if border is not None:
        said.append(around(net) + f" `{name}_pack` puts it there." * (packing is not None))
    said += [_worth(output) for output in net.outputs]
    if words := after(net):
        said.append(f"After the outputs it computes, in real numbers: {plain(words)}.")
    return said


def _worth(output: Readout) -> str:
    """Say what the integers of an output stand for."""
    head = f"The output `{output.id}` is {list(output.shape)} of int64_t"
    worths = [repr(float(scale)) for scale in output.scale]
    if len(worths) == 1:
        return f"{head}; one is worth {worths[0]}, so the largest integer is the largest value."
    shown = ", ".join(worths[:_SHOWN]) + f" and {len(worths) - _SHOWN} more" * (len(worths) > _SHOWN)
    return f"{head}; one is worth, channel by channel, {shown}: compare the products."


def prototype(packing: Packing, name: str) -> list[str]:
    """Return the sizes of an image and the prototype of the function that packs it."""
    upper = name.upper()
    channels, height, width = packing.image
    around = "" if packing.image == packing.around else ", and of the border around it"
    limited = f"; above {packing.most} they become {packing.most}" * packing.clips
    return [
        f"#define {upper}_IMAGE_CHANNELS {channels}",
        f"#define {upper}_IMAGE_HEIGHT {height}",
        f"#define {upper}_IMAGE_WIDTH {width}",
        f"#define {upper}_IMAGE_SIZE {math.prod(packing.image)} /* numbers of one image */",
        "",
        f"/* Make the codes of one image{around}: rows of pixels of CHANNELS numbers each{limited}. */",
        f"void {name}_pack(const {packing.ctype} *pixels, {name}_input *input);",
        "",
    ]


def function(packing: Packing, name: str) -> str:
    """Return the function that packs an image."""
    channels, height, width = packing.image
    _, high, wide = packing.around
    top, left = packing.before
    value = f"pixels[(y * {width} + x) * {channels} + c]"
    lines = ["    uint32_t c, y, x;"]
    bordered = packing.image != packing.around
    if bordered:
        codes = ", ".join(map(integer, packing.border))
        lines.insert(0, f"    static const ROM {name}_input border[{channels}] = {{{codes}}};")
        lines[1] = "    uint32_t c, y, x, k = 0;"
        lines += [
            f"    for (c = 0; c < {channels}; c++)",
            f"        for (; k < (c + 1) * {high * wide}; k++) input[k] = border[c];",
        ]
    at = f"(c * {high} + y + {top}) * {wide} + x + {left}" if bordered else f"(c * {height} + y) * {width} + x"
    lines += [
        f"    for (c = 0; c < {channels}; c++)",
        f"        for (y = 0; y < {height}; y++)",
        f"            for (x = 0; x < {width}; x++)",
    ]
    if packing.clips:
        value = f"{value} > {packing.most} ? {packing.most} : {value}"
    lines.append(f"                input[{at}] = ({name}_input)({value});")
    body = "\n".join(lines)
    return f"void {name}_pack(const {packing.ctype} *pixels, {name}_input *input)\n{{\n{body}\n}}\n"
