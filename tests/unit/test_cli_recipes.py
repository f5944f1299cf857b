"""Recipes on the command line: listed, shown, begun; and keys that there are not, with those that were meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import bitspike as bs
from bitspike.cli import main
from bitspike.errors import RecipeError
from bitspike.recipe import load, shipped
from bitspike.recipe.new import small


def test_a_recipe_is_shown_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "quickstart"]) == 0
    assert capsys.readouterr().out == shipped()["quickstart"]


def test_a_file_is_shown_too_and_can_be_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(small("mine"))
    assert main(["recipes", "show", str(path)]) == 0
    assert capsys.readouterr().out == small("mine")


def test_with_changes_all_values_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "show", "quickstart", "--set", "training.epochs=2"]) == 0
    values = yaml.safe_load(capsys.readouterr().out)
    assert values["training"]["epochs"] == 2
    assert values["changed"] == {"training.epochs": 2}
    assert main(["recipes", "show", "quickstart", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == load("quickstart").model_dump(mode="json")


def test_the_list_is_what_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(shipped())


def test_every_stage_shows_the_figures_that_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {row["name"]: row for row in bs.recipes()}
    assert {stage: bool(figures["published"]) for stage, figures in rows["stbp-mnist"]["stages"].items()} == {
        "fp32": True, "w8": True, "w4": True, "w2": False, "ternary": False, "w1": False,
    }  # fmt: skip
    assert rows["quickstart"]["stages"] == {}
    assert main(["recipes"]) == 0
    said = capsys.readouterr().out
    published = rows["stbp-mnist"]["stages"]["w8"]["published"]
    letter = next(line[0] for line in said.splitlines() if line[1:] == f"  {published['source']}")
    words = [line.split() for line in said.partition("  stbp-mnist ")[2].splitlines()]
    assert words[2] == ["stage", "w8", f"{100 * published['value']:.2f}", letter]
    words = [line.split() for line in said.partition("  digits-progressive ")[2].splitlines()]
    assert words[1] == ["stage", "2bit", f"{100 * rows['digits-progressive']['expected']:.1f}"]


def test_a_new_recipe_is_whole_and_small(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a" / "mine.yaml"
    assert main(["new", "mine", "--out", str(path)]) == 0
    assert capsys.readouterr().out == f"written: {path}; now: bitspike run {path}\n"
    recipe = load(path)
    assert (recipe.name, recipe.bits, recipe.steps) == ("mine", 2, 4)
    text = path.read_text()
    assert max(map(len, text.splitlines())) <= 110
    assert len(text.splitlines()) < 60
    for line in text.splitlines():
        assert "bitspike run" not in line or "mine.yaml" in line


def test_a_new_recipe_trains(tmp_path: Path) -> None:
    path = bs.new("mine", out=tmp_path / "mine.yaml")
    changes = ["training.epochs=1", "data.limit=60", "model.width=0.25"]
    report = bs.run(path, set=changes, out=tmp_path / "run")
    assert report["certificate"]["equal"] is True
    assert report["agreement"]["spikes"] == 1.0, "on dyadic grids the integers do exactly what training did"


def test_nothing_is_overwritten_and_names_are_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text("mine")
    assert main(["new", "mine", "--out", str(tmp_path / "mine.yaml")]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
    assert main(["new", "My Net", "--out", str(tmp_path / "other.yaml")]) == 2
    assert "a recipe cannot be called 'My Net'" in capsys.readouterr().err
    assert (tmp_path / "mine.yaml").read_text() == "mine"
    assert main(["recipes", "show", "quikstart"]) == 2
    assert "fix: 'quickstart'?" in capsys.readouterr().err


def test_a_new_recipe_names_its_own_file(tmp_path: Path) -> None:
    text = bs.new("mine", out=tmp_path / "my first.yaml").read_text()
    assert text.count("bitspike run 'my first.yaml'") == 3
    assert "bitspike run mine.yaml" not in text


@pytest.mark.parametrize("verb", [("new", "mine"), ("fit", "quickstart", "--chip", "fanin1024-v1")])
def test_a_recipe_that_cannot_be_written_is_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "mine.yaml"
    assert main([*verb, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"error: {out} cannot be written: " in said
    assert "fix: a folder that is there or can be made" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("change", "meant"),
    [
        ("epochs=3", "training.epochs=3"),
        ("bits=4", "weights.quantize.bits=4"),
        ("lr=0.1", "training.optimizer.lr=0.1"),
        ("training.epoch=2", "training.epochs=2"),
        ("trainning.epochs=2", "training.epochs=2"),
        ("neuron.beta=0.5", "neuron.decay=0.5"),
        ("model.T=3", "model.steps=3"),
        ("T=3", "model.steps=3"),
    ],
)
def test_a_key_that_there_is_not_names_the_change_that_was_meant(change: str, meant: str) -> None:
    with pytest.raises(RecipeError) as error:
        load("quickstart", [change])
    assert "; did you mean '" in str(error.value)
    assert f"\n  fix: --set {meant}; " in str(error.value)
    assert load("quickstart", [meant]), "the way out works"


def test_what_cannot_be_told_is_not_guessed() -> None:
    with pytest.raises(RecipeError) as error:
        load("quickstart", ["colour=red"])
    assert "did you mean" not in str(error.value)
    assert "fix: correct it" in str(error.value)
    with pytest.raises(RecipeError) as error:
        load("quickstart", ["epochs=3", "colour=red"])
    assert "fix: correct every one of them" in str(error.value)
