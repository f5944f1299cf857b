"""The figures and tables of a run: learning, rates, weights, errors, sizes.

One function per section of a report; None where there is nothing to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitspike.analysis.drawing import marks, plots
from bitspike.analysis.drawing.markup import Html, code, html, join, plot, section, table
from bitspike.analysis.drawing.words import count, known, percent, size
from bitspike.analysis.report.facts import Facts, ReportDetail, idle, listed, mapping, rows_of
from bitspike.tasks.report import Exhibit

Record = Mapping[str, Any]


def training(metrics: Sequence[Record], facts: Facts) -> Html | None:
    """Draw the training curves and the metric against time steps."""
    metric = facts.wording.metric
    drawn = [
        plot(svg, f"{quantity} while training")
        for quantity in (metric, "loss")
        if (svg := plots.curves(metrics, quantity)) is not None
    ]
    steps = [value for value in facts.by_step if value is not None]
    if (svg := plots.by_step(facts.by_step, facts.published, metric=metric)) is not None:
        drawn.append(plot(svg, f"test {metric} when the network is stopped after so many time steps"))
        drawn.append(_by_step(facts.by_step, metric))
    single = (
        Html("<p>The network takes a single time step, so there is no curve over steps.</p>")
        if len(steps) == 1
        else Html("")
    )
    if not drawn and not single:
        return None
    return section(
        f"Learning, and {metric} against time", html('<div class="pair">{d}</div>{s}', d=join(drawn), s=single)
    )


def _by_step(values: Sequence[float | None], metric: str) -> Html:
    # A long run over time has its curve; thinned to twelve rows the table stays next to it.
    every = -(-len(values) // 12)
    shown = [(t, percent(value)) for t, value in enumerate(values, 1) if t % every == 0 or t == len(values)]
    return html("<div>{t}</div>", t=table(["time steps", f"test {metric}"], shown, numbers=(1,)))


def activity(record: Record) -> Html | None:
    """List how much every layer fires, on the whole and step by step, and mark what is mostly silent or saturated."""
    layers = {name: layer for name, layer in mapping(record, "activity").items() if isinstance(layer, Mapping)}
    if not layers:
        return None

    def share(layer: Record, key: str, limit: float) -> Html:
        value = known(layer.get(key))
        return html(
            "<span{c}>{v}</span>",
            c=Html(' class="warn"' if value is not None and value >= limit else ""),
            v=percent(value, 1),
        )

    rows = [
        (
            code(name),
            marks.meter(known(layer.get("rate")) or 0.0, percent(layer.get("rate"), 1)),
            marks.steps([known(rate) for rate in listed(layer, "by_step")], name),
            share(layer, "silent", 0.5),
            share(layer, "saturated", 0.1),
        )
        for name, layer in layers.items()
    ]
    silent = idle(record)
    return section(
        "A layer that tells nothing" if silent else "Firing rates",
        join(
            [
                html(
                    "<p><strong>{silent}</strong> on the test images: nothing about the input passes through. What"
                    " helps: another threshold, a norm before the neurons, other initial weights, or a lower learning"
                    " rate; the notes of the training say how far the potentials are from the threshold.</p>",
                    silent=silent,
                )
                if silent
                else Html(""),
                table(["layer", "spikes per neuron and step", "by step", "silent", "saturated"], rows, numbers=(3, 4)),
                Html(
                    "<small>By step: the rate at every time step, from the first (left) to the last; the highest bar"
                    " is the layer's largest rate. Silent neurons never fired on the images measured, saturated ones"
                    " sent the same spike at every step of every image. Red marks a layer of which half is silent or a"
                    " tenth is saturated.</small>"
                ),
            ]
        ),
        kind="bad" if silent else "",
    )


def weights(record: Record, detail: ReportDetail) -> Html | None:
    """Show how often every weight code is used."""
    histograms = {name: counts for name, counts in detail.code_histograms.items() if counts}
    widths = mapping(record, "bits")
    if not histograms:
        rows = [(code(name), _bits(wide)) for name, wide in widths.items()]
        return section("Weights", table(["layer", "width"], rows, numbers=(1,))) if rows else None

    def one(name: str, counts: Mapping[int, int]) -> Html:
        said = f"{count(sum(counts.values()))} weights, {count(len(counts))} codes"
        wide = known(widths.get(name))
        said = said if wide is None else f"{wide:.0f} bit, {said}"
        return html(
            "<figure><figcaption><code>{name}</code><br>{said}</figcaption>{svg}</figure>",
            name=name,
            said=said,
            svg=marks.histogram(counts),
        )

    return section(
        "Weight codes",
        html(
            '<p class="soft">Every weight is one of a few whole numbers times a scale. Below each bar stands the code,'
            ' its height is its share.</p><div class="many">{all}</div>',
            all=join(one(name, counts) for name, counts in histograms.items()),
        ),
    )


def answers(exhibit: Exhibit) -> Html:
    """Show what the task says about the answers over the test images: a matrix, a table, or both."""
    matrix, figure, listed = exhibit.matrix, Html(""), Html("")
    if matrix is not None and len(matrix) <= marks.MOST_CLASSES:
        figure = html(
            "<figure>{svg}<figcaption>{caption}</figcaption></figure>",
            svg=marks.confusion(matrix, exhibit.names),
            caption=exhibit.caption,
        )
    if exhibit.rows:
        rows = table(exhibit.columns, exhibit.rows, numbers=(len(exhibit.columns) - 1,))
        listed = html("<div><h3>{heading}</h3>{rows}</div>", heading=exhibit.heading, rows=rows)
    return section(
        exhibit.title,
        html('<p>{said}</p><div class="pair">{figure}{listed}</div>', said=exhibit.text, figure=figure, listed=listed),
    )


def sizes(record: Record) -> Html | None:
    """Show the bytes of the network and the worst-case widths of every layer."""
    stored = mapping(record, "bytes")
    names = {
        "weights_float32": "weights as float32",
        "weights_packed": "weights as packed codes",
        "package": "whole package on disk",
    }
    bytes_found = {text: value for key, text in names.items() if (value := known(stored.get(key))) is not None}
    most = max(bytes_found.values(), default=0.0) or 1.0
    parts = []
    if bytes_found:
        rows = [(text, marks.meter(value / most, size(value))) for text, value in bytes_found.items()]
        parts.append(table(["", "bytes"], rows))
    if layers := _layers(record):
        parts.append(
            Html(
                '<h3>Worst-case widths</h3><p class="soft">No input whatever needs more bits than these: they follow'
                " from the weight codes and the largest possible inputs, not from the images seen.</p>"
            )
        )
        parts.append(layers)
    return section("Sizes", join(parts)) if parts else None


def _layers(record: Record) -> Html | None:
    widths = rows_of(record, "widths")
    if not widths:
        return None
    rows = [
        (code(row.get("layer")), _bits(row.get("accumulator_bits")), _bits(row.get("membrane_bits"))) for row in widths
    ]
    if not any("kept_bits" in row for row in widths):
        return table(["layer", "accumulator", "membrane"], rows, numbers=(1, 2))
    kept = [_bits(row.get("kept_bits")) for row in widths]
    rows_with = [(*row, bits) for row, bits in zip(rows, kept, strict=True)]
    return table(["layer", "accumulator", "membrane in a step", "kept between steps"], rows_with, numbers=(1, 2, 3))


def _bits(value: object) -> str:
    return "-" if known(value) is None else f"{count(value)} bit"
