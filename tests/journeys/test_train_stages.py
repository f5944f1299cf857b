"""One network trained with floats, 4 bits and 1 bit: as one run, stage by stage, interrupted, and from another run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import WEIGHTS, finish, interrupted, read_report, sets, write_recipe
from safetensors.torch import load_file, save_file

import bitspike as bs

Bitspike = Callable[..., tuple[int, str, str]]
RECIPE = """
name: three-trainings
question: What do fewer bits cost a network that knows the task already?
data: {kind: digits, validation: 30, limit: 120}
published: {value: 0.5, source: nobody, setting: 1 bit}
model: {kind: digits_net, steps: 2, width: 0.25}
neuron: {kind: lif, decay: 0.5, surrogate: {kind: triangle}}
norm: {kind: threshold, momentum: 0.5}
training:
  epochs: 2
  batch_size: 30
  optimizer: {kind: sgd, lr: 0.2, momentum: 0.9}
  schedule: {kind: cosine}
  precision: fp32
  distill: {weight: 0.5, temperature: 2.0}
stages:
  - {name: fp32, epochs: 3, published: {value: 0.9, source: nobody, setting: floats}}
  - {name: w4, lr: 0.02, weights: {quantize: {kind: learned_clip, bits: 4}, first: {kind: uniform, bits: 8}}}
  - {name: w1, parent: fp32, epochs: 2, weights: {quantize: {kind: binary, per_channel: true}, last: float}}
evaluation: {batch_size: 60, proof: 40}
"""
STAGES = ("fp32", "w4", "w1")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_recipe(RECIPE, tmp_path_factory)


@pytest.fixture(scope="module")
def whole(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run of all stages; it is shared and not changed."""
    return finish(recipe, tmp_path_factory)


def test_every_stage_is_a_run_and_the_report_has_them_side_by_side(whole: Path, bitspike: Bitspike) -> None:
    report = read_report(whole)
    rows = report["stages"]
    assert [(row["folder"], row["name"], row["parent"], row["bits"]) for row in rows] == [
        ("fp32", "fp32", None, 32), ("w4", "w4", "fp32", 4), ("w1", "w1", "fp32", 1),
    ]  # fmt: skip
    assert [row["published"] for row in rows] == [0.9, None, 0.5]
    assert [set(row["weight_bits"].values()) for row in rows] == [{16}, {8, 4}, {1, 16}]
    for row in rows:
        stage = read_report(whole / row["folder"])
        assert row["accuracy"]["test"] == stage["accuracy"]["test"]
        assert row["certificate"]["equal"]
        assert row["certificate"]["samples"] == 40
        assert row["certificate"]["spikes_compared"] > 0
        assert bs.evaluate(whole / row["folder"])["accuracy"] == row["accuracy"]["test"]
    assert report["accuracy"] == read_report(whole / "w1")["accuracy"]
    assert {f"certificate of {name}" for name in STAGES} <= {check["name"] for check in report["checks"]}
    page = (whole / "report.html").read_text()
    assert "Stage by stage" in page
    assert all(f'href="{name}/report.html"' in page for name in STAGES)
    code, out, _ = bitspike("verify", whole)
    assert (code, "equal" in out) == (0, True)


def test_a_stage_starts_from_the_weights_of_its_parent(whole: Path) -> None:
    starts = [row["start"] for row in read_report(whole)["stages"]]
    assert starts[0] is None
    assert [start["source"] for start in starts[1:]] == [str(whole / "fp32" / WEIGHTS)] * 2
    assert [start["bits"] for start in starts[1:]] == [32, 32]
    assert [len(start["new"]) for start in starts[1:]] == [2, 0], "a clip for each layer but the first"
    assert any("starts from" in note for note in read_report(whole / "w4")["notes"])


def test_no_epoch_of_a_stage_leaves_the_weights_of_the_parent(recipe: Path, whole: Path, tmp_path: Path) -> None:
    changes = [
        "stage=w4",
        f"init={whole / 'fp32'}",
        "stages.1.lr=1.0e-30",
        "stages.1.epochs=1",
        "training.distill=null",
    ]
    bs.run(recipe, set=changes, out=tmp_path / "run")
    before, after = load_file(whole / "fp32" / WEIGHTS), load_file(tmp_path / "run" / WEIGHTS)
    for name in ("layer1.conv", "layer2.conv", "layer3.linear"):
        assert (before[f"{name}.weight"] == after[f"{name}.parametrizations.weight.original"]).all()


