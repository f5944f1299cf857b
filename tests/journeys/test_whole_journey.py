"""One small run from images to report, and what the verbs say about it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import SMALL, sets
from safetensors.numpy import load_file

import bitspike as bs
from bitspike.integer.saved.folder import tensor_bytes
from bitspike.recipe import load
from bitspike.runs.stages import STAGES

Bitspike = Callable[..., tuple[int, str, str]]


def test_the_folder_holds_what_was_promised(finished_run: Path) -> None:
    names = {str(p.relative_to(finished_run)) for p in finished_run.rglob("*") if p.is_file()}
    assert names == {
        "recipe.yaml",
        "origin.json",
        "metrics.jsonl",
        "checkpoints/last/model.safetensors",
        "checkpoints/last/optimizer.pt",
        "checkpoints/last/state.json",
        *(f"checkpoints/best/{name}" for name in ("model.safetensors", "state.json")),
        "model.safetensors",
        "network/manifest.json",
        "network/weights.safetensors",
        "network/vectors.safetensors",
        "report.json",
        "report.html",
    }
    assert load(finished_run / "recipe.yaml") == load("quickstart", SMALL)
    assert len((finished_run / "metrics.jsonl").read_text().splitlines()) == 2


def test_the_report_holds_what_was_promised(finished_run: Path) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    assert set(report) >= {
        *("recipe", "accuracy", "published", "certificate", "agreement", "bits", "bytes", "seconds"),
        *("seed", "environment", "widths", "activity", "finished", "schema", "expected", "checks", "command"),
        *("commit", "again"),
    }
    assert report["recipe"] == load("quickstart", SMALL).model_dump(mode="json")
    accuracy = report["accuracy"]
    assert len(accuracy["by_step"]) == 4
    assert accuracy["by_step"][-1] == accuracy["test"] == accuracy["lowered"]
    # Trained on a declared grid: the integers do exactly what training did.
    assert report["certificate"]["equal"] is True
    assert report["certificate"]["samples"] == 120
    assert report["certificate"]["first_difference"] is None
    assert report["agreement"] == {"spikes": 1.0, "accuracy_difference": 0.0, "samples": 120}
    assert report["notes"] == []
    assert set(report["bits"].values()) == {2}
    assert report["bytes"]["weights_packed"] == -(-report["bytes"]["weights_float32"] // 16)
    assert report["bytes"]["package"] == sum(f.stat().st_size for f in (finished_run / "network").iterdir())
    assert set(report["activity"]) == {"neuron1", "neuron2"}
    assert set(report["seconds"]) == {"data", "train", "evaluate", "lower", "verify", "compare", "energy", "total"}
    assert report["environment"]["bitspike"] == bs.__version__


def test_verify_takes_a_network_or_its_run(run_folder: Path, bitspike: Bitspike) -> None:
    for folder in (run_folder, run_folder / "network"):
        code, out, _ = bitspike("verify", folder)
        assert code == 0
        assert out.startswith("certificate: 100% equal")
    code, out, _ = bitspike("verify", run_folder, "--json")
    assert code == 0
    assert json.loads(out)["equal"] is True


def test_one_flipped_code_fails_the_proof_and_is_named(run_folder: Path, bitspike: Bitspike) -> None:
    path = run_folder / "network" / "weights.safetensors"
    tensors = load_file(path)
    key = next(k for k in tensors if "conv" in k and k.endswith("weight"))
    tensors[key] = tensors[key].copy()
    tensors[key].flat[3] = -tensors[key].flat[3] if tensors[key].flat[3] else 1
    path.write_bytes(tensor_bytes(tensors))
    code, out, err = bitspike("verify", run_folder)
    assert code == 1
    assert "NOT equal" in out
    assert "layer " in out
    assert "Traceback" not in err
    code, out, _ = bitspike("verify", run_folder, "--json")
    assert code == 1
    assert json.loads(out)["first_difference"]["layer"]


def test_evaluate_finds_the_reported_accuracy_again(finished_run: Path, bitspike: Bitspike) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    code, out, _ = bitspike("evaluate", finished_run, "--json")
    assert code == 0
    assert json.loads(out)["accuracy"] == json.loads(out)["reported"] == report["accuracy"]["test"]
    code, out, _ = bitspike("evaluate", finished_run, "--steps", "2", "--json")
    assert json.loads(out)["accuracy"] == report["accuracy"]["by_step"][1]
    code, out, _ = bitspike("evaluate", finished_run, "--steps", "1")
    assert f"test accuracy {report['accuracy']['by_step'][0]:.2%} at T = 1 (120 images)" in out
    code, _, err = bitspike("evaluate", finished_run, "--steps", "5")
    assert code == 2
    assert "steps=5, and its network runs for T = 4 steps" in err
    assert f"fix: bitspike evaluate {finished_run} --steps 4, or --set model.steps=5 for a network of more" in err
    code, out, _ = bitspike("evaluate", finished_run, "--set", "model.steps=5")
    assert "at T = 5" in out


def test_evaluate_measures_every_step_and_early_exit(finished_run: Path, bitspike: Bitspike) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    by_step = report["accuracy"]["by_step"]
    words = ("--by-step", "--exit-step", "2", "--exit-confidence", "0.3", "--json")
    code, out, _ = bitspike("evaluate", finished_run, *words)
    assert code == 0
    result = json.loads(out)
    assert result["by_step"] == by_step
    fixed, sure = result["exits"]
    assert fixed == {"rule": "fixed", "value": 2, "accuracy": by_step[1], "steps": 2.0, "shares": {"2": 1.0}}
    assert (sure["rule"], sure["value"]) == ("confidence", 0.3)
    assert sum(sure["shares"].values()) == pytest.approx(1.0)
    assert sure["steps"] == pytest.approx(sum(int(t) * share for t, share in sure["shares"].items()))
    code, out, _ = bitspike("evaluate", finished_run, *words[:-1])
    assert f"  after   2 steps  {by_step[1]:8.2%}" in out.splitlines()
    assert f"  exit by fixed 2: {by_step[1]:.2%} after 2.00 steps in the mean (100.0% after 2)" in out.splitlines()
    assert "exit by confidence 0.3: " in out
    for wrong, said in (("--exit-gamma", "no bs.BatchNormThroughTime"), ("--exit-step", "the network runs 4 steps")):
        code, out, err = bitspike("evaluate", finished_run, wrong, "5")
        assert code == 2
        assert said in err
        assert "fix: " in err
    assert bitspike("evaluate", finished_run, "--exit-confidence", "2")[0] == 2


def test_the_report_shows_early_exit_from_the_same_run(finished_run: Path) -> None:
    report = json.loads((finished_run / "report.json").read_text())
    fixed = [row["accuracy"] for row in report["exits"]["results"] if row["rule"] == "fixed"]
    assert fixed == report["accuracy"]["by_step"]
    assert report["exits"]["gammas"] == {}
    page = (finished_run / "report.html").read_text()
    assert "<h2>Early exit</h2>" in page
    assert [len(layer["by_step"]) for layer in report["activity"].values()] == [4, 4]


def test_python_has_the_same_verbs(tmp_path: Path) -> None:
    report = bs.run("quickstart", set=[*SMALL, "training.epochs=1"], out=tmp_path / "run")
    assert report == json.loads((tmp_path / "run" / "report.json").read_text())
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]
    assert bs.verify(tmp_path / "run" / "network").equal
    assert "quickstart" in [r["name"] for r in bs.recipes()]


def test_a_promise_that_is_not_kept_is_exit_code_1_with_the_report_written(tmp_path: Path, bitspike: Bitspike) -> None:
    changes = sets(*SMALL, "training.epochs=1", "expect.test_accuracy=0.999")
    code, _, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *changes)
    assert code == 1
    assert "expected at least 99.90%" in err
    assert err.endswith(
        f"  fix: the whole report is written: {tmp_path / 'run' / 'report.html'}\n"
        "       a recipe with other values need not reach its figure: run it with --set expect=null\n"
    )
    assert (tmp_path / "run" / "report.html").exists()
    checks = json.loads((tmp_path / "run" / "report.json").read_text())["checks"]
    assert {c["name"]: c["passed"] for c in checks} == {"certificate": True, "firing": True, "accuracy": False}


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path: Path, bitspike: Bitspike) -> None:
    code, out, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL))
    assert code == 0
    assert "test accuracy" in out
    assert "100 % equal" in out
    assert "epoch 2  loss" in err
    stages = set(json.loads((tmp_path / "run" / "report.json").read_text())["seconds"]) - {"total"}
    assert {STAGES[name] for name in stages} | {STAGES["report"]} <= set(err.splitlines())
    assert "epoch 2" not in out


@pytest.mark.parametrize("bits", [1, 3, 4, 8])
def test_every_width_makes_the_whole_journey(tmp_path: Path, bits: int) -> None:
    changes = [*SMALL, "training.epochs=1", "data.limit=60", f"weights.quantize.bits={bits}"]
    report = bs.run("quickstart", set=changes, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["agreement"]["spikes"] == 1.0
    shutil.rmtree(tmp_path / "run")
