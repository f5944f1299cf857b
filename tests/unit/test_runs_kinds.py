"""A new kind of run is one file with its recipe and one with what it does; nothing else knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

import bitspike as bs
from bitspike.errors import RecipeError
from bitspike.recipe import kinds as recipe_kinds
from bitspike.recipe import load, recipe_of, shipped
from bitspike.runs import kinds as run_kinds
from bitspike.runs.kinds.kind import Kind, kind_of

NEW = Path(__file__).parent / "new_kind"
RECIPE = """
kind: untrained
name: nobody-trained-me
question: What do initial weights answer?
data: {kind: digits, limit: 40}
model: {kind: digits_net, steps: 2, width: 0.25}
neuron: {kind: if}
"""


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_names_the_kind_that_runs_it(name: str) -> None:
    recipe = load(name)
    assert recipe.kind in recipe_kinds.kinds()
    kind = kind_of(recipe)
    assert issubclass(kind, Kind)
    assert kind.__module__ == f"bitspike.runs.kinds.{recipe.kind}"


def test_two_files_are_a_new_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new.yaml"
    path.write_text(RECIPE)
    with pytest.raises(
        RecipeError, match="found 'untrained'; allowed are train, convert, progressive\n  fix: write one"
    ):
        load(path)
    monkeypatch.setattr(recipe_kinds, "__path__", [*recipe_kinds.__path__, str(NEW / "recipe")])
    monkeypatch.setattr(run_kinds, "__path__", [*run_kinds.__path__, str(NEW / "runs")])
    with pytest.raises(RecipeError, match=r"--set modle=3: modle: unknown key; .* did you mean 'model'\?"):
        load(path, ["modle=3"])
    report = bs.run(path, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["epochs"]["run"] == 0
    assert report["accuracy"]["by_step"][-1] == report["accuracy"]["test"]
    assert bs.evaluate(tmp_path / "run")["accuracy"] == report["accuracy"]["test"]
    assert recipe_of(report["recipe"]) == load(tmp_path / "run" / "recipe.yaml") == load(path)
    assert "weights have 1, 2, 3, 4 bits" in str(bs.check(path, "fanin1024-v1"))  # and these are real
