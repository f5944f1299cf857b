"""How much memory the C program of a network needs, layer by layer, and the arrays of its state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, Member
from bitspike.formats.c.text import bytes_of, plain
from bitspike.integer.nodes import Node
from bitspike.tables import Shown, Table


@dataclass(frozen=True)
class LayerMemory:
    """What one node of a network adds to the memory of its C program, in bytes.

    Args:
        path: of its module.
        kind: of the node.
        weights: weight codes, packed, in flash.
        tables: its other constants, in flash; tables that layers share belong to the first of them.
        state: its potentials, sums or counters, in RAM.
    """

    path: str
    kind: str
    weights: int
    tables: int
    state: int


@dataclass(frozen=True, repr=False)
class CMemory(Shown):
    """The memory that a C program of a network needs, in bytes.

    Args:
        weights: weight codes, packed, in flash.
        tables: everything else that is constant: thresholds, biases, gains, shapes; in flash, pointers of 4 bytes.
        state: the struct that the caller owns, in RAM.
        stack: local arrays of the deepest call.
        layers: of these constants and this state, what each node needs; nodes that need nothing are left out.
        wires: of the state, the wires of one step, which all layers share; the count of the steps and what aligns it.
        codes: in RAM, the codes that the caller hands over for one call of ``NAME_run``.
    """

    weights: int
    tables: int
    state: int
    stack: int
    layers: tuple[LayerMemory, ...] = ()
    wires: int = 0
    codes: int = 0

    def table(self) -> Table:
        """Return a row for every layer, of those that need memory, and what they share."""
        rows = [(plain(m.path), m.kind, *map(_bytes, (m.weights, m.tables, m.state))) for m in self.layers]
        rows.append(("wires, shared", "", "", "", _bytes(self.wires)))
        rows.append(("together", "", *map(_bytes, (self.weights, self.tables, self.state))))
        return Table(
            "Memory of the C program, in bytes",
            ("layer", "kind", "flash: weights", "flash: tables", "RAM: state"),
            rows,
            [
                f"besides, in RAM: {self.codes:,} for the codes of an input and {self.stack:,} of local arrays",
                "besides, in flash: the code, by compiler and options; make size tells",
            ],
        )

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


def _bytes(count: int) -> str:
    return f"{count:,}" if count else ""


@dataclass
class Ledger:
    """What every node of a draft adds to it, noted while they are written."""

    draft: Draft
    layers: dict[str, LayerMemory] = field(default_factory=dict)

    @contextmanager
    def of(self, node: Node) -> Iterator[None]:
        """Note what is added for a node, on top of what was noted for it before."""
        draft, known = self.draft, self.layers.get(node.id)
        constants, weights, count = draft.tables.size, draft.weight_bytes, len(draft.members)
        yield
        weights = draft.weight_bytes - weights
        added = (
            weights, draft.tables.size - constants - weights,
            sum(bytes_of(m.ctype) * m.size for m in draft.members[count:]),
        )  # fmt: skip
        before = (known.weights, known.tables, known.state) if known else (0, 0, 0)
        numbers = (a + b for a, b in zip(added, before, strict=True))
        self.layers[node.id] = LayerMemory(node.path, type(node).__name__, *numbers)


def memory_of(ledger: Ledger) -> CMemory:
    """Return what a program needs, from the tables, members and functions of its draft."""
    draft, entry = ledger.draft, ledger.draft.net.input
    arrays = members(draft)
    size, widest = sum(bytes_of(m.ctype) * m.size for m in arrays), max(bytes_of(m.ctype) for m in arrays)
    stack = 0
    if any(name.startswith("linear") for name in draft.runtime):
        stack = 4 * c_runtime.SOME
    if "convolution" in draft.runtime:
        stack = max(stack, c_runtime.EVENT_BYTES * c_runtime.SOME + 4 * draft.taps)
    layers = tuple(m for m in ledger.layers.values() if m.weights or m.tables or m.state)
    state = -(-size // widest) * widest
    steps = 1 if entry.constant else draft.net.steps
    return CMemory(
        weights=draft.weight_bytes,
        tables=draft.tables.size - draft.weight_bytes,
        state=state,
        stack=stack,
        layers=layers,
        wires=state - sum(m.state for m in layers),
        codes=math.prod(entry.shape) * steps * bytes_of(draft.input_type),
    )
