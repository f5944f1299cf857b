"""The trainings of a run next to each other, each from the weights of another, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitspike.analysis.drawing.markup import Html, html, join, section, table
from bitspike.analysis.drawing.words import MISSING, bits, count, known, percent, points, size, span
from bitspike.analysis.report.facts import mapping
from bitspike.analysis.report.memory import of_stages

Record = Mapping[str, Any]


def trainings(rows: Sequence[Record], metric: str, *more: Html) -> Html:
    """Compare the stages of a run of kind ``train``.

    Args:
        rows: of the stages, as :func:`bitspike.runs.several.row` makes them.
        metric: in words.
        more: what comes after the table.
    """
    head = (
        *("stage", "from", "T", "weights", metric, "published", "to its parent"),
        *("memory", "certificate", "epochs", "time"),
    )
    body = [
        (
            html('<a href="{f}/report.html">{n}</a>', f=row.get("folder"), n=row.get("name")),
            str(row.get("parent") or "new weights"),
            count(row.get("steps")),
            weights(row),
            both(mapping(row, "accuracy")),
            percent(row.get("published")),
            _difference(row, rows),
            size(mapping(row, "bytes").get("weights_packed")),
            certificate(row),
            count(mapping(row, "epochs").get("run")),
            span(mapping(row, "seconds").get("total")),
        )
        for row in rows
    ]
    note = html(
        "<small>{metric} on test images, in parentheses on validation images; the difference to the parent is on test"
        " images.</small>",
        metric=metric.capitalize(),
    )
    whole = table(head, body, numbers=(2, 4, 5, 6, 7, 9, 10))
    memory = of_stages(rows, metric)
    return section("Stage by stage", join([whole, note, *([] if memory is None else [memory]), *more]))


def weights(row: Record) -> str:
    """Say how wide the weights of a stage are; those of a float stage became codes only in the integers."""
    if row.get("bits") == 32:
        return "float"
    return bits(int(width) for width in mapping(row, "weight_bits").values()).removesuffix(" weights")


def both(accuracy: Record) -> Html:
    """Say what was measured on test images, and below it on validation images where there are some."""
    validation = known(accuracy.get("validation"))
    below = Html("") if validation is None else html("<br><small>({v})</small>", v=percent(validation))
    return html("<span>{test}{below}</span>", test=percent(accuracy.get("test")), below=below)


def certificate(row: Record) -> str:
    """Say whether the integers of a stage are proven to be equal."""
    return "equal" if mapping(row, "certificate").get("equal") is True else "NOT EQUAL"


def _difference(row: Record, rows: Sequence[Record]) -> str:
    parent = next((other for other in rows if other.get("name") == row.get("parent")), {})
    mine, its = (known(mapping(stage, "accuracy").get("test")) for stage in (row, parent))
    return MISSING if mine is None or its is None else points(mine - its)


def said(row: Record) -> str:
    """Say of one stage in a line what came of it."""
    published = known(row.get("published"))
    against = "" if published is None else f" (published {percent(published)})"
    return f"test {percent(mapping(row, 'accuracy').get('test'))}{against}, certificate {certificate(row)}"
