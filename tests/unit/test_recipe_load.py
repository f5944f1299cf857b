"""Recipes on load: where they are found, what is changed, and everything that is wrong said at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import bitspike as bs
from bitspike.errors import RecipeError
from bitspike.integer.examples import one_convolution
from bitspike.recipe import TrainRecipe, dump, load, shipped
from bitspike.recipe.load import text_of
from bitspike.recipe.text import parse

QUICKSTART = shipped()["quickstart"]


def message(recipe: str | Path, *set: str) -> str:
    with pytest.raises(RecipeError) as caught:
        load(recipe, set)
    return str(caught.value)


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    text = QUICKSTART
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_recipe_says_every_value_itself(name: str) -> None:
    recipe = load(name)
    assert recipe.name == name
    assert parse(shipped()[name], name).values == recipe.model_dump(mode="json")


def test_of_a_list_with_a_wrong_member_only_the_member_is_said() -> None:
    said = message("bntt-mnist-rows", "model.hidden=[0]")
    assert "model.hidden.0: found 0, needed is a value greater than 0" in said
    assert said.count("model.hidden=[0]: ") == 1


@pytest.mark.parametrize("name", list(shipped()))
def test_a_recipe_written_back_loads_to_the_same(name: str, tmp_path: Path) -> None:
    training = load(name).trainings.get("training")
    some = [] if training is None else ["training.batch_size=3"]
    some += ["training.loss.scale=1e-3"] if hasattr(getattr(training, "loss", None), "scale") else []
    recipe = load(name, ["expect=null", "seed=3", *some])
    path = tmp_path / "recipe.yaml"
    path.write_text(dump(recipe))
    assert load(path) == recipe


def test_an_average_of_weights_is_named_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    recipe = load("quickstart", ["training.average.decay=0.9"])
    path.write_text(dump(recipe))
    assert "average: {decay: 0.9}" in path.read_text()
    assert load(path) == recipe
    assert "average" not in dump(load("quickstart", ["training.average=null"])), "as files were before it"
    assert "training.average.decay: found 1, needed is a value less than 1" in message(
        "quickstart", "training.average.decay=1"
    )


def test_values_are_changed_by_dotted_keys() -> None:
    recipe = load(
        "quickstart",
        ["training.epochs=2", "data.augment.0.pixels=2", "training.optimizer={kind: sgd, lr: 1e-2}", "expect=null"],
    )
    assert recipe.training.epochs == 2
    assert recipe.data.augment[0].pixels == 2  # type: ignore[union-attr]
    assert (recipe.training.optimizer.kind, recipe.training.optimizer.lr) == ("sgd", 0.01)
    assert recipe.expect is None
    assert load(recipe, ["expect.test_accuracy=0.5"]).expect.test_accuracy == 0.5  # type: ignore[union-attr]


def test_all_problems_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ("threshold: 1.0", "thresold: 1.0"),
        ("kind: arctan", "kind: arctn"),
        ("epochs: 30", "epochs: -3"),
        ("validation: 0.1", "validation: many"),
        ("device: auto", "device: tpu"),
        ("name: quickstart", "nme: quickstart"),
    )
    lines = message(path).splitlines()
    assert lines[0] == f"{path} has 7 problems"

    def line_of(text: str) -> int:
        return next(n for n, line in enumerate(path.read_text().splitlines(), start=1) if text in line)

    said = "\n".join(lines)
    assert f"line {line_of('thresold')}: neuron.thresold: unknown key; allowed are " in said
    assert "did you mean 'threshold'?" in said
    assert f"line {line_of('arctn')}: neuron.surrogate.kind: found 'arctn'; allowed are rectangle, triangle" in said
    assert f"line {line_of('epochs: -3')}: training.epochs: found -3, needed is a value greater than 0" in said
    assert "data.validation: found 'many', needed is a valid integer" in said
    assert "training.device: found 'tpu', needed is 'auto', 'cpu' or 'cuda'" in said
    assert "name: is missing" in said
    assert f"line {line_of('nme')}: nme: unknown key" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "data.kind=sequence",
            "data.of: is missing; allowed are mnist, digits, cifar10, cifar100\n  fix: --set data.of=mnist",
        ),
        ("data.kind=folder", "data.root: is missing\n  fix: --set data.root=VALUE as well"),
        ("weights.include=[]", "weights.include: found [], needed is a list of at least 1"),
        ("weights.skip=head", "weights.skip: found 'head', needed is a list"),
        (
            "data={kind: sequence, of: digits, augment: [{kind: flip}]}",
            "found [{'kind': 'flip'}], needed is an empty list",
        ),
        ("training.epocs=1", "--set training.epocs=1: training.epocs: unknown key; allowed are epochs, batch_size"),
        ("trainng.epochs=1", "--set trainng.epochs=1: trainng: unknown key"),
        (
            "data.kind=minst",
            "allowed are digits, mnist, cifar10, cifar100, tiny_imagenet, folder, imagenet, sequence, digits_events, "
            "nmnist, cifar10_dvs, dvs_gesture, event_folder; did you mean 'mnist'?",
        ),
        ("norm=7", "--set norm=7: norm: found 7, needed is a mapping of keys to values"),
        ("data.augment=[{pixels: 1}]", "data.augment.0: found {'pixels': 1}, needed is a mapping with the key kind"),
        ("weights.quantize.bits=9", "weights.quantize.bits: found 9, needed is a value less than or equal to 8"),
        (
            "weights.quantize.scale.rule.kind=dyadic",
            "weights.quantize.scale.rule.kind: found 'dyadic'; allowed are max",
        ),
        ("seed=-1", "seed: found -1, needed is a value greater than or equal to 0"),
        ("training.optimizer.lr=.inf", "training.optimizer.lr: found inf"),
        ("training.epochs=0.5", "training.epochs: found 0.5, needed is a valid integer"),
        ("training", "--set training: needed is key=value"),
        ("=1", "needed is key=value"),
        ("training.epochs.x=1", "training.epochs is 30, which has no parts"),
        ("data.augment.5.pixels=1", "data.augment is a list of 1; '5' is no position in it"),
        ("seed=[1", "'[1' is no YAML value"),
        ("training.schedule.warmup_epochs=99", "longer than the 30 training.epochs"),
    ],
)
def test_a_wrong_change_is_told_in_its_own_words(change: str, said: str) -> None:
    assert said in message("quickstart", change)


def test_values_have_to_fit_together() -> None:
    said = message("quickstart", "training.keep=best", "data.validation=0")
    assert "training.keep is 'best' and data.validation is 0: hold images out, or keep: last" in said


def test_recipes_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert load(written(tmp_path)).name == "quickstart"
    assert isinstance(load("quickstart"), TrainRecipe)
    every = f"'bitspike recipes' lists all {len(shipped())}"
    assert message("quikstart") == f"there is no recipe 'quikstart'\n  fix: 'quickstart'? {every}"
    assert message("mnist-stbp-w3").startswith(
        "there is no recipe 'mnist-stbp-w3'; the nearest are mnist-stbp-w8, mnist-stbp-w4, mnist-stbp-fp32\n"
    )
    assert f"fix: 'digits-convert'? {every}" in message("digits-conv")
    assert f"fix: {every}; one of your own is named by the path of its YAML file" in message("xyzzy")
    assert "there is no file nowhere/mine.yaml" in message("nowhere/mine.yaml")


def test_one_recipe_is_read_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    whole = Path.read_text

    def noted(path: Path, *arguments: Any, **options: Any) -> str:
        read.append(path.name)
        return whole(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", noted)
    load("quickstart", ["seed=1"])
    text_of("quickstart")
    assert {name for name in read if name.endswith(".yaml")} == {"quickstart.yaml"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1\nb: 2\n", "line 2: this is not YAML"),
        ("- 1\n", "holds a list; a recipe is a mapping"),
        ("", "holds nothing"),
        ("seed: 1\ndata: {}\nseed: 2\n", "line 3: seed is given twice, first on line 1"),
        ("a: \x00", "this is not YAML"),
        ("a: !!python/object:os.system {}\n", "this is not YAML"),
    ],
)
def test_what_is_no_recipe_at_all(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert said in message(path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "is no recipe: it is no text in UTF-8\n  fix: a YAML file; a network is a folder" in message(path)


def test_recipes_need_no_torch() -> None:
    code = "import sys, bitspike.verbs.recipes as l; l.recipes(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=600).returncode == 0


@pytest.mark.parametrize("given", [None, 3, {"name": "mine"}])
def test_what_is_no_recipe_is_named(given: object) -> None:
    with pytest.raises(RecipeError, match=rf"a {type(given).__name__} stands where a recipe is needed"):
        load(given)  # type: ignore[arg-type]


def test_a_sentence_about_the_whole_recipe_names_the_place_of_its_key(tmp_path: Path) -> None:
    """What is checked after all single values, such as one stage against the others, has a place too."""
    said = message("digits-progressive", "stage=3")
    assert "--set stage=3: stage is 3; allowed are 32, 4, 2, and null for all of them" in said
    assert "correct it; 'bitspike recipes'" in said
    path = tmp_path / "mine.yaml"
    text = shipped()["digits-progressive"]
    path.write_text(text.replace("- {bits: 4}", "- {bits: 9}"))
    line = next(n for n, content in enumerate(text.splitlines(), 1) if "- {bits: 4}" in content)
    assert f"line {line}: stages.1.bits is 9; allowed are 1 to 8" in message(path)


def test_the_folder_of_a_run_is_no_recipe_and_holds_one(tmp_path: Path) -> None:
    assert f"{tmp_path} is a folder, and a recipe is a file\n  fix: the path of a YAML file" in message(tmp_path)
    network = bs.save(one_convolution(), tmp_path / "network")
    saved = message(network)
    assert f"{network} is a saved network, whose weights are integers already, and a recipe is a file" in saved
    assert "fix: the recipe that made it, the path of a YAML file; of a saved network 'bitspike check' lists" in saved
    (tmp_path / "recipe.yaml").write_text(QUICKSTART)
    assert f"fix: {tmp_path / 'recipe.yaml'}" in message(str(tmp_path))
    assert f"fix: {tmp_path / 'recipe.yaml'}, which made it" in message(network)
