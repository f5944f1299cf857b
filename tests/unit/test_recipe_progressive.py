"""Recipes of stages: what a stage takes from the sections, what it says itself, and what is refused on load."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from bitspike.conversion.quantized.layerwise import tune_layers
from bitspike.conversion.quantized.quantize import quantize
from bitspike.errors import RecipeError
from bitspike.recipe import dump, load, recipe_of
from bitspike.recipe.kinds.progressive import ProgressiveRecipe
from bitspike.recipe.words.stages import Distillation, Quantization, Tuning
from bitspike.train import EMA, SGD
from bitspike.train import Distillation as Distilled

NAME = "digits-progressive"


def recipe(*changes: str) -> ProgressiveRecipe:
    loaded = load(NAME, changes)
    assert isinstance(loaded, ProgressiveRecipe)
    return loaded


def message(*changes: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(NAME, changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("word", "function"), [(Quantization, quantize), (Tuning, tune_layers), (Distillation, Distilled)]
)
def test_names_and_defaults_are_those_of_the_function(word: Any, function: Any) -> None:
    arguments = inspect.signature(function).parameters
    of_the_recipe = {"samples", "batch_size"}
    for name, field in word.model_fields.items():
        if name not in of_the_recipe:
            assert arguments[name].default == field.default, name


def test_a_stage_says_what_differs_and_the_sections_the_rest() -> None:
    whole = recipe("over_time={epochs: 3, batch_size: 9, optimizer: {kind: adamw}, schedule: {kind: constant}}",
                   "stages.2.over_time_epochs=0", "stages.1.tune_epochs=5", "stages.2.lr=0.5")  # fmt: skip
    float_stage, four, two = (whole.parts[name] for name in ("32bit", "4bit", "2bit"))
    assert list(float_stage.trainings) == ["training"], "a float stage has no time"
    assert list(four.trainings) == ["training", "over_time"]
    assert list(two.trainings) == ["training"]
    first, second, third = (part.trainings["training"] for part in (float_stage, four, two))
    assert (first.epochs, first.optimizer.lr, first.optimizer.weight_decay) == (10, 0.1, 5e-4)
    assert second == whole.training
    assert (third.epochs, third.optimizer.lr, third.optimizer.weight_decay) == (6, 0.5, 3e-5)
    assert float_stage.tuning is None
    assert [part.tuning.epochs for part in (four, two)] == [5, 1]
    assert [part.steps for part in (float_stage, four, two)] == [15, 15, 3]
    assert [part.bits for part in (float_stage, four, two)] == [32, 4, 2]


def test_a_stage_starts_from_the_one_before_or_from_the_one_that_it_names() -> None:
    stages = "stages=[{bits: 32}, {bits: 4}, {bits: 3}, {bits: 2, parent: 4}]"
    parents = {name: part.parent for name, part in recipe(stages).parts.items()}
    assert {name: parent and parent.bits for name, parent in parents.items()} == {
        "32bit": None, "4bit": 32, "3bit": 4, "2bit": 4,
    }  # fmt: skip


def test_a_whole_recipe_is_its_parts_and_a_part_is_none() -> None:
    whole = recipe()
    assert list(whole.parts) == ["32bit", "4bit", "2bit"]
    assert whole.place == NAME
    assert (whole.steps, whole.bits) == (3, 2), "those of the last stage, whose network the run has"
    part = whole.parts["4bit"]
    assert part.parts == {}
    assert part.place == f"{NAME}/4bit"
    assert part == recipe("stage=4")


def test_only_the_last_stage_has_the_promise_of_the_recipe() -> None:
    whole = recipe("stages.1.expect=0.5")
    promises = [part.promised and part.promised.test_accuracy for part in whole.parts.values()]
    assert promises == [None, 0.5, 0.94]
    assert [part.compared for part in whole.parts.values()] == [None, None, whole.published]


def test_a_recipe_written_back_loads_to_the_same_and_stays_short(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(recipe("stages.1.epochs=3")))
    assert load(path) == recipe("stages.1.epochs=3")
    assert "- {bits: 4, epochs: 3}\n" in path.read_text()
    part = recipe().parts["4bit"]
    assert recipe_of(part.model_dump(mode="json")) == part


@pytest.mark.parametrize(
    "weights",
    ["float", "{kind: uniform, bits: 4}", "{'*': {kind: ternary}, 'conv2': float}", "{kind: learned_clip, bits: 4}"],
)
def test_weights_are_a_scheme_float_or_both_by_patterns(weights: str, tmp_path: Path) -> None:
    chosen = recipe(f"quantize.weights={weights}")
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(chosen))
    assert load(path) == chosen
    assert chosen.bits == {"f": 32, "k": 4, "'": 32}[weights.lstrip("{")[0]]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("stage=5", "stage is 5; allowed are 32, 4, 2, and null for all"),
        ("init=runs/x", "init says where one stage starts, and stage is null: --set stage=BITS"),
        ("stages=[]", "stages"),
        ("stages.0.bits=9", "stages.0.bits is 9; allowed are 1 to 8, and 32 for a float stage"),
        ("stages.1.bits=2", "stages.2.bits is 2, which an earlier stage has"),
        ("stages.1.parent=2", "stages.1.parent is 2; allowed are the names or bits of earlier stages (32), and null"),
        (
            "stages=[{bits: 32}, {bits: 4, name: one}, {bits: 4, name: one}]",
            "stages.2.name is 'one', which an earlier stage has; each has its own",
        ),
        ("stages=[{bits: 4}, {bits: 32}]", "stages.1.bits is 32: a float stage comes first"),
        ("stages.1.over_time_epochs=2", "over_time_epochs is 2, and there is no section over_time"),
        ("stages.1.epoch=2", "did you mean 'epochs'?"),
        ("stages.1.epochs=-1", "stages.1.epochs: found -1"),
        ("data.validation=0", "training.keep is 'best' and data.validation is 0"),
        ("training.schedule.warmup_epochs=8", "longer than the 6 training.epochs"),
        ("quantize.weights=real", "quantize.weights: found 'real', needed is 'float'"),
        ("training.distill={weight: 0}", "training.distill.weight: found 0"),
    ],
)
def test_what_does_not_fit_together_is_refused_on_load(change: str, said: str) -> None:
    assert said in message(change)


def test_the_words_of_training_build_what_they_name() -> None:
    from bitspike.runs.construct.words import build

    words = recipe("training.average={decay: 0.5}", "training.distill={temperature: 2}").training
    assert build(words.average) == EMA(decay=0.5)
    assert build(words.distill) == Distilled(weight=0.5, temperature=2.0)
    assert isinstance(build(words.optimizer), SGD)


def test_stages_of_the_same_bits_have_names_and_start_from_whom_they_name() -> None:
    recipe = load("cbp-comparison-digits")
    assert list(recipe.parts) == ["32bit", "one-shot", "ternary", "qat", "dorefa", "cbp"]
    for name, part in recipe.parts.items():
        assert part.place == f"cbp-comparison-digits/{name}"
        assert part.parent is (None if name == "32bit" else part.stages[0])
    # Equal budgets: the same epochs for all that train.
    epochs = {name: part.trainings["training"].epochs for name, part in recipe.parts.items() if part.trainings}
    assert set(epochs) == {"32bit", "ternary", "qat", "dorefa", "cbp"}
    assert len(set(epochs.values())) == 1
