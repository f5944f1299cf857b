"""The proof of the exports: it runs every file of a network, sees what differs, and the document says so."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import exports

import bitspike as bs
from bitspike.recipe import dump, load
from bitspike.runs.sketch import sketch
from equivalence.c_programs import needs_compiler

pytestmark = needs_compiler
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what a run leaves of the quickstart, its weights as they were drawn."""
    folder = tmp_path_factory.mktemp("quickstart")
    recipe = load("quickstart", ["model.width=0.25"])
    (folder / "recipe.yaml").write_text(dump(recipe), encoding="utf-8")
    bs.save(sketch(recipe).net, folder / "network")
    return folder


def proven(run: Path, **choices: Any) -> list[dict[str, Any]]:
    return exports.prove(run, **{"images": 5, "proof": 3, "batch": 2, "say": lambda _: None, **choices})


def test_every_program_of_a_network_gives_every_spike(run: Path, tmp_path: Path) -> None:
    lines = proven(run)
    assert [line["format"] for line in lines] == list(exports.FORMATS)
    assert [line["images"] for line in lines] == [3, 5, 5, 5]
    assert all(map(exports.holds, lines))
    assert all(line["spikes"] == line["images"] * line["steps"] * line["neurons"] for line in lines)
    assert all(line["fired"] > 0 for line in lines)
    assert lines[0]["changes"] == ["model.width=0.25"]
    assert lines[1]["memory"]["constants"] > 0
    exports.keep([{**line, "run": "2026-01-01"} for line in lines], tmp_path / "kept.jsonl")
    exports.keep(lines, tmp_path / "kept.jsonl")
    assert exports.kept(tmp_path / "kept.jsonl") == lines
    shown = exports.table(lines)
    assert shown.count("| all | all |") == 4
    assert "bitspike run quickstart --set model.width=0.25 --out runs/quickstart\n" in shown


@pytest.mark.parametrize("what", ["spike", "output"])
def test_one_other_spike_or_output_is_seen(run: Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_format: str, net: bs.IntegerNetwork, engine: bs.Engine, _scratch: Path) -> exports.Runner:
        def call(codes: np.ndarray) -> tuple[exports.Spikes, exports.Spikes]:
            trace = engine.run(codes)
            part = trace.spikes[net.neurons[-1].id][-1] if what == "spike" else trace.outputs[net.outputs[0].id]
            part.reshape(-1)[0] ^= 1
            return trace.spikes, trace.outputs

        return call

    monkeypatch.setattr(exports, "_runner", wrong)
    (line,) = proven(run, formats=["C"], images=4, batch=4)
    assert not exports.holds(line)
    assert (line["spikes"] - line["spikes_equal"], line["images"] - line["counts_equal"]) == (what == "spike",) * 2
    assert line["images"] - line["outputs_equal"] == (what == "output")
    assert "**3**" in exports.table([line])


def test_what_a_format_refuses_is_said(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> exports.Runner:
        raise bs.ExportError("NIR cannot hold 1 of 9 nodes\n  2  Neuron n: it is signed", fix="another format")

    monkeypatch.setattr(exports, "_runner", refused)
    (line,) = proven(run, formats=["NIR"])
    assert exports.holds(line)
    assert "refused" in exports.sentence(line)
    shown = exports.table([line])
    assert "| | refused | refused | | |" in shown
    assert "NIR refuses `quickstart`: NIR cannot hold 1 of 9 nodes (1 × Neuron: it is signed)." in shown


def test_the_command_proves_and_prints_lines(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main = runpy.run_path(str(ROOT / "scripts" / "prove_exports"))["main"]
    assert main([str(run), "--images", "2", "--formats", "C", "NIR", "--json"]) == 0
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(line["format"], line["images"]) for line in lines] == [("C", 2), ("NIR", 2)]
    assert all(map(exports.holds, lines))


def test_the_document_shows_the_kept_lines_and_all_of_them_are_equal() -> None:
    lines, text = exports.kept(), exports.DOCUMENT.read_text(encoding="utf-8")
    assert exports.put(text, exports.table(lines)) == text, "run scripts/prove_exports"
    assert {"quickstart", "mnist-stbp-w4", "resnet20-cifar10-convert"} <= {line["network"] for line in lines}
    assert all(map(exports.holds, lines))
    assert not any("=/" in change for line in lines for change in line["changes"])
