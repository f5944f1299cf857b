"""The record of a network that was made to fit a chip: how it is made, and what the document says of it."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path

import pytest
from benchmarks import fitted

from bitspike.recipe import ConvertRecipe, load

SMALL = ("model.arguments={width: 0.125}", "data.limit=60", "data.validation=20", "convert.samples=20")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory, cifar10_root: Path) -> dict[str, object]:
    few = (*SMALL, "convert.steps=3", "evaluation.batch_size=30", "evaluation.proof=10")
    folder = tmp_path_factory.mktemp("fitted")
    found = fitted.measured(cifar10_root, folder, changes=few)
    again = fitted.measured(cifar10_root, folder, changes=few)  # nothing is made twice
    assert {k: v for k, v in again.items() if k != "run"} == {k: v for k, v in found.items() if k != "run"}
    return found


def test_a_small_network_goes_the_whole_way(line: dict[str, object]) -> None:
    assert line["fits"] is line["certificate"] is line["vectors"] is True
    assert line["violations"] == len(line["repairs"]) > 0  # type: ignore[arg-type]
    assert any("partial sums" in repair for repair in line["repairs"])  # type: ignore[attr-defined]
    assert json.loads(json.dumps(line)) == line


def test_the_table_says_what_the_line_holds(line: dict[str, object]) -> None:
    text = fitted.document(f"before\n{fitted.BEGIN}\nold\n{fitted.END}\nbehind\n", [line])
    assert text.startswith("before\n")
    assert text.endswith("behind\n")
    assert "\nold\n" not in text
    assert f"{100 * line['fitted']['accuracy']:.1f}" in text  # type: ignore[index]
    assert fitted.document(text, [line]) == text
    with pytest.raises(ValueError, match="no place"):
        fitted.document("nothing", [line])


def test_the_commands_are_those_of_the_runs() -> None:
    words = [shlex.split(command.partition(" #")[0]) for command in fitted.commands()]
    assert {line[0] for line in words} == {"bitspike"}
    assert [line[1] for line in words] == ["run", "check", "run", "fit", "check", "run", "verify"]
    for line in words:
        if line[2] == fitted.RECIPE and line[1] != "check":
            assert isinstance(load(line[2], [b for a, b in itertools.pairwise(line) if a == "--set"]), ConvertRecipe)


def test_the_document_holds_what_the_lines_generate() -> None:
    text = fitted.DOCUMENT.read_text(encoding="utf-8")
    assert fitted.document(text, fitted.latest()) == text, "run python -m benchmarks.fitted table"
