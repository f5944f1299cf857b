"""Own images in the place of a recipe's data: ``--set data.kind=folder --set data.root=FOLDER``, from any recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from bitspike.errors import RecipeError
from bitspike.recipe.load import load, shipped
from bitspike.runs.construct.data import build_data
from bitspike.runs.kinds.train import build_model

FOLDER = ["data.kind=folder", "data.root=photos"]
PARTS = ["data.kind=sequence", "data.of=digits"]


@pytest.mark.parametrize("name", shipped())
def test_every_recipe_takes_a_folder_of_images(name: str) -> None:
    data = load(name, FOLDER).data
    assert (data.kind, data.root, data.limit) == ("folder", "photos", None)
    assert data.validation == 0 or isinstance(data.validation, float)


def test_what_the_former_data_brought_is_gone_and_what_was_said_is_kept() -> None:
    before = load("vgg9-cifar10-stbp-w4")
    after = load("vgg9-cifar10-stbp-w4", [*FOLDER, "data.limit=40", "data.size=32"])
    assert (after.data.limit, after.data.size) == (40, 32)
    assert before.data.pixels.offset != (0,)
    assert after.data.pixels == load("quickstart", FOLDER).data.pixels
    assert [word.kind for word in after.data.augment] == [word.kind for word in before.data.augment]
    own = ["data.pixels={scale: 0.5}"]
    assert load("vgg9-cifar10-stbp-w4", [*FOLDER, *own]).data.pixels.scale == 0.5


def test_a_network_that_comes_trained_keeps_its_input() -> None:
    name = "nb-snn-resnet20-pretrained"
    assert load(name, FOLDER).data.pixels == load(name).data.pixels


def test_images_in_the_place_of_recordings_are_shown_at_every_step() -> None:
    recipe = load("cbp-sew-dvs-gesture", FOLDER)
    assert recipe.model.encoder.kind == "repeat"
    assert all(word.kind != "some_frames" for word in recipe.data.augment)
    back = load("quickstart", ["data.kind=digits_events"])
    assert back.data.pixels.scale == 1.0
    assert back.model.encoder.kind == "frames"


def test_what_is_said_of_the_encoder_is_kept_and_refused_where_it_does_not_fit() -> None:
    for said in ("model.encoder={kind: repeat}", "model.encoder.kind=repeat"):
        with pytest.raises(RecipeError, match=r"recordings of events need \{kind: frames\}"):
            load("quickstart", ["data.kind=digits_events", said])


TRAINED = [name for name in shipped() if load(name).takes_frames]


@pytest.mark.parametrize("name", TRAINED)
def test_every_recipe_that_trains_takes_images_in_parts(name: str) -> None:
    recipe = load(name, PARTS)
    assert (recipe.data.kind, recipe.data.of, recipe.data.augment) == ("sequence", "digits", ())
    assert recipe.model.encoder.kind == "frames"


def test_images_in_parts_give_way_to_whole_ones_and_come_back(tmp_path: Path) -> None:
    from bitspike.recipe.text import dump

    there = load("bntt-mnist-rows", FOLDER)
    assert (there.data.kind, there.model.encoder.kind) == ("folder", "repeat")
    path = tmp_path / "there.yaml"
    path.write_text(dump(there))
    back = load(path, PARTS)
    assert (back.data.of, back.data.root, back.model.encoder.kind) == ("digits", None, "frames")


def test_the_same_kind_and_other_kinds_of_wrong_are_as_before() -> None:
    assert load("mnist-stbp-w4", ["data.kind=mnist"]).data == load("mnist-stbp-w4").data
    with pytest.raises(RecipeError, match="found 'foldr'"):
        load("mnist-stbp-w4", ["data.kind=foldr"])
    with pytest.raises(RecipeError, match="root: is missing"):
        load("mnist-stbp-w4", ["data.kind=folder"])
    with pytest.raises(RecipeError, match=r"data\.download: unknown key"):
        load("mnist-stbp-w4", [*FOLDER, "data.download=true"])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draws = np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for name in ("cat", "dog", "owl"):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(count):
                pixels = draws.integers(0, 256, (128, 128, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(tmp_path / split / name / f"{n}.png")
    return tmp_path


@pytest.mark.parametrize(
    "name", ["quickstart", "mnist-stbp-w4", "vgg9-cifar10-stbp-w2", "bntt-vgg9-cifar10-w1", "digits-events"]
)
def test_networks_are_built_for_these_images_and_their_classes(name: str, photos: Path) -> None:
    size = {"quickstart": 8, "mnist-stbp-w4": 28, "digits-events": 8}.get(name, 32)
    recipe = load(name, ["data.kind=folder", f"data.root={photos}", f"data.size={size}", "model.width=0.25"])
    data = build_data(recipe)
    assert data.train.classes == ("cat", "dog", "owl")
    x, _ = next(iter(data.batches(data.test)))
    assert build_model(recipe, data.train)(x).shape == (9, 3)


def test_what_was_dropped_is_not_written_again(tmp_path: Path) -> None:
    from bitspike.recipe.text import dump

    text = dump(load("cbp-sew-dvs-gesture", FOLDER))
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert load(path) == load("cbp-sew-dvs-gesture", FOLDER)
    assert "frames" not in yaml.safe_load(text)["data"]
