"""The shipped recipes as a table for a terminal of 80 columns, grouped by the papers that they are about."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

WIDTH = 80
_NAME = 27
"""Columns of a name; a longer one has a line for itself."""
_HEADS = ("data", "bits", "T", "publ.", "goal", "time")


def table_of(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows of :func:`bitspike.verbs.recipes.recipes` as text."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault("" if row["paper"] is None else row["paper"]["title"].lower(), []).append(row)
    order = sorted(groups.values(), key=_paper)
    every = [row for group in order for row in group]
    sources = _sources(every)
    lines = {row["name"]: [*_lines(row, sources)] for row in every}
    cells = [line for own in lines.values() for _, line in own]
    widths = [max(map(len, column)) for column in zip(_HEADS, *cells, strict=True)]
    text = [_line("recipe", _HEADS, widths)]
    for group in order:
        text += ["", *textwrap.wrap(_paper(group) or "no paper of their own", WIDTH, break_on_hyphens=False)]
        for name, line in (pair for row in group for pair in lines[row["name"]]):
            long = len(name) > _NAME
            text += [f"  {name}"] * long + [_line("" if long else name, line, widths)]
    return "\n".join([*text, "", *_legend(every, sources)])


def _line(name: str, cells: Iterable[str], widths: Iterable[int]) -> str:
    left, *others = (
        cell.rjust(width) if n else cell.ljust(width) for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([f"  {name:<{_NAME}}", left, *others]).rstrip()


def _paper(group: Sequence[Mapping[str, Any]]) -> str:
    """Return the paper that recipes are about; nothing where they are about none."""
    paper = group[0]["paper"]
    return "" if paper is None else f"{paper['authors']}: {paper['title']}. {paper['venue']}"


def _figures(row: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return what holds figures of a recipe: itself under no name, or its stages that have some."""
    own = {n: f for n, f in row["stages"].items() if f["published"] is not None or f["expected"] is not None}
    return own or {"": row}


def _sources(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return a letter for everything that published figures are from, in the order of the table."""
    published = (figures["published"] for row in rows for figures in _figures(row).values())
    named = dict.fromkeys(p["source"] for p in published if p is not None)
    return {source: chr(ord("a") + n) for n, source in enumerate(named)}


def _lines(row: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the name of a recipe and what stands in its columns; then of its stages those that have figures."""
    needs, time, figures = row["needs"], row["time"], _figures(row)
    mark = "" if needs["weights"] is None else " *" if needs["published"] else " +"
    bits = "fp32" if row["bits"] == 32 else str(row["bits"])
    taken = "-" if time is None else _short(time["seconds"]) + " G" * time["gpu"]
    own = ("", "") if "" not in figures else _told(figures[""], sources)
    yield row["name"], (f"{row['data']}{mark}", bits, str(row["steps"]), *own, taken)
    for name, stage in figures.items():
        if name:
            yield f"  stage {name}", ("", "", "", *_told(stage, sources), "")


def _told(figures: Mapping[str, Any], sources: Mapping[str, str]) -> tuple[str, str]:
    """Return the published figure, with the letter of its source, and the one that a run has to reach."""
    published, expected = figures["published"], figures["expected"]
    return (
        "" if published is None else f"{100 * published['value']:.2f} {sources[published['source']]}",
        "" if expected is None else f"{100 * expected:.1f}",
    )


def _short(seconds: float) -> str:
    """Write a time in at most seven characters.

    Example:
        >>> _short(12.6), _short(413.1), _short(6777.1)
        ('13 s', '7 min', '1.9 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:.1f} h"


def _legend(rows: Sequence[Mapping[str, Any]], sources: Mapping[str, str]) -> Iterator[str]:
    kinds = {come: sorted({r["needs"]["data"] for r in rows if r["needs"]["come_from"] == come}) for come in _WAYS}
    times = [r["time"] for r in rows if r["time"] is not None]
    cpus, gpus = (" or ".join(sorted({p for t in times if t["gpu"] is gpu for p in t["on"]})) for gpu in (False, True))
    notes = [
        *(f"{', '.join(named)}: {_WAYS[come]}" for come, named in kinds.items() if named),
        "*  starts from published weights, too: bitspike fetch RECIPE",
        "+  starts from weights of your own: --set model.weights=FILE",
        "publ., goal: test accuracy in %, as published, and that a run has to reach",
        *(f"{letter}  {source}" for source, letter in sources.items()),
        f"time: of one run, in the mean of those that were kept, on {cpus}; G on {gpus}; - was not measured",
        "bitspike recipes show NAME prints one of them; --json has its question, too",
    ]
    for note in notes:
        yield from textwrap.wrap(note, WIDTH, subsequent_indent="   ", break_on_hyphens=False)


_WAYS = {
    "package": "come with the package",
    "download": "bitspike fetch RECIPE brings them, or --set data.root=FOLDER",
    "own": "from their authors; --set data.root=FOLDER",
}
