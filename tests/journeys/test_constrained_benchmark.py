"""The record of networks trained onto few levels: what is kept of a run, and what the document says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks import constrained

import bitspike as bs

SMALL = (
    "data.limit=60",
    "training.epochs=1",
    "stages.0.epochs=1",
    "model.factory=bitspike.models.digits_ann:digits_ann",
    "model.arguments={}",
    "quantize.calibrate=20",
    "convert.samples=20",
    "convert.float_steps=3",
    "evaluation.mismatch=10",
    "evaluation.by_step=false",
)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("constrained") / "run"
    bs.run("cbp-calibration-digits", set=SMALL, out=folder)
    with pytest.raises(ValueError, match="changed its recipe in more than the seed"):
        constrained.lines_of(folder)
    for file in folder.glob("*/report.json"):  # as if an earlier commit had run
        file.write_text(json.dumps(json.loads(file.read_text()) | {"commit": "abc1234"}))
    return [constrained.line(folder / name) for name in ("32bit", "bin", "ter")]


def test_a_line_says_how_far_weights_are_from_levels_and_what_projection_changes(lines: list[dict[str, Any]]) -> None:
    floats, binary, ternary = lines
    assert floats["constraints"] is None
    for x, values in ((binary, 2), (ternary, 3)):
        found = x["constraints"]
        assert found["values"] == values
        assert found["window"] == 2  # one epoch, and patience 1
        assert 0.5 < found["off"] <= 1  # one epoch brings hardly a weight to its level
        assert 0 < found["relative"] < 2
        assert 0 <= found["latent"] <= 1
        assert x["equal"] is True
    assert {x["commit"] for x in lines} == {"abc1234"}, "that of the run, not of the moment when it is kept"
    assert json.loads(json.dumps(lines)) == lines


def test_the_table_of_networks_says_what_the_lines_hold(lines: list[dict[str, Any]]) -> None:
    text = constrained.document(f"before\n{constrained.BEGIN}\nold\n{constrained.END}\nafter\n", lines)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "\nold\n" not in text
    floats, binary, ternary = lines
    for x, word in ((binary, "binary"), (ternary, "ternary")):
        row = next(row for row in text.splitlines() if f"| {word} |" in row)
        lost = 100 * (floats["accuracy"]["test"] - x["accuracy"]["test"])
        assert f"| {lost:+.2f} |" in row
        assert f"| {x['bytes']:,} | equal |" in row


def way(stage: str, seed: int, test: float) -> dict[str, Any]:
    return {
        "recipe": "cbp-comparison-digits", "stage": stage, "seed": seed, "epochs": 30, "steps": 7, "bytes": 9,
        "seconds": 1.0, "accuracy": {"test": test, "validation": None}, "equal": True, "constraints": None,
        "cpu": "Example", "threads": 1, "torch": "2.6", "commit": "abc",
    }  # fmt: skip


def test_the_best_way_comes_first_and_is_called_so_only_where_seeds_tell() -> None:
    sure = [way(stage, n, best - n / 1000) for stage, best in (("qat", 0.9), ("cbp", 0.95)) for n in range(3)]
    rows = constrained.comparison("cbp-comparison-digits", sure)
    assert [row.split(" | ")[0] for row in rows[4:6]] == ["| constrained backpropagation", "| rounding in the loop"]
    said = next(row for row in rows if "has the best mean" in row)
    assert said.startswith("Constrained backpropagation has the best mean, 5.00 ± 0.00 points")
    assert "do not tell" not in said
    close = [way("qat", 0, 0.90), way("qat", 1, 0.92), way("cbp", 0, 0.92), way("cbp", 1, 0.90)]
    rows = constrained.comparison("cbp-comparison-digits", close)
    assert "these seeds do not tell the two apart" in next(row for row in rows if "has the best mean" in row)


def test_ways_that_reach_the_same_are_said_to() -> None:
    same = [way(stage, n, 0.9 + n / 100) for stage in ("qat", "dorefa") for n in range(2)]
    rows = constrained.comparison("cbp-comparison-digits", same)
    assert "Rounding in the loop and DoReFa reach the same with every seed." in rows


def test_the_last_line_of_a_stage_and_seed_counts(tmp_path: Path) -> None:
    path = tmp_path / "lines.jsonl"
    constrained.keep([way("cbp", 0, 0.5), way("cbp", 1, 0.6)], path)
    constrained.keep([way("cbp", 0, 0.7)], path)
    assert [x["accuracy"]["test"] for x in constrained.latest(path)] == [0.7, 0.6]


def test_lines_of_a_recipe_that_changed_since_are_left_out() -> None:
    kept = constrained.latest()[0]
    assert constrained.current([kept, kept | {"experiment": "0" * 16}, kept | {"recipe": "gone"}]) == [kept]


def test_the_document_is_that_of_the_records() -> None:
    text = constrained.DOCUMENT.read_text(encoding="utf-8")
    assert constrained.document(text, constrained.current(constrained.latest())) == text
