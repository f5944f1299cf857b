"""Recipes of kind ``train`` with stages: what a stage takes from the sections, what it says itself, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.errors import RecipeError
from bitspike.recipe import dump, load
from bitspike.recipe.kinds.train import TrainRecipe

STAGES = (
    "stages=[{name: fp32, weights: float, published: {value: 0.5, source: s, setting: t}},"
    " {name: w4, epochs: 2, lr: 0.01, expect: 0.3, weights: {quantize: {kind: uniform, bits: 4}, first: float}},"
    " {name: w2, parent: fp32, weight_decay: 0.1}]"
)


def recipe(*changes: str) -> TrainRecipe:
    loaded = load("quickstart", changes)
    assert isinstance(loaded, TrainRecipe)
    return loaded


def message(*changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load("quickstart", changes)
    return str(caught.value)


def parts(whole: TrainRecipe) -> list[TrainRecipe]:
    found = list(whole.parts.values())
    assert all(isinstance(part, TrainRecipe) for part in found)
    return found  # type: ignore[return-value]


def test_a_stage_says_what_differs_and_the_sections_the_rest() -> None:
    whole = recipe(STAGES)
    assert list(whole.parts) == ["fp32", "w4", "w2"]
    first, second, third = parts(whole)
    assert first.training == whole.training
    assert (second.training.epochs, second.training.optimizer.lr) == (2, 0.01)
    assert third.training.optimizer.weight_decay == 0.1
    assert third.weights == whole.weights
    assert [part.bits for part in (first, second, third, whole)] == [32, 4, 2, 2]
    assert [part.parent and part.parent.name for part in (first, second, third)] == [None, "fp32", "fp32"]
    assert [part.place for part in (first, second, third)] == ["quickstart/fp32", "quickstart/w4", "quickstart/w2"]
    assert first.parts == {}


def test_the_figures_of_the_recipe_are_those_of_the_last_stage() -> None:
    whole = recipe(STAGES, "published={value: 0.9, source: u, setting: v}")
    assert [part.compared and part.compared.value for part in parts(whole)] == [0.5, None, 0.9]
    promised = [part.promised and part.promised.test_accuracy for part in parts(whole)]
    assert promised == [None, 0.3, whole.promised.test_accuracy]


def test_a_stage_goes_through_its_file_and_another_one_is_found_there(tmp_path: Path) -> None:
    whole = recipe(STAGES)
    for part in whole.parts.values():
        (tmp_path / "recipe.yaml").write_text(dump(part))
        assert load(tmp_path / "recipe.yaml") == part
        for name, other in whole.parts.items():
            again = load(tmp_path / "recipe.yaml", [f"stage={name}"])
            assert (again.training, again.weights) == (other.training, other.weights)


def test_a_recipe_without_stages_says_nothing_of_them() -> None:
    text = dump(recipe("stages=null", "stage=null", "init=null"))
    assert not any(line.startswith(("stage", "init")) for line in text.splitlines())
    assert "distill" not in text
    assert "first" not in text
    assert "proof" not in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (["stages=[]"], "stages is empty"),
        (["stages=[{name: a}, {name: a}]"], "stages.1.name is 'a', which an earlier stage has"),
        (["stages=[{name: a}, {name: b, parent: c}]"], "allowed are the names of earlier stages (a)"),
        (["stages=[{name: a, parent: a}]"], "(none), and null"),
        (["stages=[{name: A}]"], "stages.0.name"),
        (["stages=[{name: a, lr: 0}]"], "stages.0.lr: found 0"),
        (["stages=[{name: a, lr: 0}]", "stage=a"], "stages.0.lr: found 0"),
        (["stages=[{name: a, bits: 3}]"], "stages.0.bits: unknown key"),
        (["stages=[{name: a}]", "stage=b"], "stage is 'b'; allowed are a, and null"),
        (["stage=b"], "the recipe has no stages"),
        (["stages=[{name: a}]", "init=folder"], "init says where one stage starts"),
        (["training.distill={weight: 0.5}"], "training.distill needs a network to learn from"),
        (["stages=[{name: a, epochs: 1}]", "training.schedule.warmup_epochs=2"], "longer than the 1 training.epochs"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_on_load(changes: list[str], said: str) -> None:
    assert said in message(*changes)
