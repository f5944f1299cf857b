"""A ledger as a folder: one HTML page, the record as JSON, every figure as SVG with its numbers as CSV."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from bitspike.analysis.drawing.glossary import meanings
from bitspike.analysis.drawing.markup import Html, code, html, join, plot, section, table
from bitspike.analysis.drawing.page import page
from bitspike.analysis.drawing.words import count, percent
from bitspike.analysis.ledger import plots as ledger_plots
from bitspike.analysis.ledger.advice import SMALL
from bitspike.analysis.ledger.parts import TERMS, Account, Gap
from bitspike.analysis.ledger.plots import Figure
from bitspike.errors import RunError
from bitspike.files import write_whole


def write(ledger: Account, folder: Path) -> Path:
    """Write everything into a folder, which is made where it is missing; return the path of the page."""
    whole, codes = ledger_plots.whole(ledger), ledger_plots.codes(ledger)
    layers = {layer.name: ledger_plots.of_layer(ledger, layer) for layer in ledger.layers}
    every = [*whole, *(figure for figures_of_layer in layers.values() for figure in figures_of_layer), *codes]
    try:
        figures = folder / "figures"
        figures.mkdir(parents=True, exist_ok=True)
        for figure in every:
            write_whole(figures / f"{figure.name}.svg", figure.svg + "\n")
            write_whole(figures / f"{figure.name}.csv", comma_separated(figure.rows))
        write_whole(folder / "layers.csv", comma_separated(layer_rows(ledger)))
        write_whole(folder / "ledger.json", json.dumps(ledger.to_dict(), indent=2) + "\n")
        write_whole(folder / "ledger.html", render(ledger, whole, layers, codes))
    except OSError as error:
        raise RunError(f"the ledger cannot be written to {folder}: {error.strerror}", fix="another folder") from error
    return folder / "ledger.html"


def comma_separated(rows: Sequence[Sequence[object]]) -> str:
    """Write rows as CSV (RFC 4180, with plain line ends); None is an empty cell.

    Example:
        >>> comma_separated([("layer", "gap"), ("a,b", None)])
        'layer,gap\\n"a,b",\\n'
    """
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def layer_rows(ledger: Account) -> list[Sequence[object]]:
    """Return every number of every layer: a row per layer, kind of input and term."""
    rows: list[Sequence[object]] = [
        (
            "layer", "input", "term", "share", "part", "along", "rms", "mean", "cosine", "gap", "clipped", "differs",
            "rate",
        )
    ]  # fmt: skip
    for layer in ledger.layers:
        for kind, gap in (("local", layer.local), ("cumulative", layer.cumulative)):
            rows += [
                (
                    layer.name, kind, p.term, p.share, p.part, p.along, p.rms, p.mean, p.cosine, gap.rms,
                    layer.clipped, layer.differs, layer.rate,
                )
                for p in gap.parts
            ]  # fmt: skip
    return rows


def render(ledger: Account, whole: Sequence[Figure], layers: dict[str, list[Figure]], codes: Sequence[Figure]) -> str:
    """Return the page as one HTML document that needs nothing else."""
    parts = [
        _header(ledger),
        _answer(ledger),
        _advice(ledger),
        section(
            "Where the gap comes from",
            html(
                "{p}{f}",
                p=_parts_table(ledger, [(layer.name, layer.cumulative) for layer in ledger.layers]),
                f=_figures(whole, "pair"),
            ),
        ),
        _accuracy(ledger),
        _local(ledger),
        _each(layers),
        section("Weight codes", _figures(codes, "many")) if codes else None,
    ]
    return page(f"error ledger of {ledger.model} · bitspike", join(part for part in parts if part is not None))


def _header(ledger: Account) -> Html:
    said = f"T = {ledger.steps} · {count(ledger.samples)} samples"
    return html(
        '<header><p class="kicker">bitspike error ledger · {said}</p><h1>{name}</h1></header>',
        said=said,
        name=ledger.model or "network",
    )


def _answer(ledger: Account) -> Html:
    largest = f" The largest part is {ledger.dominant}: {TERMS[ledger.dominant]}." if ledger.dominant else ""
    rows = [
        (p.term, TERMS[p.term], percent(p.part) if p.part >= 0 else f"-{percent(-p.part)}", f"{_signed(p.share)} %",
         f"{_signed(p.along)} %", percent(p.rms))
        for p in ledger.output.parts
    ]  # fmt: skip
    body = html(
        '<p class="lead">What leaves the spiking network differs from the float network by <strong class="n">{gap}'
        "</strong> of its RMS.{largest}</p>{rows}<small>The parts add up to the measured gap within {closure}. "
        "A share is by how much the cause makes the squared error larger, given those above it; a negative one takes "
        "errors back. Along the gap counts what a cause only draws anew as its own.</small>"
        "{notes}",
        gap=percent(ledger.measured),
        largest=largest,
        rows=table(["part", "due to", "of the RMS", "share", "along the gap", "size alone"], rows, numbers=range(2, 6)),
        closure=percent(ledger.closure),
        notes=join(html('<p class="warn">{n}</p>', n=note) for note in ledger.notes),
    )
    return section("The gap", body)


def _advice(ledger: Account) -> Html:
    if not ledger.advice:
        why = "is below 1 %" if ledger.output.rms < SMALL else "costs no more answers than chance explains"
        return section("What to do", html("<p>The gap {why}: nothing needs to be done.</p>", why=why))
    said = [
        html(
            "<h3>{term}: {share} of the gap{where}</h3><p>{text}</p><pre>{options}</pre>",
            term=a.term,
            share=f"{a.share:.0%}",
            where=f", most in {a.layer}" if a.layer else "",
            text=a.text,
            options="\n".join(_call(o) for o in a.options),
        )
        for a in ledger.advice
    ]
    return section("What to do", join(said))


def _call(option: str) -> str:
    return option if option.startswith("bs.") else f"bs.convert(..., {option})"


def _parts_table(ledger: Account, gaps: Sequence[tuple[str, Gap]]) -> Html:
    terms = [t for t in ledger.terms if any(gap[t].rms for _, gap in gaps)]
    rows = [
        (
            code(name),
            percent(gap.rms),
            *(_signed(gap[t].part) for t in terms),
            f"{gap.cosine:.4f}",
        )
        for name, gap in gaps
    ]
    head = ["layer", "gap", *(f"{t}, %" for t in terms), "cosine"]
    return table(head, rows, numbers=range(1, len(head)))


def _accuracy(ledger: Account) -> Html | None:
    if not ledger.accuracy:
        return None
    known = meanings()
    rows = [(name, known.get(name, ""), percent(value)) for name, value in ledger.accuracy.items()]
    return section(
        f"{ledger.metric.capitalize()} of every rung", table(["rung", "", ledger.metric], rows, numbers=(2,))
    )


def _local(ledger: Account) -> Html:
    rows = [
        (
            code(layer.name), layer.kind, percent(layer.local.rms), percent(layer.clipped),
            percent(layer.rate), percent(layer.silent), percent(layer.saturated), percent(layer.over),
            percent(layer.under), "n/a" if layer.largest is None else str(layer.largest),
        )
        for layer in ledger.layers
    ]  # fmt: skip
    head = ["layer", "kind", "own gap", "clipped", "rate", "silent", "saturated", "too many", "too few", "most off"]
    said = (
        "Too many and too few: counts above and below formula (*) for the charge that came. They are not applicable to "
        "read-outs, nor to neurons that reset to zero."
    )
    body = html(
        "{parts}{rows}<small>{said}</small>",
        parts=_parts_table(ledger, [(layer.name, layer.local) for layer in ledger.layers]),
        rows=table(head, rows, numbers=range(2, len(head))),
        said=said,
    )
    return section("Every layer on its own", body)


def _signed(part: float) -> str:
    return f"{100 * part:.2f}".replace("-0.00", "0.00")


def _each(layers: dict[str, list[Figure]]) -> Html | None:
    shown = [figure for figures in layers.values() for figure in figures]
    if not shown:
        return None
    if len(shown) <= 12:
        return section("Activations", _figures(shown, "pair"))
    more = html("<details><summary>{n} more</summary>{f}</details>", n=len(shown) - 12, f=_figures(shown[12:], "pair"))
    return section("Activations", join([_figures(shown[:12], "pair"), more]))


def _figures(figures: Sequence[Figure], kind: str) -> Html:
    return html('<div class="{kind}">{f}</div>', kind=kind, f=join(plot(f.svg, f.caption) for f in figures))
