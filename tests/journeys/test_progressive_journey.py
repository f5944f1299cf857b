"""A network in stages of 32, 4 and 2 bits: as one run, stage by stage, interrupted anywhere, and by two processes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from journey_parts import WEIGHTS, by_two, finish, interrupted, read_report, sets, write_recipe
from safetensors.torch import load_file, save_file

import bitspike as bs
from bitspike.analysis.report.facts import idle

Bitspike = Callable[..., tuple[int, str, str]]
RECIPE = """
kind: progressive
name: three-stages
question: What do fewer bits cost?
data: {kind: digits, validation: 60, limit: 240}
model: {kind: factory, factory: "bitspike.models.digits_ann:digits_ann", arguments: {width: 0.5}}
training:
  epochs: 2
  batch_size: 30
  optimizer: {kind: sgd, lr: 0.05, weight_decay: 1.0e-4}
  schedule: {kind: cosine}
  precision: fp32
  distill: {weight: 0.5, temperature: 2.0}
  average: {decay: 0.5}
over_time:
  epochs: 1
  batch_size: 30
  optimizer: {kind: adamw, lr: 0.001}
  schedule: {kind: constant}
  precision: fp32
tune: {epochs: 2, batch_size: 30, learning_rate: 0.1, force: true}
stages:
  - {bits: 32, epochs: 6, lr: 0.1}
  - {bits: 4, over_time_epochs: 0}
  - {bits: 2, weight_decay: 3.0e-5, tune_epochs: 0}
evaluation: {proof: 20, mismatch: 40}
"""
STAGES = ("32bit", "4bit", "2bit")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(RECIPE, tmp_path_factory)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of all stages; it is shared and not changed."""
    return finish(recipe, tmp_path_factory)


def same_weights(mine: Path, other: Path) -> bool:
    return all((mine / s / WEIGHTS).read_bytes() == (other / s / WEIGHTS).read_bytes() for s in STAGES)


def test_every_stage_is_a_run_and_the_report_has_them_side_by_side(whole: Path, bitspike: Bitspike) -> None:
    report = read_report(whole)
    rows = report["stages"]
    assert [(row["folder"], row["bits"], row["steps"]) for row in rows] == [
        ("32bit", 32, 15), ("4bit", 4, 15), ("2bit", 2, 3),
    ]  # fmt: skip
    for row in rows:
        own = read_report(whole / row["folder"])
        assert row["certificate"]["equal"]
        assert row["signed"]["test"] == own["accuracy"]["test"] == row["by_step"][-1]
        assert len(row["by_step"]) == row["steps"]
        assert row["difference"] == row["signed"]["test"] - row["ann"]["test"]
        assert set(row["ann"]) == set(row["signed"]) == set(row["unsigned"]) == {"validation", "test"}
        # Every stage is a run on which every verb works.
        assert bitspike("verify", whole / row["folder"])[0] == 0
        assert bs.evaluate(whole / row["folder"])["accuracy"] == own["accuracy"]["test"]
        assert (whole / row["folder"] / "report.html").stat().st_size > 10_000
    assert [row["epochs"]["run"] for row in rows] == [6, 2, 3]
    assert [row["weight_bits"] for row in rows] == [
        {"conv1": 8, "conv2": bits, "linear": 8} for bits in (8, 4, 2)
    ], "codes are those that were trained, and 8 bits where floats were"  # fmt: skip
    assert rows[1]["tuning"]["layers"][0]["path"] == "relu2"
    assert rows[2]["tuning"] is None
    assert report["accuracy"] == read_report(whole / "2bit")["accuracy"], "the run has the network of its last stage"
    assert (whole / WEIGHTS).read_bytes() == (whole / "2bit" / WEIGHTS).read_bytes()
    assert bitspike("verify", whole)[0] == 0
    assert bs.evaluate(whole)["accuracy"] == report["accuracy"]["test"]
    code, out, _ = bitspike("evaluate", whole, "--steps", "2")
    assert (code, "at T = 2" in out) == (0, True)
    code, out, _ = bitspike("evaluate", whole, *sets("convert.neuron=if"))
    assert (code, "at T = 3 with convert.neuron=if (" in out) == (0, True)
    names = {f"{check} of {stage}" for check in ("certificate", "firing") for stage in STAGES}
    assert {check["name"] for check in report["checks"]} == names
    assert report["seconds"]["total"] == pytest.approx(sum(report["seconds"][stage] for stage in STAGES))
    page = (whole / "report.html").read_text()
    assert "Stage by stage" in page
    assert all(f'href="{stage}/report.html"' in page for stage in STAGES)


