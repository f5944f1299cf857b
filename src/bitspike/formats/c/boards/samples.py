"""How many samples of the golden vectors a board holds next to the program."""

from __future__ import annotations

import math

from bitspike.errors import ExportError
from bitspike.formats.c.bench import Vectors, check_vectors
from bitspike.formats.c.boards.board import Board
from bitspike.formats.c.boards.fit import needs
from bitspike.formats.c.program import Program
from bitspike.formats.c.text import bytes_of
from bitspike.integer.network import IntegerNetwork

CODE = 16384
"""Bytes of flash that are kept for the code of program and bench; docs/export-c.md has what was measured."""


def vectors_that_fit(board: Board, net: IntegerNetwork, program: Program, vectors: Vectors) -> Vectors:
    """Return the vectors, or those of the first samples where a board's flash does not hold all of them.

    Raises:
        ExportError: it does not hold one, or these are no vectors of the network.
    """
    samples, arrays = check_vectors(net, vectors), _bytes_of_a_sample(net, program)
    fitting = samples
    if board.flash:
        room = board.flash - CODE - sum(needs(net, program).flash.values())
        fitting = min(fitting, room // sum(arrays))
    if board.array:
        fitting = min(fitting, board.array // max(arrays))
    if fitting < 1:
        raise ExportError(
            f"the flash of board {board.name}, {board.title}, holds the network but no sample of its golden vectors: "
            f"{sum(arrays):,} bytes, {max(arrays):,} of them in one table",
            fix='bench=False in Python writes the firmware alone; board="cortex-m4" (--board cortex-m4) replays them',
        )
    by_step = ("input_codes", *(f"{n.id}.spikes" for n in net.neurons))
    return {name: vectors[name][:, :fitting] for name in by_step} | {
        f"{o.id}.output": vectors[f"{o.id}.output"][:fitting] for o in net.outputs
    }


def _bytes_of_a_sample(net: IntegerNetwork, program: Program) -> list[int]:
    """Return the bytes that one sample adds to each table of golden vectors."""
    steps = 1 if net.input.constant else net.steps
    codes = steps * math.prod(net.input.shape) * bytes_of(program.input_type)
    spikes = [net.steps * -(-math.prod(n.shape) // 8) for n in net.neurons for _ in range(1 + n.signed)]
    return [codes, *spikes, *(8 * math.prod(o.shape) for o in net.outputs)]
