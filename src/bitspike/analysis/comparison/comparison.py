"""Runs or networks next to each other as one table: for a terminal of 80 columns, CSV, Markdown, LaTeX, HTML, JSON."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitspike.analysis.comparison.rows import Row
from bitspike.analysis.drawing.markup import table
from bitspike.analysis.drawing.words import MISSING, size
from bitspike.errors import some
from bitspike.hardware.text import pj

WIDTH = 80
"""Columns of a terminal."""
_LEAST = 20
"""What the names of recipes get at least."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Finished runs, or reports of networks, next to each other.

    Args:
        rows: runs of one experiment that differ by their seed alone are one row.
        energy_by: what the energies were counted by, in words; empty where there are none.
    """

    rows: tuple[Row, ...]
    energy_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"rows": [row.to_dict() for row in self.rows], "energy_by": self.energy_by}

    def __str__(self) -> str:
        columns = self._columns(published=False)
        others = [[head, *(cell(row) for row in self.rows)] for head, cell in columns[1:]]
        widths = [max(map(len, column)) for column in others]
        room = max(_LEAST, WIDTH - 2 - sum(widths) - 2 * len(widths))
        labels = [columns[0][0], *(columns[0][1](row) for row in self.rows)]
        lines = [self._heading()]
        first = max(min(room, max(map(len, labels))), len(labels[0]))
        for number, label in enumerate(labels):
            name, *rest = textwrap.wrap(label, first, subsequent_indent="  ", break_on_hyphens=False)
            cells = (column[number].rjust(width) for column, width in zip(others, widths, strict=True))
            lines += ["  " + "  ".join([name.ljust(first), *cells]), *(f"  {more}" for more in rest)]
        # Folders and names are copied from here: they stay whole.
        wrap = textwrap.TextWrapper(WIDTH - 2, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        notes = [line for note in self._notes() for line in wrap.wrap(note)]
        return "\n".join([*lines, *(f"  {line}" for line in notes)])

    def markdown(self) -> str:
        """Return the table in Markdown, with its notes below it."""
        columns = self._columns()
        lines = [_bar(head for head, _ in columns), _bar(["---", *["---:"] * (len(columns) - 1)])]
        lines += [_bar(cell(row).replace("|", "\\|") for _, cell in columns) for row in self.rows]
        return "\n".join([*lines, "", " ".join(_sentence(note) for note in (self._heading(), *self._notes()))])

    def latex(self) -> str:
        """Return the table in LaTeX, a ``tabular`` with the rules of the package booktabs."""
        columns = self._columns()
        lines = [" & ".join(_tex(head) for head, _ in columns) + r" \\"]
        body = [" & ".join(_tex(cell(row)) for _, cell in columns) + r" \\" for row in self.rows]
        notes = [f"% {_sentence(note)}" for note in (self._heading(), *self._notes())]
        return "\n".join(
            [
                r"% needs \usepackage{booktabs}",
                *notes,
                rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
                r"\toprule",
                *lines,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
            ]
        )

    def csv(self) -> str:
        """Return one line a row with plain numbers: fractions, bytes, pJ; lists are parted by spaces."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        metric = self.rows[0].metric
        of_metric = (f"{metric}_mean", f"{metric}_deviation", f"{metric}_by_seed")
        head = ("recipe", "changes", "data", "weight_bits", "steps", "seeds", *of_metric)
        writer.writerow([*head, "published", "weight_bytes", "energy_pj", "certificate_equal", "runs"])
        for row in self.rows:
            writer.writerow(
                [
                    *(row.name, row.label.removeprefix(row.name).removeprefix(", "), row.data, _spaced(row.bits)),
                    *(row.steps, _spaced(row.seeds), row.mean, row.deviation, _spaced(run.score for run in row.runs)),
                    *(row.published, row.weight_bytes, row.energy_pj, str(row.proven).lower()),
                    _spaced(run.folder for run in row.runs),
                ]
            )
        return file.getvalue()

    def _repr_html_(self) -> str:
        columns = self._columns()
        rows = [[cell(row) for _, cell in columns] for row in self.rows]
        return table([head for head, _ in columns], rows, numbers=range(1, len(columns)))

    def _columns(self, *, published: bool = True) -> list[tuple[str, Callable[[Row], str]]]:
        """Return the heading of every column, and its cells."""
        first = "recipe" if self._thing == "run" else "network"
        columns: list[tuple[str, Callable[[Row], str]]] = [(first, lambda row: row.label)]
        if len({row.data for row in self.rows}) > 1:
            columns.append(("data", lambda row: row.data))
        columns += [("weights", lambda row: row.weights), ("T", lambda row: str(row.steps))]
        columns.append((f"{self.rows[0].metric}, %", _score))
        if any(len(row.seeds) > 1 for row in self.rows):
            columns.append(("seeds", lambda row: str(len(row.seeds))))
        if published and any(row.published is not None for row in self.rows):
            columns.append(("published, %", lambda row: _hundredths(row.published)))
        columns.append(("memory", lambda row: size(row.weight_bytes)))
        if self.energy_by:
            columns.append(("energy", lambda row: MISSING if row.energy_pj is None else pj(row.energy_pj)))
        return columns

    @property
    def _thing(self) -> str:
        """What is compared: networks in memory, or runs, and perhaps such networks next to them."""
        return "run" if any(run.folder for row in self.rows for run in row.runs) else "network"

    def _heading(self) -> str:
        runs = sum(len(row.runs) for row in self.rows)
        data = list(dict.fromkeys(row.data for row in self.rows))
        return f"{runs} {self._thing}{'s' * (runs != 1)} on {some(data)}, test {self.rows[0].metric}"

    def _notes(self) -> list[str]:
        wrong = [run.folder or run.name for row in self.rows for run in row.runs if not run.proven]
        counts = sorted({count for row in self.rows for count in row.samples})
        images = f"on {' or '.join(f'{count:,}' for count in counts)} test images"
        notes = [f"integers NOT EQUAL, or not proven: {some(wrong)}"] if wrong else []
        notes += [] if wrong else [f"integers proven equal in every {self._thing}, {images}"]
        idle = [f"{run.idle} ({run.folder or run.name})" for row in self.rows for run in row.runs if run.idle]
        notes += [f"layers that tell nothing about the input: {some(idle)}"] if idle else []
        if any(row.deviation is not None for row in self.rows):
            notes.append("± is the sample standard deviation over the seeds")
        return [*notes, *([f"energy of one inference: {self.energy_by}"] if self.energy_by else [])]


def _score(row: Row) -> str:
    spread = "" if row.deviation is None else f" ± {100 * row.deviation:.2f}"
    return f"{_hundredths(row.mean)}{spread}"


def _hundredths(fraction: float | None) -> str:
    return MISSING if fraction is None else f"{100 * fraction:.2f}"


def _spaced(values: Any) -> str:
    return " ".join("" if value is None else str(value) for value in values)


def _bar(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _sentence(note: str) -> str:
    return f"{note[0].upper()}{note[1:]}."


_TEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_TEX |= {character: f"\\{character}" for character in "&%$#_{}"}


def _tex(text: str) -> str:
    """Escape what means something to LaTeX.

    Example:
        >>> print(_tex("digits_net, 98.42 ± 0.16"))
        digits\\_net, 98.42 $\\pm$ 0.16
    """
    return re.sub(r"[\\~^±&%$#_{}]", lambda match: _TEX[match[0]], text)
