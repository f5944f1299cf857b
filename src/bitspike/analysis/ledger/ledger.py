"""The ledger that a user holds: its values, how they are written, and their table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bitspike.analysis.drawing.words import percent
from bitspike.analysis.ledger import page
from bitspike.analysis.ledger.parts import Account, Gap

ZERO = 5e-5
"""A part of the gap that is written as none."""


@dataclass(frozen=True, kw_only=True)
class Ledger(Account):
    """The result of :func:`~bitspike.analysis.ledger.analyze.analyze`; :class:`Account` names its values."""

    def write(self, folder: str | Path) -> Path:
        """Write ``ledger.json``, ``ledger.html``, and every figure as SVG with its numbers as CSV.

        Returns:
            the path of ``ledger.html``.

        Raises:
            RunError: the disk is full or the folder cannot be written.
        """
        return page.write(self, Path(folder))

    def __str__(self) -> str:
        return _text(self)


def _text(ledger: Account) -> str:
    """Return the ledger as a table: the parts of every layer's gap, what to do, accuracy."""
    lines = [
        f"{ledger.model or 'network'}: gap to the float network {percent(ledger.output.rms)} of the outputs' RMS "
        f"(T = {ledger.steps}, {ledger.samples} samples)",
        f"  its parts   {_parts(ledger.output)}",
        f"  they add up to the measured gap {percent(ledger.measured)} within {percent(ledger.closure)}",
    ]
    if ledger.accuracy:
        said = ", ".join(f"{name} {percent(value)}" for name, value in ledger.accuracy.items())
        lines.append(f"  {ledger.metric:<10}  {said}")
    lines.append(f"  by steps    {', '.join(_point(p.steps, p.accuracy, p.error) for p in ledger.curve)}")
    lines += [f"  note        {note}" for note in ledger.notes]
    for advice in ledger.advice:
        where = f", most in {advice.layer}" if advice.layer else ""
        lines.append(f"  try         {advice.options[0]} ({advice.term}, {advice.share:.0%} of the gap{where})")
    # In one table, or with their unit in every cell, they would be wider than a terminal.
    shown = [t for t in ledger.terms if t == "weights" or any(abs(x.cumulative[t].part) >= ZERO for x in ledger.layers)]
    parts = [["layer", *shown]]
    parts += [[x.name, *(_signed(x.cumulative[term].part).removesuffix(" %") for term in shown)] for x in ledger.layers]
    layers = [["layer", "gap", "own gap", "clipped", "rate", "not (*)"]]
    layers += [
        [
            x.name,
            *map(percent, (x.cumulative.rms, x.local.rms)),
            *("-" if value is None else percent(value) for value in (x.clipped, x.rate, x.differs)),
        ]
        for x in ledger.layers
    ]
    return "\n".join([*lines, "", *_table(layers), "", "the gap by its parts, in %", *_table(parts)])


def _parts(gap: Gap) -> str:
    ranked = sorted((p for p in gap.parts if p.part), key=lambda p: -p.share)
    return ", ".join(f"{p.term} {_signed(p.part)}" for p in ranked) or "none"


def _signed(value: float) -> str:
    if abs(value) < ZERO:
        return "0" if value == 0 else "~0"
    return f"{100 * value:.2f} %"


def _point(steps: int, accuracy: float | None, error: float) -> str:
    return f"T={steps} {percent(accuracy) if accuracy is not None else f'error {percent(error)}'}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Set a table in columns, the first flush left.

    Example:
        >>> _table([["layer", "gap"], ["conv", "1 %"]])
        ['layer  gap', 'conv   1 %']
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
