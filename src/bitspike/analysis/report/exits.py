"""Early exit in the report of a run: what every rule costs, how many samples stop when, and gains against time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitspike.analysis.drawing import marks, plots
from bitspike.analysis.drawing.markup import Html, code, html, join, plot, section, table
from bitspike.analysis.drawing.words import known, percent, points
from bitspike.analysis.report.facts import Facts, mapping, rows_of

Record = Mapping[str, Any]
NAMES = {"fixed": "a fixed step", "confidence": "confidence", "gamma": "gains of all norms"}
PAPER = 0.1
"""Epsilon of the BNTT paper."""


def early_exit(record: Record, facts: Facts) -> Html | None:
    """Show what it costs to stop early; nothing for a network of one step, or where one run did not tell."""
    known_exits = mapping(record, "exits")
    rows = [row for row in rows_of(known_exits, "results") if _numbers(row) is not None]
    steps = facts.steps or 0
    if steps < 2 or not rows:
        return None
    curves = {said: _curve(rows, name) for name, said in NAMES.items()}
    figures = []
    if (svg := plots.exits(curves, metric=facts.wording.metric)) is not None:
        figures.append(plot(svg, "a sample stops after so many steps in the mean"))
    gammas = {
        path: [value for value in map(known, values) if value is not None]
        for path, values in mapping(known_exits, "gammas").items()
        if isinstance(values, list)
    }
    if (svg := plots.over_time(gammas, "mean gain", epsilon=PAPER)) is not None:
        figures.append(plot(svg, "the gain of each norm through time, in the mean over its channels, at every step"))
    listed = [_row(row, steps, facts) for row in rows if row.get("rule") != "fixed"]
    head = ["rule", "limit", "steps in the mean", f"test {facts.wording.metric}", "to all steps", "samples by exit"]
    return section(
        "Early exit",
        join(
            [
                Html(
                    "<p>What the network answers when it is stopped early, from one run of all steps: the first steps"
                    " of a run are a run of fewer steps. A sample stops at a fixed step, when the network is sure of"
                    " its answer (confidence: the softmax of its largest output), or at the step where the mean gain"
                    " of every norm through time lies below epsilon.</p>"
                ),
                html('<div class="pair">{d}</div>', d=join(figures)),
                table(head, listed, numbers=(2, 3, 4)) if listed else Html(""),
                Html(
                    "<small>Measured on the test images. Choose a confidence or an epsilon by validation images; a"
                    " choice by this table is a choice by the test set.</small>"
                ),
            ]
        ),
    )


def _numbers(row: Record) -> tuple[float, float] | None:
    steps, value = known(row.get("steps")), known(row.get("accuracy"))
    return None if steps is None or value is None else (steps, value)


def _curve(rows: list[Record], name: str) -> list[tuple[float, float]]:
    return sorted(pair for row in rows if row.get("rule") == name and (pair := _numbers(row)) is not None)


def _row(row: Record, steps: int, facts: Facts) -> tuple[Html | str, ...]:
    mean, value = _numbers(row) or (0.0, 0.0)
    shares = mapping(row, "shares")
    by_exit = [known(shares.get(str(t))) or 0.0 for t in range(1, steps + 1)]
    compared = "" if facts.test is None else points(value - facts.test)
    name = NAMES.get(str(row.get("rule")), str(row.get("rule")))
    limit = code(f"{known(row.get('value')) or 0.0:.4g}")
    return html("{n}", n=name), limit, f"{mean:.2f}", percent(value), compared, marks.steps(by_exit, f"exit at {limit}")
