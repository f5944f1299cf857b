"""One table of codes: one code for one fault, and the documents show the table as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tests.unit.hardware_networks import Builder
from torch import nn

from bitspike.conversion.region.choose import region
from bitspike.conversion.region.rules import violations
from bitspike.graph.capture.from_module import capture
from bitspike.hardware.chips.check import check
from bitspike.violations import CODES, SEVERITIES

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "bitspike"
ROOMS = {"convert": ("graph", "conversion"), "check": ("hardware",)}
DOCUMENTS = {"convert": "conversion.md", "check": "chips.md"}


def _codes_in(rooms: tuple[str, ...]) -> set[str]:
    """Return the codes that the files of some rooms write down."""
    files = [file for room in rooms for file in (PACKAGE / room).rglob("*.*") if file.suffix in (".py", ".toml")]
    assert len(files) > 5
    return {code for file in files for code in re.findall(r"\b[EWN][123]\d\d\b", file.read_text())}


@pytest.mark.parametrize("verb", ROOMS)
def test_a_verb_reports_just_the_codes_that_the_table_gives_it(verb: str) -> None:
    assert _codes_in(ROOMS[verb]) == {code for code, said in CODES.items() if verb in said.verbs}


def test_no_two_codes_mean_the_same() -> None:
    assert len({said.meaning for said in CODES.values()}) == len(CODES)
    assert all(code[0] in SEVERITIES and said.verbs for code, said in CODES.items())


@pytest.mark.parametrize("verb", DOCUMENTS)
def test_the_documents_show_the_table(verb: str) -> None:
    rows = [f"| {code} | {said.meaning} |" for code, said in CODES.items() if verb in said.verbs]
    table = "\n".join(["| code | meaning |", "| --- | --- |", *rows, ""])
    assert table in (ROOT / "docs" / DOCUMENTS[verb]).read_text(), f"docs/{DOCUMENTS[verb]} should have\n{table}"


def test_two_layers_in_a_row_have_one_code_in_both_verbs() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU())
    graph = capture(model, torch.zeros(1, 8, 9, 9))
    builder = Builder((8, 9, 9))
    builder.conv("0", 8, bits=1)
    builder.conv("1", 8, bits=1)
    builder.neuron("2")
    of_conversion = [(v.code, v.path) for v in violations(graph, region(graph))]
    of_check = [(v.code, v.path) for v in check(builder.build(), "generic-int").errors]
    assert of_conversion == of_check == [("E103", "1")]