def test_a_stage_starts_from_the_best_weights_of_its_parent(whole: Path) -> None:
    starts = {row["folder"]: row["start"] for row in read_report(whole)["stages"]}
    clips = ["relu1.clip", "relu2.clip"]
    assert [row["idle"] for row in read_report(whole)["stages"]] == [idle(read_report(whole / name)) for name in starts]
    assert starts["32bit"] == {"source": "", "bits": 32, "new": [], "dropped": []}
    assert starts["4bit"]["source"] == str(whole / "32bit" / WEIGHTS)
    assert [name for name in starts["4bit"]["new"] if name in clips] == clips
    assert all("clip" in name for name in starts["4bit"]["new"])
    first, second, *_ = (note for note in read_report(whole)["notes"] if "starts from" in note)
    assert first == "the stage of 32 bits starts from random weights"
    assert second.endswith("; new: 2 clips of activations (relu1.clip, relu2.clip), 1 clip of weights (conv2)")
    # The spiking network of four bits was tuned further; the next stage starts from the quantized network before that.
    assert starts["2bit"] == {"source": str(whole / "4bit" / "ann.safetensors"), "bits": 4, "new": [], "dropped": []}
    tuned, ann = (load_file(whole / "4bit" / name) for name in (WEIGHTS, "ann.safetensors"))
    assert any(not tuned[name].equal(ann[name]) for name in ann)
    assert all(tuned[name].equal(ann[name]) for name in clips), "the thresholds are those of the quantized network"


def test_mismatch_is_compared_before_and_after_the_spiking_network_was_trained(whole: Path) -> None:
    first, *stages = (row["mismatch"] for row in read_report(whole)["stages"])
    assert first is None, "a float stage has no levels"
    for found in stages:
        assert found["images"] == 40
        assert list(found["before"]) == list(found["after"]) == ["relu1", "relu2"]
        assert found["before"]["relu1"]["share"] == 0, "a steady input has no mismatch"
        assert found["before"] != found["after"]
    assert stages[0]["after"]["relu1"]["share"] == 0, "the first layer was not tuned, and is not blamed for rounding"


@pytest.mark.parametrize(
    ("where", "call"),
    [
        ("train.loop._epoch", 8), ("train.progress.save_last", 11), ("runs.kinds.progressive.tune_layers", 1),
        ("runs.job.evaluate", 2), ("runs.kinds.progressive.mismatch", 2), ("runs.several.write_report", 1),
    ],
)  # fmt: skip
def test_interrupted_anywhere_it_goes_on_to_the_same_end(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike, where: str, call: int
) -> None:
    words = ["run", recipe, "--out", tmp_path / "run"]
    with interrupted(where, call):
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    assert "interrupted: " in err
    assert f"go on with: bitspike resume {tmp_path / 'run'}\n" in err
    assert not (tmp_path / "run" / "report.json").exists()
    assert bitspike(*words, "--resume")[0] == 0
    assert same_weights(tmp_path / "run", whole)
    assert [row["signed"] for row in read_report(tmp_path / "run")["stages"]] == [
        r["signed"] for r in read_report(whole)["stages"]
    ]


