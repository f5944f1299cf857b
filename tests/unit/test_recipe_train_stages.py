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


@pytest.mark.parametrize(
    ("change", "said", "way"),
    [
        ("training.epochs=1", "stage w4 says its own epochs", "stages.1.epochs=1"),
        ("training.optimizer.lr=1", "stage w4 says its own lr", "stages.1.lr=1"),
        ("weights.quantize.bits=3", "stage w4 says its own weights", "stages.1.weights.quantize.bits=3"),
        ("weights=null", "stage w4 says its own weights", "stages.1.weights=float"),
    ],
)
def test_a_change_that_the_chosen_stage_does_not_read_is_refused_with_the_one_that_it_reads(
    change: str, said: str, way: str
) -> None:
    text = message(STAGES, "stage=w4", change)
    assert f"--set {change}: {said}, which is read instead" in text
    assert f"fix: --set {way}" in text
    changed = recipe(STAGES, way, "stage=w4")
    assert changed != recipe(STAGES, "stage=w4")
    assert recipe(STAGES, change) != recipe(STAGES)  # another stage reads it


@pytest.mark.parametrize(
    "change",
    [
        "training.epochs=2",
        "training.optimizer.lr=0.01",
        "weights.quantize.bits=4",
        "weights.quantize={kind: uniform, bits: 4}",
        "weights={quantize: {kind: uniform, bits: 4}, first: float}",
        "training.batch_size=8",
    ],
)
def test_a_change_to_what_the_stage_says_already_is_no_fault(change: str) -> None:
    assert recipe(STAGES, "stage=w4", change)


def test_a_change_that_no_stage_reads_is_refused_in_the_file_of_a_finished_stage_too(tmp_path: Path) -> None:
    part = parts(recipe(STAGES))[2]
    (tmp_path / "recipe.yaml").write_text(dump(part))
    rram = "weights.vary={kind: rram, bits: 4}"
    with pytest.raises(RecipeError, match=r"stage w2 says its own weights") as caught:
        load(tmp_path / "recipe.yaml", [rram])
    assert caught.value.fix == f"--set 'stages.2.{rram}'"
    changed = load(tmp_path / "recipe.yaml", [f"stages.2.{rram}"])
    assert isinstance(changed, TrainRecipe)
    assert changed.weights is not None
    assert changed.weights.vary is not None
    only = "stages=[{name: a, weights: float}, {name: b, weights: {quantize: {kind: dorefa, bits: 4}}}]"
    whole = "stages.0.weights={quantize: {kind: uniform, bits: 4}}"
    assert f"fix: --set '{whole}' first: these weights are float" in message(only, "stage=a", "weights.quantize.bits=3")
    assert recipe(only, whole, "stage=a").bits == 4
    assert "every stage says its own weights" in message(only, "weights.quantize.bits=3")
    assert "fix: --set stages.1.weights.quantize.bits=3" in message(only, "weights.quantize.bits=3")
