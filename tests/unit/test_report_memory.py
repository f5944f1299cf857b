"""Weights in memory devices in a report: what the record says is shown, and what it lacks is left out."""

from __future__ import annotations

from typing import Any

import pytest
from run_record import metrics, record

from bitspike.analysis.report.report import render, summary

READ = {"device": 1000.0, "conversion": 2500.0, "sram": 300.0, "addition": 20.0, "total": 3820.0}
COST: dict[str, Any] = {
    "devices": "rram-1t1r",
    "table": "horowitz-45nm",
    "samples": 100,
    "weights": 2592,
    "cells": 5184,
    "device_size": 10368,
    "sram_size": 7780,
    "area_f2": 1.5e6,
    "energy": READ,
    "layers": [
        {"path": "conv<1>", "weights": 288, "cells": 576, "device_bits": 4, "sram_size": 580, "energy": READ},
        {"path": "fc", "weights": 2304, "cells": 0, "device_bits": 0, "sram_size": 7200, "energy": READ},
    ],
}


def test_the_page_has_a_line_for_every_layer() -> None:
    page = render(record() | {"memory": COST}, metrics())
    for said in (
        "Weights in memory",
        "conv&lt;1&gt;",
        "5,184 cells",
        "7,780 bits",
        "3.82 nJ",
        "2.5 nJ",
        "100 test",
        "1.5 million",
    ):
        assert said in page, said
    assert "memory          5,184 cells, 7,780 bits of SRAM, 3.82 nJ to read them" in summary(
        record() | {"memory": COST}
    )


@pytest.mark.parametrize(
    "none", [{}, {"memory": None}, {"memory": {"cells": 0}}, {"memory": {"cells": 3, "layers": 1}}]
)
def test_a_run_without_cells_says_nothing_of_them(none: dict[str, Any]) -> None:
    assert "Weights in memory" not in render(record() | none, metrics())


def test_a_record_that_lacks_numbers_is_shown_without_them() -> None:
    page = render(record() | {"memory": {"cells": 3, "layers": [{}]}}, metrics())
    assert "n/a" in page.partition("Weights in memory")[2]
