"""Integers, names and comments as C text that is the same on every machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MARK = "Written by Bitspike"
"""Stands in the first line of every file, so that a later export knows what it may replace."""

Values = npt.NDArray[Any]
_PER_LINE = 24


def integer(value: int) -> str:
    """Return a constant expression of C99; what leaves 32 bits gets a type that holds it.

    Example:
        >>> integer(-3), integer(-2**31), integer(2**40)
        ('-3', '(-2147483647 - 1)', 'INT64_C(1099511627776)')
    """
    if value == -(2**31):
        return "(-2147483647 - 1)"
    if value == -(2**63):
        return "(-INT64_C(9223372036854775807) - 1)"
    if -(2**31) < value < 2**31:
        return str(value)
    return f"INT64_C({value})" if value > 0 else f"-INT64_C({-value})"


def plain(text: str) -> str:
    """Return text that neither ends a comment nor a string: letters, digits and a few signs; the rest becomes ``_``.

    Example:
        >>> plain("layers.0 */ ??/")
        'layers.0 _ ___'
    """
    return re.sub(r"\*/|/\*|[^A-Za-z0-9_.,:;()\[\] +=<>-]", "_", text)


def type_of(values: Values) -> str:
    """Return the smallest signed type of C that holds all values.

    Example:
        >>> type_of(np.array([-128, 127])), type_of(np.array([200]))
        ('int8_t', 'int16_t')
    """
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    for bits in (8, 16, 32):
        if -(1 << (bits - 1)) <= low and high < 1 << (bits - 1):
            return f"int{bits}_t"
    return "int64_t"


def bytes_of(ctype: str) -> int:
    """Return the bytes of one integer of a type of C."""
    return int(re.sub(r"\D", "", ctype)) // 8


def array(ctype: str, name: str, values: Values, note: str, *, place: str = "") -> str:
    """Return the definition of a constant array with a comment that says what it is, and ``place`` before its type.

    Example:
        >>> print(array("int8_t", "table", np.array([1, -2, 3]), "numbers"), end="")
        /* numbers */
        static const int8_t table[3] = {
            1, -2, 3
        };
    """
    flat = values.reshape(-1).tolist()
    texts = [str(v) for v in flat] if ctype in _SMALL else [integer(v) for v in flat]
    lines = [", ".join(texts[i : i + _PER_LINE]) for i in range(0, len(texts), _PER_LINE)]
    body = ",\n    ".join(lines)
    return f"/* {note} */\nstatic const {place}{ctype} {name}[{len(flat)}] = {{\n    {body}\n}};\n"


_SMALL = ("int8_t", "int16_t", "uint8_t", "uint16_t")


@dataclass
class Tables:
    """The constant arrays of a program; equal ones of one kind are kept once.

    The kind is the name up to its first ``_``.

    Args:
        texts: their definitions, in the order of first use.
        size: bytes of all of them together.
    """

    texts: list[str] = field(default_factory=list)
    size: int = 0
    _names: dict[tuple[str, str, bytes], str] = field(default_factory=dict)

    def add(self, name: str, values: Values, note: str, *, ctype: str | None = None) -> str:
        """Return the name of a table that holds ``values``: a new one, or an equal one that is there."""
        ctype = ctype or type_of(values)
        key = name.partition("_")[0], ctype, np.ascontiguousarray(values, np.int64).tobytes()
        if key not in self._names:
            self._names[key] = name
            self.texts.append(array(ctype, name, values, note, place="ROM "))
            self.size += values.size * bytes_of(ctype)
        return self._names[key]
