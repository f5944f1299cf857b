"""Weights in memory devices in the report of a run: cells, bits of SRAM, and the energy of reading them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitspike.analysis.drawing.markup import Html, code, html, join, section, table
from bitspike.analysis.drawing.words import MISSING, count, known, percent
from bitspike.analysis.report.facts import mapping, rows_of
from bitspike.hardware.text import pj

Record = Mapping[str, Any]
PARTS = ("device", "conversion", "sram", "addition")


def memory(record: Record) -> Html | None:
    """List where the weights of every layer lie; nothing where none lie in cells."""
    whole = mapping(record, "memory")
    layers = rows_of(whole, "layers")
    if not known(whole.get("cells")) or not layers:
        return None
    head = ["layer", "weights", "cells", "bits of a cell", "SRAM bits", "read cells", "convert", "read SRAM", "add"]
    body = [_row(code(str(layer.get("path"))), layer) for layer in layers]
    total = mapping(whole, "energy")
    note = html(
        "<p>Weights that vary lie in cells, a pair for each; {cells} cells and {sram} bits of SRAM take"
        " {area} million squares of the feature size. Reading all of them takes <strong>{energy}</strong> per sample"
        " in the mean of {samples} test images.</p>",
        cells=count(whole.get("cells")),
        sram=count(whole.get("sram_size")),
        area=_millions(whole.get("area_f2")),
        energy=energy(total.get("total")),
        samples=count(whole.get("samples")),
    )
    source = html("<small>Figures of {a} and {b}.</small>", a=str(whole.get("devices")), b=str(whole.get("table")))
    rows = [*body, _row("in all", whole)]
    return section("Weights in memory", join([note, table(head, rows, numbers=tuple(range(1, 9))), source]))


def _row(name: str | Html, x: Record) -> tuple[str | Html, ...]:
    bits, parts = known(x.get("device_bits")), mapping(x, "energy")
    return (
        name,
        count(x.get("weights")),
        count(x.get("cells")),
        count(bits) if bits else "",
        count(x.get("sram_size")),
        *(energy(parts.get(part)) for part in PARTS),
    )


def of_stages(rows: Sequence[Record], metric: str) -> Html | None:
    """Compare the stages of a run by what their weights cost; nothing where no stage says it."""
    stages = [(row, mapping(row, "memory")) for row in rows]
    if not any(cost for _, cost in stages):
        return None
    body = [
        (
            str(row.get("name")),
            percent(mapping(row, "accuracy").get("test")),
            count(cost.get("cells")),
            count(cost.get("device_size")),
            count(cost.get("sram_size")),
            energy(cost.get("energy")),
        )
        for row, cost in stages
    ]
    head = ["stage", f"{metric} without variation", "cells", "bits in cells", "SRAM bits", "reading the weights"]
    return join([Html("<h3>Weights in memory</h3>"), table(head, body, numbers=(1, 2, 3, 4, 5))])


def line(record: Record) -> list[tuple[str, str]]:
    """Say in a line for the terminal what the weights cost; none where none lie in cells."""
    whole = mapping(record, "memory")
    if not known(whole.get("cells")):
        return []
    total = energy(mapping(whole, "energy").get("total"))
    said = f"{count(whole.get('cells'))} cells, {count(whole.get('sram_size'))} bits of SRAM, {total} to read them"
    return [("memory", said)]


def summed(cost: Record) -> dict[str, Any] | None:
    """Return what is compared between stages of the cost of one; None where a stage has none.

    Example:
        >>> summed({"cells": 8, "device_size": 16, "sram_size": 0, "energy": {"total": 2.5}, "layers": []})
        {'cells': 8, 'device_size': 16, 'sram_size': 0, 'energy': 2.5}
    """
    if not cost:
        return None
    own = {name: cost.get(name) for name in ("cells", "device_size", "sram_size")}
    return own | {"energy": mapping(cost, "energy").get("total")}


def energy(value: object) -> str:
    """Write an energy that a record holds, in pJ."""
    number = known(value)
    return MISSING if number is None else pj(number)


def _millions(value: object) -> str:
    number = known(value)
    return MISSING if number is None else f"{number / 1e6:.3g}"
