"""Where the potentials of a neuron lie between two steps, in C: as they are, or as codes that share a byte."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.formats.c import runtime as c_runtime
from bitspike.formats.c.draft import Draft, Member, parameter
from bitspike.formats.c.text import integer, plain
from bitspike.formats.c.types import type_bits, work_bits
from bitspike.integer.nodes import FewBitNeuron, Neuron


@dataclass(frozen=True)
class Potentials:
    """The potentials of a neuron in the state of a program.

    Args:
        draft: the program.
        node: the neuron.
    """

    draft: Draft
    node: Neuron

    @property
    def lanes(self) -> int:
        """How many of them share a byte: of codes of 2 bits four, of 3 and 4 bits two."""
        bits = self.node.kept_bits if isinstance(self.node, FewBitNeuron) else 8
        return 4 if bits == 2 else 2 if bits <= 4 else 1

    @property
    def array(self) -> str:
        """The array in the state."""
        return f"s->v_{self.draft.symbol(self.node)}"

    @property
    def place(self) -> str:
        """The place of potential ``k``."""
        return f"{self.array}[k / {self.lanes}]" if self.lanes > 1 else f"{self.array}[k]"

    @property
    def stored(self) -> str:
        """The type of one place."""
        return "uint8_t" if self.lanes > 1 else f"int{type_bits(self.draft.bounds[self.node.id].state)}_t"

    @property
    def bits(self) -> int:
        """Bits of the numbers that compute the neuron."""
        return work_bits(self.draft.bounds[self.node.id])

    @property
    def _lane(self) -> tuple[int, str]:
        """The bits of a lane, and how far the lane of potential ``k`` lies from the end of its byte."""
        return 8 // self.lanes, f"k % {self.lanes} * {8 // self.lanes}"

    def load(self) -> str:
        """Return the expression of potential ``k``."""
        value = self.place
        if self.lanes > 1:
            width, at = self._lane
            sign = 1 << (width - 1)
            # The sign bit of a code of few bits is its last one: x ^ sign - sign carries it on.
            value = f"((({value} >> ({at})) & {2 * sign - 1}) ^ {sign}) - {sign}"
            value = f"(int{self.bits}_t)({value})"
        else:
            value = f"(int{self.bits}_t){value}"
        if isinstance(self.node, FewBitNeuron) and self.node.kept_shift:
            value = f"({value} * {integer(1 << self.node.kept_shift)})"
        return value

    def store(self, left: str) -> list[str]:
        """Return the statements that keep what is left of potential ``k`` after the reset; they may change ``h``."""
        node = self.node
        if not isinstance(node, FewBitNeuron):
            return [f"{self.place} = ({self.stored})({left});"]
        low, high = map(integer, node.codes)
        code = shifted(self.draft, self.bits, f"h + {node.half}", node.kept_shift) if node.kept_shift else "h"
        return [f"h = {left};", f"h = {code};", *self._put(f"h < {low} ? {low} : h > {high} ? {high} : h")]

    def _put(self, code: str) -> list[str]:
        """Return the statements that put a code to the place of ``k``."""
        if self.lanes == 1:
            return [f"{self.place} = ({self.stored})({code});"]
        width, at = self._lane
        mask = (1 << width) - 1
        cleared, moved = f"{self.place} & ~({mask}u << ({at}))", f"((uint32_t)h & {mask}u) << ({at})"
        return [f"h = {code};", f"{self.place} = (uint8_t)(({cleared}) | ({moved}));"]

    def rest(self) -> str:
        """Return the statement that sets the potentials before the first step."""
        node = self.node
        if not node.initial.any():
            return f"memset({self.array}, 0, sizeof {self.array});"
        initial = node.stored(node.initial) if isinstance(node, FewBitNeuron) else node.initial
        value = parameter(self.draft, node, "initial", initial)
        plane = math.prod(node.shape[1:])
        if self.lanes == 1:
            each = f"{self.array}[c * {plane} + p] = ({self.stored}){value};"
        else:
            put = " ".join(self._put(value))
            each = f"{{ const uint32_t k = c * {plane} + p; int32_t h; {put} }}"
        return f"for (c = 0; c < {node.shape[0]}; c++) for (p = 0; p < {plane}; p++) {each}"


def potentials(draft: Draft, node: Neuron) -> Potentials:
    """Add the potentials of a neuron to a program's state."""
    low, high = draft.bounds[node.id].state
    size, kept = math.prod(node.shape), Potentials(draft, node)
    lanes = f", {kept.lanes} in a byte" if kept.lanes > 1 else ""
    note = f"potential of {plain(node.path)}, {low} to {high}{lanes}"
    draft.members.append(Member(kept.stored, kept.array.removeprefix("s->"), -(-size // kept.lanes), note))
    return kept


def shifted(draft: Draft, bits: int, value: str, k: int) -> str:
    """Return a shift that rounds down; beyond the sign bit it gives 0 or -1 whatever the distance."""
    draft.runtime[f"shift{bits}"] = c_runtime.SHIFT.replace("@B", str(bits))
    return f"shift{bits}({value}, {min(k, bits - 1)})"
