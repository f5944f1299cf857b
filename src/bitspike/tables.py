"""Tables of a few columns, as text for a terminal and as HTML for a notebook: never more rows than fit on a screen."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_WORDS = ("layer", "reads")
"""Columns of names."""
_ROWS = 40
"""How many rows are shown; of more, those in the middle are left out and counted."""


@dataclass(frozen=True, repr=False)
class Table:
    """Rows of words and numbers under one heading.

    Columns without a single cell are not shown. Of the columns after the first those of numbers are flush right;
    names of layers are words, also where they are all numbers.

    Args:
        title: one line; empty for none.
        columns: the heading of each column.
        rows: one cell a column, plain text.
        below: lines after the rows.

    Example:
        >>> print(Table("two layers", ("layer", "bits", "rate"), [("conv", "4", ""), ("fc", "12", "")]))
        two layers
          layer  bits
          conv      4
          fc       12
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    below: Sequence[str] = ()

    def __str__(self) -> str:
        head, *rows = self._cells()
        right = self._numbers([head, *rows])
        shown = [head, *self._short(rows)] if rows else []
        wide = [max(map(len, column)) for column in zip(*shown, strict=True)]
        lines = []
        for row in shown:
            cells = (
                cell.rjust(w) if n in right else cell.ljust(w)
                for n, (cell, w) in enumerate(zip(row, wide, strict=True))
            )
            lines.append(f"  {'  '.join(cells)}".rstrip())
        return "\n".join([*([self.title] if self.title else []), *lines, *(f"  {line}" for line in self.below)])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.html()

    def html(self) -> str:
        """Return the table as HTML, with every cell escaped: what ``_repr_html_`` of a shown object gives."""
        head, *rows = self._cells()
        right = self._numbers([head, *rows])

        def line(cells: Sequence[str], tag: str) -> str:
            side = ("right" if n in right else "left" for n in range(len(cells)))
            return "".join(
                f'<{tag} style="text-align:{s}">{html.escape(c)}</{tag}>' for s, c in zip(side, cells, strict=True)
            )

        body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in self._short(rows))
        table = f"<table><thead><tr>{line(head, 'th')}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        title = f"<p><strong>{html.escape(self.title)}</strong></p>" if self.title else ""
        return f"{title}{table}" + "".join(f"<p>{html.escape(text)}</p>" for text in self.below)

    def _cells(self) -> list[list[str]]:
        """Return the heading and the rows, without the columns that hold nothing."""
        kept = [n for n in range(len(self.columns)) if any(row[n] for row in self.rows)]
        return [[cells[n] for n in kept] for cells in (self.columns, *self.rows)]

    @staticmethod
    def _numbers(rows: Sequence[Sequence[str]]) -> frozenset[int]:
        """Return the columns after the first, which has names, whose every cell is a number or empty."""
        columns = list(enumerate(zip(*rows, strict=True)))[1:]
        return frozenset(n for n, (name, *cells) in columns if name not in _WORDS and all(map(_is_number, cells)))

    @staticmethod
    def _short(rows: list[list[str]]) -> list[list[str]]:
        """Leave out rows in the middle of many, and say how many."""
        if len(rows) <= _ROWS:
            return rows
        half = (_ROWS - 1) // 2
        gap = [f"... {len(rows) - 2 * half} more", *[""] * (len(rows[0]) - 1)]
        return [*rows[:half], gap, *rows[-half:]]


class Shown:
    """The base of what shows itself as a table: on a terminal by ``repr``, in a notebook by ``_repr_html_``."""

    def table(self) -> Table:
        """Return what is shown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return str(self.table())

    def _repr_html_(self) -> str:
        return self.table().html()


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "") or "0")
    except ValueError:
        return False
    return True


def times(shape: Sequence[int]) -> str:
    """Write a shape.

    Example:
        >>> times((8, 26, 26)), times(())
        ('8 x 26 x 26', '')
    """
    return " x ".join(map(str, shape))
