"""Where a stage of a recipe looks for the run that it starts from, and what it says where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitspike.errors import RunError
from bitspike.recipe import ProgressiveRecipe, TrainRecipe, load
from bitspike.runs.construct.parent import place_of_parent

NAMES = "stages=[{bits: 4}, {bits: 2, name: one}, {bits: 2, name: other}]"


@pytest.mark.parametrize(
    ("name", "changes", "said", "fix"),
    [
        ("digits-progressive", ["stage=2"], "the stage of 2 bits starts from that of 4 bits, and", "--set stage=4 "),
        ("digits-progressive", [NAMES, "stage=one"], "the stage one starts from that of 4 bits, and", "--set stage=4 "),
        ("digits-progressive", [NAMES, "stage=other"], "the stage other starts from the stage one, and", "stage=one "),
        ("digits-hybrid-memory", ["stage=pruned"], "stage pruned starts from stage varied, and", "--set stage=varied "),
    ],
)
def test_a_stage_without_its_parent_says_what_both_are_called(
    name: str, changes: list[str], said: str, fix: str, tmp_path: Path
) -> None:
    recipe = load(name, changes)
    assert isinstance(recipe, ProgressiveRecipe | TrainRecipe)
    with pytest.raises(RunError) as caught:
        place_of_parent(recipe, tmp_path / "run" / "stage")
    assert said in str(caught.value)
    assert fix in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("quickstart", []), ("digits-hybrid-memory", ["stage=baseline"]), ("digits-progressive", ["stage=32"])],
)
def test_what_starts_anew_has_no_parent(name: str, changes: list[str]) -> None:
    recipe = load(name, changes)
    assert isinstance(recipe, ProgressiveRecipe | TrainRecipe)
    assert place_of_parent(recipe, None) is None
