"""The network of a run in its report: its layers as ``bs.summary`` lists them, and what one inference costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.analysis.drawing import marks
from bitspike.analysis.drawing.markup import Html, code, html, join, section, table
from bitspike.analysis.drawing.words import count, known
from bitspike.analysis.report.facts import listed, mapping, rows_of
from bitspike.analysis.report.memory import energy

Record = Mapping[str, Any]
_WORDS = 3
"""Columns of the summary that hold words: the layer, its kind, its shape."""
_HAPPENS = {
    "mac": "multiplies codes",
    "sop": "adds a weight for each spike",
    "pool": "adds up a window",
    "skip": "adds spikes of a shortcut",
    "synapse": "lets currents decay",
}


def network(record: Record) -> Html | None:
    """List the layers of the integer network; None where the record does not hold them."""
    whole = mapping(record, "network")
    columns, rows = listed(whole, "columns"), [row for row in listed(whole, "rows") if isinstance(row, list | tuple)]
    rows = [row for row in rows if len(row) == len(columns)]
    if not rows:
        return None
    body = [(code(row[0]), *row[1:]) for row in rows]
    said = html('<p class="soft">{title}</p>', title=str(whole.get("title") or ""))
    return section("The network", join([said, table(columns, body, numbers=range(_WORDS, len(columns)))]))


def inference(record: Record) -> Html | None:
    """Say what one inference costs, layer by layer, next to the same network without spikes."""
    bill = mapping(record, "energy")
    lines = [(row, _HAPPENS.get(str(row.get("kind")), str(row.get("kind")))) for row in rows_of(bill, "layers")]
    lines += [(row, "updates potentials") for row in rows_of(bill, "neurons")]
    if not lines or known(bill.get("energy")) is None:
        return None
    most = max((known(row.get("energy")) or 0.0 for row, _ in lines), default=0.0) or 1.0
    body = [
        (
            code(row.get("path")),
            what,
            _operations(row),
            marks.meter((known(row.get("energy")) or 0.0) / most, energy(row.get("energy"))),
        )
        for row, what in lines
    ]
    of = f", in the mean of {count(bill['samples'])} test images" if known(bill.get("samples")) is not None else ""
    return section(
        "Energy of one inference",
        join(
            [
                html("<p>{verdict}</p>", verdict=str(bill.get("verdict") or "")),
                table(["layer", "what it does", "operations", "energy"], body, numbers=(2,)),
                html(
                    "<small>Every operation is counted as it happens{of} and billed by the bits of what it computes"
                    " with, by the table {table} ({process}). Memory accesses are not in it, nor: {excluded}. Other"
                    " tables, and memory: <code>bitspike energy</code>.</small>",
                    of=of,
                    table=str(bill.get("table")),
                    process=str(bill.get("process")),
                    excluded="; ".join(str(text) for text in listed(bill, "excluded") if "memory" not in str(text)),
                ),
            ]
        ),
    )


def _operations(row: Record) -> str:
    """Return how many operations a line stands for: of neurons, one update for each and step."""
    return count(row.get("operations", row.get("updates")))
