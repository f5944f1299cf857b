"""What one operation costs in a technology: published figures, and how they are read for other widths.

Published are additions and multiplications of 8 and 32 bits. For other integer widths (an assumption, stated in every
report): a ripple adder has one cell per bit, so an addition is linear in its width between the published points and
proportional outside them; an array multiplier of a x b bits has a * b cells, so a multiplication is read the same way
over the product of the widths. Horowitz' two points differ from proportionality by 17 % and 3 %.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitspike.errors import ConstraintError, short
from bitspike.hardware.toml_file import find, names_in, read_toml

TABLES = Path(__file__).parent / "tables"
FORMAT = 1
_COPY = f"a copy of {TABLES / 'horowitz-45nm.toml'}, changed line by line"
_MOST_PJ = 1e12


@dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory and the energy of one access.

    Args:
        name: as the report shows it.
        width: bits of one access.
        access_pj: energy of one access, pJ.
        bytes: capacity; None holds anything.

    Raises:
        ConstraintError: a size is not a whole number of at least 1, or the energy is not above 0.
    """

    name: str
    width: int
    access_pj: float
    bytes: int | None = None

    def __post_init__(self) -> None:
        sizes = (self.width, 1 if self.bytes is None else self.bytes)
        if not all(type(n) is int and n >= 1 for n in sizes) or not 0 < self.access_pj <= _MOST_PJ:
            raise ConstraintError(
                f"memory {self.name!r}: width {short(self.width)}, bytes {short(self.bytes)}, access_pj "
                f"{short(self.access_pj)}; whole numbers of at least 1 and an energy up to {_MOST_PJ:g} pJ are needed",
                fix="width = 64, bytes = 8192, access_pj = 10.0, as the shipped table has",
            )

    @property
    def bit_pj(self) -> float:
        """Energy of one bit, pJ: narrow words share an access."""
        return self.access_pj / self.width


@dataclass(frozen=True, kw_only=True)
class Technology:
    """Energies of one technology.

    Args:
        name: of the table.
        process: node and voltage.
        sources: where the figures come from.
        add_pj, multiply_pj: pJ by number format: ``int8``, ``int32``, ``float16``, ``float32``.
        memories: from the smallest to the largest.

    Raises:
        ConstraintError: a figure is missing or not above 0.
    """

    name: str
    process: str
    sources: tuple[str, ...]
    add_pj: Mapping[str, float]
    multiply_pj: Mapping[str, float]
    memories: tuple[Memory, ...] = ()

    def __post_init__(self) -> None:
        for what, table in (("add_pj", self.add_pj), ("multiply_pj", self.multiply_pj)):
            if missing := [key for key in ("int8", "float32") if key not in table]:
                raise ConstraintError(
                    f"table {self.name!r}: {what} lacks {', '.join(missing)}",
                    fix=f"{missing[0]} = the energy of one operation, pJ, in [{what}]",
                )
            if wrong := [key for key, value in table.items() if not 0 < value <= _MOST_PJ]:
                raise ConstraintError(
                    f"table {self.name!r}: {what} of {', '.join(wrong)} must be above 0 and at most {_MOST_PJ:g}",
                    fix=f"{wrong[0]} = the energy of one operation, pJ",
                )
            if odd := [key for key in table if key.startswith("int") and not re.fullmatch("int[1-9][0-9]{0,3}", key)]:
                raise ConstraintError(
                    f"table {self.name!r}: {what} has {odd[0]!r}; integers are int1 to int9999", fix="int8"
                )

    def add(self, bits: int) -> float:
        """Return the energy of an integer addition of ``bits`` bits, pJ.

        Example:
            >>> table = load("horowitz-45nm")
            >>> table.add(8), table.add(32), table.add(2)
            (0.03, 0.1, 0.0075)
        """
        return _read([(width, pj) for width, pj in _integers(self.add_pj)], bits)

    def multiply(self, a: int, b: int) -> float:
        """Return the energy of an integer multiplication of ``a`` by ``b`` bits, pJ.

        Example:
            >>> load("horowitz-45nm").multiply(8, 8)
            0.2
        """
        return _read([(width * width, pj) for width, pj in _integers(self.multiply_pj)], a * b)

    def ac(self, format: str) -> float:
        """Return the energy of an accumulation in a published format, pJ."""
        return self.add_pj[format]

    def mac(self, format: str) -> float:
        """Return the energy of a multiplication and an addition in a published format, pJ.

        Example:
            >>> round(load("horowitz-45nm").mac("float32"), 6)
            4.6
        """
        return self.add_pj[format] + self.multiply_pj[format]

    def memory_for(self, bits: float) -> Memory:
        """Return the smallest memory that holds so many bits.

        Raises:
            ConstraintError: the table has none that does.

        Example:
            >>> load("horowitz-45nm").memory_for(8 * 20_000).name
            'SRAM 32 KB'
        """
        for memory in self.memories:
            if memory.bytes is None or math.ceil(bits / 8) <= memory.bytes:
                return memory
        raise ConstraintError(
            f"table {self.name!r} has no memory of {math.ceil(bits / 8)} bytes",
            fix="memory=None bills no memory; or a table with a memory of no given size, which holds anything",
        )


def _integers(table: Mapping[str, float]) -> list[tuple[int, float]]:
    return sorted((int(key[3:]), pj) for key, pj in table.items() if key.startswith("int"))


def _read(points: Sequence[tuple[int, float]], at: int) -> float:
    """Read a curve through the points: straight between them, proportional outside."""
    for (x, y), (x2, y2) in itertools.pairwise(points):
        if x <= at <= x2:
            return y + (y2 - y) * (at - x) / (x2 - x)
    x, y = points[0] if at < points[0][0] else points[-1]
    return y * at / x


def names() -> list[str]:
    """Return the names of the tables that ship.

    Example:
        >>> names()
        ['horowitz-45nm']
    """
    return names_in(TABLES)


def load(table: str | Path | Technology) -> Technology:
    """Return a technology by the name of a shipped table, or from a TOML file of the same form.

    Raises:
        ConstraintError: there is no such table or file, or it cannot be read.
    """
    if isinstance(table, Technology):
        return table
    path = find(table, TABLES, "table")
    values = read_toml(path, "table")
    try:
        return _parse(values)
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError) as error:
        if isinstance(error, ConstraintError):
            raise
        raise ConstraintError(f"table {path}: cannot be read: {error}", fix=_COPY) from error


def _parse(values: dict[str, Any]) -> Technology:
    allowed = ("format", "name", "process", "sources", "add_pj", "multiply_pj", "memories")
    if unknown := [key for key in values if key not in allowed]:
        raise ConstraintError(
            f"table: unknown {', '.join(unknown)}; allowed are {', '.join(allowed)}", fix=f"leave {unknown[0]} out"
        )
    if values.get("format") != FORMAT:
        raise ConstraintError(
            f"table: format = {short(values.get('format'))}; this version reads format = {FORMAT}",
            fix=f"format = {FORMAT}",
        )
    return Technology(
        name=values["name"],
        process=values.get("process", ""),
        sources=tuple(values.get("sources", ())),
        add_pj=values["add_pj"],
        multiply_pj=values["multiply_pj"],
        memories=tuple(Memory(**memory) for memory in values.get("memories", ())),
    )
