"""A C program while its nodes are written, and the pieces of C that nodes are made of.

Inside a phase function ``s`` is the state, ``t`` the step from 0 and ``x`` the input of that step. Wires hold the
integers of one step in the order of the network's shapes, the last axis fastest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from bitspike.formats.c.layout import Address, Layout
from bitspike.formats.c.text import Tables, integer, plain
from bitspike.formats.c.types import type_bits
from bitspike.formats.c.weights import Packed
from bitspike.integer.bounds.widths import Bounds, Range
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node


@dataclass(frozen=True)
class Member:
    """An array of the state, or a single number.

    Args:
        ctype: type of its integers.
        name: unique in the state.
        size: how many there are.
        note: what it is.
        single: whether it is a number.
    """

    ctype: str
    name: str
    size: int
    note: str
    single: bool = False

    @property
    def declared(self) -> str:
        """The name as C declares it."""
        return self.name if self.single else f"{self.name}[{self.size}]"


@dataclass
class Draft:
    """A C program while its nodes are written: each node adds its functions, tables and members of the state.

    Args:
        net, bounds, layout: what is written.
        packed: weights by node id.
        input_type: C's type of one input code.
        name: of the program; begins every name that leaves its file.
        tables: constant arrays.
        objects: constant structs that point to them.
        runtime: functions of the runtime, by what names them.
        functions: of the nodes.
        members: of the state, without the wires.
        resets: statements that put the state at rest.
        weight_bytes: of the tables, how much is weight codes.
        taps: of the largest kernel.
    """

    net: IntegerNetwork
    bounds: dict[str, Bounds]
    layout: Layout
    packed: dict[str, Packed]
    input_type: str
    name: str
    tables: Tables = field(default_factory=Tables)
    objects: list[str] = field(default_factory=list)
    runtime: dict[str, str] = field(default_factory=dict)
    functions: list[str] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    weight_bytes: int = 0
    taps: int = 1

    def symbol(self, node: Node) -> str:
        """Return a name that is valid in C and that no other node has."""
        return f"n{self.net.nodes.index(node)}_{node.id}"

    def type(self, id: str) -> str:
        """Return the type of a wire's integers."""
        place = self.layout.addresses[id]
        return self.input_type if place.of_input else f"int{place.bits}_t"

    def at(self, place: Address) -> str:
        """Return where a wire's integers of this step begin."""
        if place.of_input:
            return f"x + {place.start}" if place.start else "x"
        steps = f" + t * {place.stride}" if place.stride else ""
        return f"s->wires{place.bits} + {place.start}{steps}"

    def wire(self, id: str) -> str:
        """Return where the integers of a node's wire begin at this step."""
        return self.at(self.layout.addresses[id])

    def member(self, bounds: Range, name: str, size: int, note: str) -> str:
        """Add an array to the state and return the type of its integers."""
        ctype = f"int{type_bits(bounds)}_t"
        self.members.append(Member(ctype, name, size, note))
        return ctype


def title(node: Node) -> str:
    """Return what a comment calls a node."""
    return f"{plain(node.path)}: {type(node).__name__} {list(node.shape)}"


def function(draft: Draft, node: Node, name: str, body: list[str], *, out: str | None, note: str = "") -> list[str]:
    """Define a C function with the arguments that ``body`` uses, and return the statement that calls it."""
    text = "\n".join(body)
    offered = [("s", f"{draft.name}_state *s", "s"), ("t", "uint32_t t", "t")]
    offered += [(f"x{i}", f"const {draft.type(id)} *x{i}", draft.wire(id)) for i, id in enumerate(node.sources)]
    if out is not None:
        offered.append(("out", f"{draft.type(node.id)} *out", out))
    used = [(name, value) for word, name, value in offered if re.search(rf"(?<![\w.>]){word}(?!\w)", text)]
    arguments, values = ", ".join(d for d, _ in used), ", ".join(v for _, v in used)
    comment = f"/* {title(node)}{note} */"
    draft.functions.append(f"{comment}\nstatic void {name}({arguments})\n{{\n{text}\n}}\n")
    return [f"{name}({values});"]


def loops(axes: Sequence[tuple[str, int]], inside: list[str], *, depth: int = 1) -> list[str]:
    """Return ``inside`` in nested loops."""
    lines = []
    for i, (name, size) in enumerate(axes):
        lines.append(
            "    " * (depth + i) + f"for ({name} = 0; {name} < {size}; {name}++)" + " {" * (i == len(axes) - 1)
        )
    deeper = "    " * (depth + len(axes))
    return [*lines, *[deeper + line for line in inside], "    " * (depth + len(axes) - 1) + "}"]


def by_channel(node: Node, hoisted: list[str], inside: list[str]) -> list[str]:
    """Return loops over channels ``c`` and their places; ``k`` is the flat index."""
    channels, plane = node.shape[0], math.prod(node.shape[1:])
    return [
        "    uint32_t c, p, k = 0;",
        f"    for (c = 0; c < {channels}; c++) {{",
        *[f"        {line}" for line in hoisted],
        f"        for (p = 0; p < {plane}; p++, k++) {{",
        *[f"            {line}" for line in inside],
        "        }",
        "    }",
    ]


def parameter(draft: Draft, node: Node, name: str, values: Integers) -> str:
    """Return the expression of a parameter [1 or T, 1 or C] or [1 or C] at step ``t`` and channel ``c``."""
    rows = values.reshape(1, -1) if values.ndim == 1 else values
    if (rows == rows.flat[0]).all():
        return integer(int(rows.flat[0]))
    if (rows == rows[:1]).all():
        rows, index, axes = rows[:1], "c", "by channel"
    elif (rows == rows[:, :1]).all():
        rows, index, axes = rows[:, :1], "t", "by step"
    else:
        index, axes = f"t * {rows.shape[1]} + c", "by step and channel"
    table = draft.tables.add(f"{name}_{draft.symbol(node)}", rows, f"{plain(node.path)}: {name} {axes}")
    return f"{table}[{index}]"
