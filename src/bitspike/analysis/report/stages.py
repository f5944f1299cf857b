"""The stages of a run next to each other: a table, accuracy against time steps, and the layers' mismatch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitspike.analysis.drawing.markup import Html, code, html, join, plot, section, table
from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.plots import drawn
from bitspike.analysis.drawing.words import MISSING, bits, count, known, percent, points, size, span
from bitspike.analysis.report.facts import Facts, listed, mapping, rows_of
from bitspike.analysis.report.trainings import both, certificate, said, trainings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Record = Mapping[str, Any]
_NETWORKS = (("network", "ann"), ("spiking", "signed"), ("unsigned", "unsigned"))
"""In words, the networks of a stage whose accuracy is compared."""

_A_COLUMN = 6
"""Stages in one column of the legend; more of them would leave the curves no place."""


def stages(record: Record, facts: Facts) -> Html | None:
    """Compare the stages of a run; None where it has none."""
    rows = rows_of(record, "stages")
    if not rows:
        return None
    metric = facts.wording.metric
    if _trained(rows):
        curves = _curves(rows, metric)
        return trainings(rows, metric, *([] if curves is None else [_plot(curves, metric)]))
    head = (
        *("stage", "from", "T", "network", "spiking, signed", "unsigned", "difference"),
        *("weights", "memory", "certificate", "epochs", "time"),
    )
    cells = [
        (
            html('<a href="{f}/report.html">{b}</a>', f=row.get("folder"), b=_named(row)),
            _start(mapping(row, "start")),
            count(row.get("steps")),
            *(both(mapping(row, name)) for name in ("ann", "signed", "unsigned")),
            _difference(row),
            bits(int(width) for width in mapping(row, "weight_bits").values()).removesuffix(" weights"),
            size(mapping(row, "bytes").get("weights_packed")),
            certificate(row),
            count(mapping(row, "epochs").get("run")),
            span(mapping(row, "seconds").get("total")),
        )
        for row in rows
    ]
    parts = [
        table(head, cells, numbers=(2, 3, 4, 5, 6, 8, 10, 11)),
        html(
            "<small>{metric} on test images, in parentheses on validation images, by which all choices were made; the"
            " difference is that of the spiking network to the network before it spikes, on test images.</small>",
            metric=metric.capitalize(),
        ),
    ]
    if (svg := _curves(rows, metric)) is not None:
        parts.append(_plot(svg, metric))
    if (layers := _mismatches(rows)) is not None:
        parts.append(layers)
    return section("Stage by stage", join(parts))


def _trained(rows: Sequence[Record]) -> bool:
    """Tell whether the stages are trainings of one spiking network, which is not converted."""
    return all("ann" not in row for row in rows)


def _plot(svg: str, metric: str) -> Html:
    return plot(svg, f"test {metric} when a stage's network is stopped after so many time steps")


def _named(row: Record) -> str:
    return str(row.get("name") or f"{row.get('bits')} bit")


def _start(start: Record) -> str:
    """Say from which network a stage started: that of the recipe's model where no file of weights was read."""
    return f"{count(start['bits'])} bit" if start.get("source") and known(start.get("bits")) is not None else "model"


def _difference(row: Record) -> str:
    value = known(row.get("difference"))
    return MISSING if value is None else points(value)


def _curves(rows: Sequence[Record], metric: str) -> str | None:
    lines = [(_named(row), _points(row)) for row in rows]
    lines = [(name, pairs) for name, pairs in lines if len(pairs) > 1]
    if not lines:
        return None

    def draw(axes: Axes) -> None:
        looks = [(color, dash) for dash in ("-", "--", ":") for color in (PALETTE["accent"], PALETTE["second"])]
        for (name, pairs), (color, dash) in zip(lines, looks * len(lines), strict=False):
            axes.plot(*zip(*pairs, strict=True), color=color, linestyle=dash, marker="o", markersize=4, label=name)
        axes.set_xlabel("time steps")
        axes.set_ylabel(f"test {metric} in %")
        axes.legend(loc="lower right", labelcolor=PALETTE["ink"], ncols=1 + (len(lines) - 1) // _A_COLUMN)

    return drawn(draw, f"test {metric} of every stage after so many time steps", key="stages")


def _points(row: Record) -> list[tuple[int, float]]:
    """Return the steps after which a stage was measured, and its metric there in percent."""
    values = [(t, known(value)) for t, value in enumerate(listed(row, "by_step"), start=1)]
    return [(t, 100 * value) for t, value in values if value is not None]


def _mismatches(rows: Sequence[Record]) -> Html | None:
    """List by layer of neurons which share of them misses its level, in every stage."""
    measured = [(row, mapping(row, "mismatch")) for row in rows]
    measured = [(row, counts) for row, counts in measured if mapping(counts, "after")]
    if not measured:
        return None
    layers = dict.fromkeys(path for _, counts in measured for path in mapping(counts, "after"))
    body = [(code(path), *(_shares(counts, path) for _, counts in measured)) for path in layers]
    head = ("layer", *(_named(row) for row, _ in measured))
    return html(
        "<h3>Neurons that miss their level</h3><p class='soft'>Share of neurons whose spike count is not the level of"
        " the quantized network, on {n} validation images; where the spiking network was trained further, before and"
        " after that.</p>{t}",
        n=count(measured[0][1].get("images")),
        t=table(head, body, numbers=range(1, len(head))),
    )


def _shares(counts: Record, path: str) -> str:
    before, after = (percent(mapping(mapping(counts, when), path).get("share")) for when in ("before", "after"))
    return after if counts.get("before") == counts.get("after") else f"{before} → {after}"


def lines(record: Record) -> list[tuple[str, str]]:
    """Return a line for every stage, with its name, for the terminal."""
    rows = rows_of(record, "stages")
    tell = said if _trained(rows) else _said
    return [(f"{_named(row)}, T = {row.get('steps')}", tell(row)) for row in rows]


def _said(row: Record) -> str:
    figures = [f"{network} {percent(mapping(row, name).get('test'))}" for network, name in _NETWORKS]
    return ", ".join([*figures, f"certificate {certificate(row)}"])
