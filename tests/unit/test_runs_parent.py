"""Where a stage of a recipe looks for the run that it starts from, and what it says where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import bitspike as bs
from bitspike.errors import PackageError, RunError
from bitspike.models.digits_ann import digits_ann
from bitspike.recipe import ProgressiveRecipe, TrainRecipe, load
from bitspike.runs.construct.parent import load_parent, place_of_parent
from bitspike.train.checkpoint import state_of, write_weights

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


def test_clips_without_the_record_of_their_bits_are_not_called_a_float_network(tmp_path: Path) -> None:
    recipe = load("digits-progressive", ["stage=2"])
    assert isinstance(recipe, ProgressiveRecipe)
    network = bs.quantize(digits_ann(), torch.rand(1, 1, 8, 8), bits=4)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith("_extra_state")}
    write_weights(tmp_path / "bare.safetensors", state)
    with pytest.raises(PackageError) as caught:
        load_parent(network, tmp_path / "bare.safetensors", recipe)
    assert "not the entry _extra_state that says of how many bits; the stage of 2 bits" in str(caught.value)
    write_weights(tmp_path / "whole.safetensors", state_of(network))
    load_parent(network, tmp_path / "whole.safetensors", recipe)


@pytest.mark.parametrize(
    ("name", "changes"),
    [("quickstart", []), ("digits-hybrid-memory", ["stage=baseline"]), ("digits-progressive", ["stage=32"])],
)
def test_what_starts_anew_has_no_parent(name: str, changes: list[str]) -> None:
    recipe = load(name, changes)
    assert isinstance(recipe, ProgressiveRecipe | TrainRecipe)
    assert place_of_parent(recipe, None) is None
