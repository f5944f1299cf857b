"""Runs, packages and answers of an earlier version: today's code opens them and says the same.

``tests/golden`` says how they were made. A difference is a change that users meet: of a name, a word of the command
line, a file or a number. Where it is meant, ``scripts/golden`` writes the new answer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from kept import ANSWERS, GOLDEN, NETWORKS, RUNS, as_json, differences, kept
from kept_networks import exports, network, run, vectors_of
from safetensors.numpy import load_file
from small_conversions import CHOICES, converted

import bitspike as bs
from bitspike.cli import main
from bitspike.recipe import dump, load


def same(old: Any, new: Any, *, more: bool = False) -> None:
    """Fail with everything that differs."""
    found = list(differences(old, as_json(new), more=more))
    assert not found, "\n".join(found[:40])


def by_name(folder: Path) -> str:
    return folder.name


def test_every_kept_answer_is_asked_for_and_every_network_has_answers() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(ANSWERS)
    names = {folder.name for folder in NETWORKS}
    assert names == set(kept("networks")) == set(kept("exports"))
    assert {folder.name for folder in RUNS} == set(kept("runs")) == {"train", "convert"}
    assert set(kept("conversions")) == set(CHOICES)
    kinds = {node[0] for answer in kept("networks").values() for node in answer["nodes"]}
    assert len(kinds) == 17, "every kind of integer node that there was"


@pytest.mark.parametrize("name", ["names", "modules"])
def test_no_public_name_or_parameter_is_lost_or_changed(name: str) -> None:
    same(kept(name), ANSWERS[name](), more=True)


def test_no_word_of_the_command_line_is_lost_or_changed() -> None:
    same(kept("command_line"), ANSWERS["command_line"](), more=True)


def test_every_shipped_recipe_has_the_values_that_it_had(tmp_path: Path) -> None:
    old = kept("recipes")
    same(old, ANSWERS["recipes"](), more=True)
    for name, values in old.items():
        file = tmp_path / f"{name}.yaml"
        file.write_text(json.dumps(values), encoding="utf-8")  # JSON is YAML too
        assert dump(load(file)) == dump(load(name)), name


@pytest.mark.parametrize("folder", NETWORKS, ids=by_name)
def test_an_old_network_is_proven_and_described_as_it_was(folder: Path) -> None:
    same(kept("networks")[folder.name], network(folder))


@pytest.mark.parametrize("folder", NETWORKS, ids=by_name)
def test_an_old_network_is_exported_as_it_was(folder: Path) -> None:
    for name in ("nir", "onnx"):
        pytest.importorskip(name, reason=f"this export is written with it: pip install 'bitspike[{name}]'")
    same(kept("exports")[folder.name], exports(folder))


@pytest.mark.parametrize("folder", NETWORKS, ids=by_name)
def test_an_old_network_is_saved_again_as_it_was(folder: Path, tmp_path: Path) -> None:
    old = folder / "network" if folder in RUNS else folder
    new = bs.save(bs.load(old), tmp_path / "again", vectors=vectors_of(folder))
    assert bs.verify(new).equal
    same_tensors(old / "weights.safetensors", new / "weights.safetensors")
    same_tensors(old / "vectors.safetensors", new / "vectors.safetensors")
    manifests = [json.loads((at / "manifest.json").read_text(encoding="utf-8")) for at in (old, new)]
    for manifest in manifests:  # how tensors lie in their file is up to the library that writes it
        manifest.pop("files", None)
        manifest.pop("digest", None)
    same(*manifests)


def test_golden_vectors_are_made_as_they_were(tmp_path: Path) -> None:
    for folder in (GOLDEN / "packages").iterdir():
        new = bs.save(bs.load(folder), tmp_path / folder.name)
        same_tensors(folder / "vectors.safetensors", new / "vectors.safetensors")


def same_tensors(old: Path, new: Path) -> None:
    before, now = load_file(old), load_file(new)
    assert set(before) == set(now)
    for name, array in before.items():
        assert now[name].dtype == array.dtype, name
        assert np.array_equal(now[name], array), name


@pytest.mark.parametrize("folder", RUNS, ids=by_name)
def test_an_old_run_measures_what_it_measured(folder: Path) -> None:
    same(kept("runs")[folder.name], run(folder))


@pytest.mark.parametrize("folder", RUNS, ids=by_name)
def test_an_old_run_that_was_not_finished_goes_on_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    old = Path(shutil.copytree(folder, tmp_path / "run"))
    for left in ("report.json", "report.html", "model.safetensors"):
        (old / left).unlink()
    shutil.rmtree(old / "network")
    report = bs.run(old / "recipe.yaml", out=old, resume=True)

    assert {str(p.relative_to(old)) for p in old.rglob("*")} == {str(p.relative_to(folder)) for p in folder.rglob("*")}
    assert (old / "recipe.yaml").read_text(encoding="utf-8") == dump(load(folder / "recipe.yaml"))
    assert (old / "recipe.yaml").read_bytes() == (folder / "recipe.yaml").read_bytes()
    assert (old / "metrics.jsonl").read_bytes() == (folder / "metrics.jsonl").read_bytes()
    same_tensors(folder / "model.safetensors", old / "model.safetensors")
    before = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report == json.loads((old / "report.json").read_text(encoding="utf-8"))
    same(shape_of(before), shape_of(report), more=True)
    exact = ["schema", "recipe", "published", "expected", "bits", "epochs", "seed", "notes"]
    if folder.name == "train":  # on dyadic grids; what is converted hangs on float sums of the calibration
        exact += ["accuracy", "certificate", "agreement", "bytes", "widths"]
        names = [check["name"] for check in before["checks"]]
        assert [check for check in report["checks"] if check["name"] in names] == before["checks"]
        for name in ("manifest.json", "weights.safetensors", "vectors.safetensors"):
            if torch.__version__ == before["environment"]["torch"]:
                assert (old / "network" / name).read_bytes() == (folder / "network" / name).read_bytes()
        same_tensors(folder / "network/weights.safetensors", old / "network/weights.safetensors")
        same_tensors(folder / "network/vectors.safetensors", old / "network/vectors.safetensors")
    for key in exact:
        same(without_digest(before[key]), without_digest(report[key]), more=key == "certificate")


def shape_of(value: Any) -> Any:
    """Return the keys of plain values; of a list, those of its first entry."""
    if isinstance(value, dict):
        return {key: shape_of(part) for key, part in value.items()}
    return [shape_of(part) for part in value[:1]] if isinstance(value, list) else None


def without_digest(value: Any) -> Any:
    """Leave out the digest of a package, whose manifest names the version of torch, and its size."""
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if key not in ("digest", "package")}
    return value


def test_the_command_line_answers_as_the_functions_do(capsys: pytest.CaptureFixture[str]) -> None:
    train, convert = GOLDEN / "runs" / "train", GOLDEN / "runs" / "convert"

    def asked(*words: str | Path) -> tuple[int, Any]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, json.loads(capsys.readouterr().out)

    old = kept("networks")["train"]
    assert asked("verify", train, "--json") == (0, old["certificate"])
    assert asked("verify", train, "--expect", "0" * 64, "--json")[0] == 1
    code, report = asked("check", convert, "--chip", "fanin1024-v1", "--json")
    assert (code, report["passed"], report["failed"]) == (
        1,
        False,
        kept("networks")["convert"]["check"]["fanin1024-v1"]["failed"],
    )
    code, bill = asked("energy", train, "--memory", "--json")
    assert (code, bill["memory"], bill["operations"]["sops"]) == (0, True, bs.energy(train).sops)
    code, answer = asked("evaluate", train, "--steps", "2", "--json")
    assert (code, answer["accuracy"]) == (0, kept("runs")["train"]["evaluate"][1]["accuracy"])
    code, rows = asked("recipes", "--json")
    assert {row["name"] for row in rows} >= set(kept("recipes"))


@pytest.mark.parametrize("name", CHOICES)
def test_a_network_is_converted_as_it_was(name: str) -> None:
    same(kept("conversions")[name], converted(name))


@pytest.mark.parametrize("name", ["lowered", "ledger", "chips", "fits"])
def test_the_other_answers_are_what_they_were(name: str) -> None:
    same(kept(name), ANSWERS[name]())


Change = Callable[[Any], None]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x.pop("f"), ".f: was .* is gone"),
        (lambda x: x["f"].update(a="keyword-only: int = 2"), ".f.a: was .*= 1.*, is .*= 2"),
        (lambda x: x["f"].update(b="keyword-only: int"), ".f.b: is new"),
        (lambda x: x.update(f={"b": "positional or keyword = 0", **x["f"]}), ".f.b: is new"),
        (lambda x: x.update(f={"c": x["f"]["c"], "a": x["f"]["a"]}), ".f: the order was"),
        (lambda x: x["names"].remove("one"), ".names: one is gone"),
        (lambda x: x.update(cost=0.1 + 1e-6), ".cost: was 0.1"),
        (lambda x: x.update(count=4), ".count: was 3, is 4"),
    ],
)
def test_a_change_that_users_would_meet_is_named(change: Change, said: str) -> None:
    old = {
        "f": {"a": "keyword-only: int = 1", "c": "positional or keyword"},
        "names": ["one", "two"],
        "cost": 0.1,
        "count": 3,
    }
    now = as_json(old)
    change(now)
    with pytest.raises(AssertionError, match=said):
        same(old, now, more=True)


def test_what_is_merely_new_is_no_difference() -> None:
    old = {"f": {"a": "positional or keyword"}, "names": ["one"], "cost": 0.3}
    new = {
        "f": {"a": "positional or keyword", "b": "keyword-only = 1"},
        "g": {},
        "names": ["two", "one"],
        "cost": 0.1 + 0.2,
    }
    same(old, new, more=True)
    with pytest.raises(AssertionError):
        same(old, new)
