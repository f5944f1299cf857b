"""How much memory the C program of a network needs, and the arrays of its state."""

from __future__ import annotations

from dataclasses import dataclass

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, Member
from bitspike.formats.c.text import bytes_of


@dataclass(frozen=True)
class CMemory:
    """The memory that a C program of a network needs, in bytes.

    Args:
        weights: weight codes, packed, in flash.
        tables: everything else that is constant: thresholds, biases, gains, shapes; in flash, pointers of 4 bytes.
        state: the struct that the caller owns, in RAM.
        stack: local arrays of the deepest call.
    """

    weights: int
    tables: int
    state: int
    stack: int

    def __str__(self) -> str:
        flash = f"{self.weights + self.tables} bytes of constants ({self.weights} of them weight codes)"
        return f"{flash}, {self.state} bytes of state, {self.stack} bytes of local arrays"


def members(draft: Draft) -> list[Member]:
    """Return the state's arrays, the widest integers first, so that no gaps lie between them."""
    wires = [
        Member(f"int{bits}_t", f"wires{bits}", size, "wires of one step; those of different moments share it")
        for bits, size in draft.layout.arenas.items()
    ]
    counter = Member("uint32_t", "step", 1, "steps done", single=True)
    return sorted([*draft.members, *wires, counter], key=lambda m: -bytes_of(m.ctype))


def memory_of(draft: Draft) -> CMemory:
    """Return what a program needs, from the tables, members and functions of its draft."""
    arrays = members(draft)
    size, widest = sum(bytes_of(m.ctype) * m.size for m in arrays), max(bytes_of(m.ctype) for m in arrays)
    stack = 0
    if any(name.startswith("linear") for name in draft.runtime):
        stack = 4 * c_runtime.SOME
    if "convolution" in draft.runtime:
        stack = max(stack, c_runtime.EVENT_BYTES * c_runtime.SOME + 4 * draft.taps)
    return CMemory(draft.weight_bytes, draft.tables.size - draft.weight_bytes, -(-size // widest) * widest, stack)