def test_a_stage_alone_is_the_same_stage(recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    words = ["run", recipe, *sets("stage=2", f"init={whole / '4bit'}")]
    assert bitspike(*words, "--out", tmp_path / "2bit")[0] == 0
    assert (tmp_path / "2bit" / WEIGHTS).read_bytes() == (whole / "2bit" / WEIGHTS).read_bytes()
    file = whole / "4bit" / "ann.safetensors"
    assert bitspike("run", recipe, *sets("stage=2", f"init={file}"), "--out", tmp_path / "file")[0] == 0
    assert (tmp_path / "file" / WEIGHTS).read_bytes() == (whole / "2bit" / WEIGHTS).read_bytes()
    # A state that torch saved of such a network is one as well.
    torch.save(load_file(file), tmp_path / "state.pt")
    assert bitspike("run", recipe, *sets("stage=2", f"init={tmp_path / 'state.pt'}"), "--out", tmp_path / "pt")[0] == 0
    assert (tmp_path / "pt" / WEIGHTS).read_bytes() == (whole / "2bit" / WEIGHTS).read_bytes()
    # Next to the folder of its parent it finds that by itself.
    shutil.copytree(whole / "4bit", tmp_path / "beside" / "4bit")
    assert bitspike("run", recipe, *sets("stage=2"), "--out", tmp_path / "beside" / "2bit")[0] == 0
    assert (tmp_path / "beside" / "2bit" / WEIGHTS).read_bytes() == (whole / "2bit" / WEIGHTS).read_bytes()


def test_without_its_parent_a_stage_says_what_is_missing(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = bitspike("run", recipe, *sets("stage=2"))
    assert code == 2
    assert "the stage of 2 bits starts from that of 4 bits, and there is no run of it in runs/three-stages/4bit" in err
    assert "--set stage=4 --out runs/three-stages/4bit" in err
    assert "--set init=FOLDER_OR_FILE" in err
    assert not (tmp_path / "runs" / "three-stages" / "2bit").exists()
    shutil.copytree(whole / "4bit", tmp_path / "runs" / "three-stages" / "4bit")
    code, _, err = bitspike("run", recipe, *sets("stage=2"), "--out", tmp_path / "elsewhere" / "2bit")
    assert "or --set init=runs/three-stages/4bit" in err
    code, _, _ = bitspike(
        "run", recipe, *sets("stage=2", "init=runs/three-stages/4bit"), "--out", tmp_path / "of" / "2bit"
    )
    assert code == 0


def refused(bitspike: Bitspike, recipe: Path, init: Path, *more: str) -> str:
    code, _, err = bitspike("run", recipe, *sets("stage=2", f"init={init}", *more), "--out", init.parent / "refused")
    assert code == 2
    assert not (init.parent / "refused").exists()
    return err


def test_weights_that_are_not_those_of_the_parent_are_refused(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    said = refused(bitspike, recipe, Path(shutil.copytree(whole / "2bit", tmp_path / "two")))
    assert "holds a network with activations of 2 bits; the stage of 2 bits starts from one of 4" in said
    said = refused(bitspike, recipe, Path(shutil.copytree(whole / "32bit", tmp_path / "float")))
    assert "activations of 32 bits; the stage of 2 bits starts from one of 4" in said
    assert "--set stages.2.parent=32" in said

    state = load_file(whole / "4bit" / "ann.safetensors")
    half = {name: value for n, (name, value) in enumerate(sorted(state.items())) if n % 2 == 0 or "extra" in name}
    save_file(half, tmp_path / "half.safetensors")
    said = refused(bitspike, recipe, tmp_path / "half.safetensors")
    assert "does not fit" in said
    assert "missing: " in said
    bare = {name: value for name, value in half.items() if "extra" not in name}
    save_file(bare, tmp_path / "bare.safetensors")
    said = refused(bitspike, recipe, tmp_path / "bare.safetensors")
    assert "holds clips of quantized activations, and not the entry _extra_state that says of how many bits" in said
    assert "32 bits" not in said
    save_file({**state, "strange": state["linear.bias"].clone()}, tmp_path / "more.safetensors")
    assert "unexpected: strange" in refused(bitspike, recipe, tmp_path / "more.safetensors")
    said = refused(bitspike, recipe, whole / "4bit", "model.arguments={width: 1.0}")
    assert "of another shape: " in said
    torch.save({"state_dict": state}, tmp_path / "nested.pt")
    said = refused(bitspike, recipe, tmp_path / "nested.pt")
    assert "torch.load(FILE)['state_dict']" in said
    assert "model.key" not in said, "it is a word for model.weights alone"
    assert "no-such-run" in refused(bitspike, recipe, tmp_path / "no-such-run")
    (tmp_path / "empty").mkdir()
    assert "holds no weights yet" in refused(bitspike, recipe, tmp_path / "empty")


def test_the_first_stage_may_start_from_trained_weights(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    words = sets(f"model.weights={whole / '32bit' / WEIGHTS}", "stages=[{bits: 4, over_time_epochs: 0}]")
    assert bitspike("run", recipe, *words, "--out", tmp_path / "run")[0] == 0
    assert (tmp_path / "run" / WEIGHTS).read_bytes() == (whole / "4bit" / WEIGHTS).read_bytes()
    words = sets(f"model.weights={whole / '32bit' / WEIGHTS}", "stages.0.epochs=0", "stage=32")
    assert bitspike("run", recipe, *words, "--out", tmp_path / "float")[0] == 0
    assert read_report(tmp_path / "float")["accuracy"]["float"] == read_report(whole / "32bit")["accuracy"]["float"]
    code, _, err = bitspike("run", recipe, *sets("stages.0.epochs=0", "stage=32"), "--out", tmp_path / "random")
    assert code == 2
    assert "there would be a network of random weights to convert" in err


def test_clips_may_start_where_the_images_say(recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    words = sets("stage=4", f"init={whole / '32bit'}", "stages.1.epochs=0", "tune=null", "quantize.calibrate=60")
    assert bitspike("run", recipe, *words, "--out", tmp_path / "run")[0] == 0
    clips = [load_file(tmp_path / "run" / WEIGHTS)[f"relu{n}.clip"] for n in (1, 2)]
    assert all(clip != 6.0 for clip in clips), "6 is where they start without images"
    again = bs.evaluate(tmp_path / "run")
    assert again["accuracy"] == read_report(tmp_path / "run")["accuracy"]["test"]


def test_clips_that_were_trained_stay_where_a_stage_has_the_bits_of_its_parent(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike
) -> None:
    more = "{bits: 2, name: as-it-is, parent: 2, epochs: 0, over_time_epochs: 0, tune_epochs: 0}"
    words = sets(
        "stages=[{bits: 32}, {bits: 4}, {bits: 2}, " + more + "]",
        "stage=as-it-is",
        f"init={whole / '2bit' / 'ann.safetensors'}",
        "quantize.calibrate=60",
    )
    assert bitspike("run", recipe, *words, "--out", tmp_path / "run")[0] == 0
    trained, found = load_file(whole / "2bit" / "ann.safetensors"), load_file(tmp_path / "run" / WEIGHTS)
    assert all(torch.equal(found[f"relu{n}.clip"], trained[f"relu{n}.clip"]) for n in (1, 2))
    assert (
        read_report(tmp_path / "run")["accuracy"]["finetuned"] == read_report(whole / "2bit")["accuracy"]["finetuned"]
    )


def test_two_processes_train_the_stages_together(recipe: Path, tmp_path: Path) -> None:
    done = by_two("run", recipe, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    report = read_report(tmp_path / "run")
    assert [row["bits"] for row in report["stages"]] == [32, 4, 2]
    for stage in STAGES:
        assert read_report(tmp_path / "run" / stage)["environment"]["workers"] == 2
