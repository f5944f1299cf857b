"""Prose that is wider than the terminal, in lines that end between words and hang below where they began."""

from __future__ import annotations

import re
import shutil
import textwrap

_BEGIN = re.compile(r"\s*(?:\S+(?: \S+)*?  +(?=\S))?")
"""The indentation of a line and its label, which two spaces part from the rest."""
_LEAST = 20
_LIST, _SHORT, _GLUE = 4, 24, "\0"
"""From how many items of at most how many characters a list is one, and what stands for blanks inside an item."""


def wrapped(text: str, width: int | None = None) -> str:
    """Return text whose lines fit a terminal: words, names and paths stay whole, and so do tables and ways out.

    A line with three or more columns is one of a table, and a way out with a command in it may be copied. A list of
    short items ends its lines after commas.

    Args:
        text: of any number of lines.
        width: columns; None are those of the terminal.

    Example:
        >>> print(wrapped("  licence  as this package; trained on digits", width=34))
          licence  as this package;
                   trained on digits
        >>> print(wrapped("a  b  c and so on", width=10))
        a  b  c and so on
    """
    columns = shutil.get_terminal_size().columns if width is None else width
    return "\n".join(_lines(line, columns) for line in text.split("\n"))


def _lines(line: str, columns: int) -> str:
    begin = _BEGIN.match(line)
    assert begin is not None  # it matches nothing, too
    rest = line[begin.end() :]
    copied = line.lstrip().startswith("fix:") and "bitspike " in line
    if len(line) <= columns or "  " in rest.rstrip() or copied:
        return line
    items = rest.split(", ")
    if len(items) >= _LIST and max(map(len, items)) <= _SHORT:
        rest = ", ".join(item.replace(" ", _GLUE) for item in items)
    hang = begin.end() if begin[0].strip() else begin.end() + 2
    hang = hang if columns - hang >= _LEAST else 2
    keep = {"break_long_words": False, "break_on_hyphens": False}
    wrapped_lines = textwrap.wrap(rest, columns, initial_indent=begin[0], subsequent_indent=" " * hang, **keep)  # type: ignore[arg-type]
    return "\n".join(wrapped_lines).replace(_GLUE, " ")
