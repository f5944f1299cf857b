"""Whether a network fits a board: what is known before anything is compiled, against its flash and RAM."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.errors import ExportError
from bitspike.formats.c.boards.board import HOST, Board, board_of, names
from bitspike.formats.c.host import packing_of
from bitspike.formats.c.program import Program
from bitspike.formats.c.text import bytes_of
from bitspike.integer.network import IntegerNetwork

CALLS = 768
"""Bytes of stack for what functions keep besides their local arrays: 450 to 620 are measured."""


@dataclass(frozen=True)
class Needs:
    """What a network takes of a board at least, in bytes.

    Args:
        flash: lines of what it is and how much.
        ram: the same.
        largest: of its constant tables, the largest one.
    """

    flash: dict[str, int]
    ram: dict[str, int]
    largest: int


def needs(net: IntegerNetwork, program: Program) -> Needs:
    """Return what a program needs of flash and RAM, its code left out, which only a compiler knows.

    Example:
        >>> from bitspike.formats.c.program import program
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> needs(net, program(net, "network")).ram
        {'the state': 68, 'the codes of an input': 16, 'the outputs': 128, 'the stack': 2340}
    """
    memory, packing = program.memory, packing_of(net)
    image = 0 if packing is None else math.prod(packing.image) * bytes_of(packing.ctype)
    ram = {
        "the state": max(memory.state, image),  # an image that is packed shares its place
        "the codes of an input": memory.codes,
        "the outputs": sum(8 * math.prod(output.shape) for output in net.outputs),
        "the stack": memory.stack + CALLS,
    }
    flash = {"weight codes": memory.weights, "other tables": memory.tables}
    return Needs(flash, ram, max((layer.weights for layer in memory.layers), default=0))


def problems(board: Board, need: Needs) -> list[str]:
    """Return every limit of a board that a network breaks, with its figures.

    Example:
        >>> problems(board_of("avr"), Needs({"weight codes": 40_000}, {"the state": 20_000, "the stack": 900}, 40_000))
        ['RAM: at least 20,900 bytes, the board has 16,384 (the state 20,000, the stack 900)', \
'the largest table of weights has 40,000 bytes, avr-gcc holds 32,767']
    """
    said = []
    for what, parts, most in (("flash", need.flash, board.flash), ("RAM", need.ram, board.ram)):
        total = sum(parts.values())
        if most and total > most:
            shown = ", ".join(f"{name} {count:,}" for name, count in parts.items())
            said.append(f"{what}: at least {total:,} bytes, the board has {most:,} ({shown})")
    if board.constants and sum(need.flash.values()) > board.constants:
        total = sum(need.flash.values())
        said.append(f"constant tables of {total:,} bytes, {board.compiler} reaches {board.constants:,}")
    if board.array and need.largest > board.array:
        said.append(f"the largest table of weights has {need.largest:,} bytes, {board.compiler} holds {board.array:,}")
    return said


def need_room(board: Board, need: Needs) -> None:
    """Refuse a network that cannot fit a board.

    Raises:
        ExportError: it does not fit, with the figures, the boards that it would fit, and what makes it smaller.
    """
    said = problems(board, need)
    if not said:
        return
    others = [name for name in names() if name != HOST and not problems(board_of(name), need)]
    ways = [f'board="{name}" (--board {name})' for name in others]
    if any(line.startswith("RAM") for line in said):
        ways.append("fewer channels, smaller images, or potentials of few bits (neuron.membrane of a recipe)")
    if not all(line.startswith("RAM") for line in said):
        ways.append("weights of fewer bits (bitspike mix RECIPE --bytes N)")
    lines = [f"the network does not fit board {board.name}, {board.title}", *said]
    raise ExportError("\n  ".join(lines), fix="; or ".join(ways))
