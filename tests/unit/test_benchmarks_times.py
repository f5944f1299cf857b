"""The times of recipes: made from the kept records, of whole runs only, and those that the package has are these."""

from __future__ import annotations

import subprocess
import sys

import pytest
from benchmarks import constrained, records, times

from bitspike import zoo
from bitspike.recipe import names


def test_the_times_of_the_package_are_those_of_the_records() -> None:
    assert times.FILE.read_text(encoding="utf-8") == times.text(), "scripts/results writes them again"


def test_the_check_of_the_results_writes_nothing() -> None:
    root = times.FILE.parents[3]
    files = (root / "README.md", times.FILE)
    before = [path.stat().st_mtime_ns for path in files]
    command = [sys.executable, "scripts/results", "--check"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.stat().st_mtime_ns for path in files] == before


def test_only_whole_runs_of_todays_recipes_count(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = records.read()
    stages = [x for x in kept if x["name"] == "nb-snn-resnet20-pretrained" and x["seed"] == 0]
    quick = [x for x in kept if x["name"] == "quickstart"]
    assert len(stages) == 3
    assert len(quick) == 3
    monkeypatch.setattr(constrained, "latest", list)
    monkeypatch.setattr(zoo, "names", list)
    monkeypatch.setattr(records, "read", lambda: [*stages, *quick])
    found = times.times()
    assert set(found) == {"nb-snn-resnet20-pretrained", "quickstart"} <= set(names())
    assert found["quickstart"]["runs"] == 3
    seconds = found["nb-snn-resnet20-pretrained"]["seconds"]
    assert seconds == pytest.approx(sum(x["seconds"]["total"] for x in stages), abs=0.1)
    older = [{**x, "experiment": "0" * 16} for x in quick]
    monkeypatch.setattr(records, "read", lambda: [*stages[1:], *older])
    assert times.times() == {}
