"""The proof of the export for Loihi: it counts what differs, keeps what it counted, and the document says so."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
from benchmarks import loihi, markers

import bitspike as bs
from bitspike.errors import ConstraintError, ExportError
from bitspike.recipe import dump, load
from bitspike.runs.sketch import sketch

ROOT = Path(__file__).parents[2]
NEURON = "neuron={kind: lif, decay: 0.8984375, reset: hard, fire: gt, resolution: 6.103515625e-05, rounding: zero}"
DOUBLE = """
import importlib.metadata, runpy, sys
sys.path.insert(0, {folder!r})
import lava_double, pytest
lava_double.install(pytest.MonkeyPatch())
importlib.metadata.version = lambda name: "a double"
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a run leaves of a quickstart with leaks that round, its weights as they were drawn."""
    folder = tmp_path_factory.mktemp("quickstart")
    recipe = load("quickstart", ["model.width=0.25", "model.steps=3", NEURON])
    (folder / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
    bs.save(sketch(recipe).net, folder / "network")
    return folder


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Return an interpreter whose lava is the double."""
    start, double = tmp_path / "python", tmp_path / "double.py"
    double.write_text(DOUBLE.format(folder=str(Path(__file__).parent)), encoding="utf-8")
    start.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{double}" "$@"\n', encoding="utf-8")
    start.chmod(0o755)
    return start


@pytest.mark.skipif(os.name != "posix", reason="the double is started by a shell script")
def test_a_run_is_proven_and_kept(run: Path, python: Path, tmp_path: Path) -> None:
    line = loihi.prove(run, python, images=4)
    assert loihi.holds(line)
    assert line["images"] == 4
    assert line["spikes"] == line["potentials"] == 4 * 3 * (line["neurons"] + 10)
    assert line["leaks"] == ["115/128, rounds toward zero"]
    assert line["otherwise"] > 0
    path = tmp_path / "kept.jsonl"
    loihi.keep([{**line, "images": 1}, line], path)
    assert loihi.kept(path) == [json.loads(json.dumps(line))]
    assert f"| 4 | {line['spikes']:,} | 0 |" in loihi.table([line])
    assert not loihi.holds({**line, "unequal": 1})


def test_no_image_is_no_proof(run: Path, python: Path) -> None:
    with pytest.raises(ConstraintError, match=r"images=0: at least one is compared"):
        loihi.prove(run, python, images=0)


def test_an_interpreter_without_lava_is_told_what_it_needs(run: Path) -> None:
    with pytest.raises(ExportError, match=r"lava-nc is not installed(?s:.*)fix: python3\.10 -m venv lava"):
        loihi.prove(run, sys.executable, images=1)


def test_what_was_kept_has_a_million_spikes_and_no_difference() -> None:
    lines = loihi.kept()
    assert all(map(loihi.holds, lines))
    assert sum(line["spikes"] for line in lines) > 1_000_000
    assert any(line["otherwise"] for line in lines), "one network whose leak rounds is among them"
    text = loihi.DOCUMENT.read_text(encoding="utf-8")
    assert markers.put(text, loihi.table(lines), loihi.BEGIN, loihi.END) == text


def test_the_script_asks_for_its_interpreter(run: Path) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "prove_loihi"))["main"]
    with pytest.raises(SystemExit, match=r"error: no/such/python could not run(?s:.*)python3\.10 -m venv lava"):
        main([str(run), "--images", "1", "--python", "no/such/python"])