def test_a_run_in_stages_is_compared_stage_by_stage(whole: Path) -> None:
    compared = bs.compare(whole)
    assert [dict(row.changes) for row in compared.rows] == [{"stage": stage} for stage in STAGES]
    for row, stage in zip(compared.rows, STAGES, strict=True):
        assert row.mean == read_report(whole / stage)["accuracy"]["test"]
        assert f"stage={stage}" in str(compared)


@pytest.mark.parametrize(
    ("where", "call"),
    [("train.loop._epoch", 5), ("runs.kinds.train.with_weights", 2), ("runs.several.write_report", 1)],
)
def test_interrupted_anywhere_it_goes_on_to_the_same_end(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike, where: str, call: int
) -> None:
    words = ["run", recipe, "--out", tmp_path / "run"]
    with interrupted(where, call):
        assert bitspike(*words)[0] == 2
    assert bitspike("resume", tmp_path / "run")[0] == 0
    assert read_report(tmp_path / "run")["command"] == f"bitspike run {recipe} --out {tmp_path / 'run'}"
    for stage in STAGES:
        assert (tmp_path / "run" / stage / WEIGHTS).read_bytes() == (whole / stage / WEIGHTS).read_bytes()


def test_a_stage_alone_is_the_same_stage(recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    same = (whole / "w1" / WEIGHTS).read_bytes()
    for n, init in enumerate((whole / "fp32", whole / "fp32" / WEIGHTS)):
        words = sets("stage=w1", f"init={init}")
        assert bitspike("run", recipe, *words, "--out", tmp_path / str(n))[0] == 0
        assert (tmp_path / str(n) / WEIGHTS).read_bytes() == same
    shutil.copytree(whole / "fp32", tmp_path / "beside" / "fp32")
    assert bitspike("run", recipe, *sets("stage=w1"), "--out", tmp_path / "beside" / "w1")[0] == 0
    assert (tmp_path / "beside" / "w1" / WEIGHTS).read_bytes() == same
    # The recipe that a stage leaves says in its sections what was trained, and still knows the other stages.
    written = whole / "fp32" / "recipe.yaml"
    words = sets("stage=w1", f"init={whole / 'fp32'}")
    assert bitspike("run", written, *words, "--out", tmp_path / "again")[0] == 0
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == same


def test_a_recipe_without_stages_starts_from_another_run(whole: Path, tmp_path: Path, bitspike: Bitspike) -> None:
    small = ("data.limit=60", "data.validation=10", "training.epochs=1", "expect=null")
    words = (
        *("model={kind: digits_net, steps: 2, width: 0.25}", "norm={kind: threshold, momentum: 0.5}"),
        *("neuron={kind: lif, surrogate: {kind: triangle}}", "weights.quantize={kind: uniform, bits: 4}"),
        *("training.optimizer.lr=1.0e-4", f"init={whole / 'w4'}"),
    )
    assert bitspike("run", "quickstart", *sets(*small, *words), "--out", tmp_path / "run")[0] == 0
    report = read_report(tmp_path / "run")
    assert report["start"]["source"] == str(whole / "w4" / WEIGHTS)
    assert report["start"]["bits"] == 4
    assert len(report["start"]["dropped"]) == 2, "the clips"
    assert "stage" not in report


def refused(bitspike: Bitspike, recipe: Path, folder: Path, *changes: str) -> str:
    code, _, err = bitspike("run", recipe, *sets(*changes), "--out", folder / "refused")
    assert code == 2
    assert not (folder / "refused").exists()
    return err


def test_what_cannot_be_a_parent_is_refused(
    recipe: Path, whole: Path, tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = refused(bitspike, recipe, tmp_path, "stage=w1")
    assert "stage w1 starts from stage fp32, and there is no run of it in" in said
    assert "--set stage=fp32 --out" in said
    said = refused(bitspike, recipe, tmp_path, "stage=w1", f"init={whole / 'fp32'}", "model.width=0.5")
    assert "of another shape: " in said
    state = load_file(whole / "fp32" / WEIGHTS)
    save_file({**state, "strange": state["layer1.conv.weight"].clone()}, tmp_path / "more.safetensors")
    said = refused(bitspike, recipe, tmp_path, "stage=w1", f"init={tmp_path / 'more.safetensors'}")
    assert "unexpected: strange" in said
    assert "no-such-run" in refused(bitspike, recipe, tmp_path, "stage=w1", "init=no-such-run")
    assert "allowed are fp32, w4, w1" in refused(bitspike, recipe, tmp_path, "stage=w2")
    code, _, err = bitspike("fit", recipe, "--chip", "fanin1024-v1", "--out", tmp_path / "fitted.yaml")
    assert code == 2
    assert "three-trainings has stages" in err
