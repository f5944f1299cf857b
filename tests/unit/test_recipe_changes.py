"""What a recipe says otherwise than its file: told by the recipe itself, in files, reports and messages."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_record import record

from bitspike.analysis.report.report import render, summary
from bitspike.errors import RecipeError
from bitspike.recipe import dump, load
from bitspike.recipe.changes import PLACES, experiment
from bitspike.recipe.kinds import kinds
from bitspike.recipe.text import leaves


def test_a_recipe_says_what_was_changed_in_it(tmp_path: Path) -> None:
    changed = load("quickstart", ["training.epochs=3", "norm.gain=0.5", "weights.quantize.bits=2"])
    assert changed.changed == {"training.epochs": 3, "norm.gain": 0.5}, "2 bits are no change"
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(changed))
    assert load(path) == changed
    assert load(path, ["norm.gain=2.0"]).changed == {"training.epochs": 3, "norm.gain": 2.0}
    assert load("quickstart").changed is None
    assert load(path, ["norm=null"]).changed == {"training.epochs": 3, "norm": None}
    assert "changed" not in dump(load("quickstart"))


@pytest.mark.parametrize("change", ["seed=1", "training.device=cpu", "expect=null", "question=Why?", "name=other"])
def test_seeds_places_and_words_change_no_experiment(change: str) -> None:
    assert load("quickstart", [change]).changed is None
    assert experiment(load("quickstart", [change])) == experiment(load("quickstart"))


def test_a_whole_section_is_told_by_its_values() -> None:
    changed = load("quickstart", ["data={kind: mnist, root: images, limit: 60}"])
    assert changed.changed == {"data.kind": "mnist", "data.limit": 60}
    stages = load("digits-hybrid-memory", ["stages.1.epochs=1", "stage=varied"])
    assert stages.changed == {"stages.1.epochs": 1}


def test_other_data_have_no_figure_to_compare_with() -> None:
    assert load("quickstart", ["data={kind: mnist, root: images}"]).elsewhere
    assert load("bntt-mnist-rows", ["data.of=cifar10", "model.steps=32"]).elsewhere
    assert not load("quickstart", ["data.limit=100"]).elsewhere
    assert not load("bntt-mnist-rows", ["model.steps=784"]).elsewhere
    assert not load("mnist-stbp-w4", ["data.root=elsewhere"]).elsewhere


def test_places_are_keys_that_recipes_have() -> None:
    known = {key for kind in kinds().values() for key in kind.model_fields}
    assert {place.partition(".")[0] for place in PLACES} <= known
    shown = {*leaves(load("mnist-stbp-w4").model_dump()), *leaves(load("nb-snn-resnet20-pretrained").model_dump())}
    assert {"data.root", "training.device", "training.tensorboard", "model.weights"} <= PLACES & shown


def test_the_key_is_no_word_for_people() -> None:
    with pytest.raises(RecipeError) as error:
        load("quickstart", ["nothing=1"])
    assert "changed" not in str(error.value)


def test_the_report_of_a_changed_run_says_so() -> None:
    run = record()
    run["recipe"]["changed"] = {"weights.quantize.bits": 4, "norm": None}
    page = render(run, [])
    assert "This run changes the recipe: <code>weights.quantize.bits=4</code>, <code>norm=null</code>" in page
    assert "Doe et al. 2020, table 3, 4 bit, T = 8, for the recipe without these changes" in page
    assert "  changed         weights.quantize.bits=4\n" in summary(run)
    assert "changes the recipe" not in render(record(), [])
