"""Every shipped recipe makes its whole journey when shrunk, and several processes make it as one."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from journey_parts import (
    SMALL,
    by_two,
    lay_out_cifar10_dvs,
    lay_out_gestures,
    lay_out_photos,
    lay_out_tiny_imagenet,
    sets,
)

import bitspike as bs
from bitspike.conversion.correct import walk
from bitspike.recipe import AnyRecipe, ConvertRecipe, ProgressiveRecipe, TrainRecipe, load, shipped
from bitspike.recipe.words.events import Events
from bitspike.runs.construct.factory import build_network
from bitspike.train.checkpoint import write_weights

ONE_EPOCH = {"epochs": 1, "schedule": {"kind": "cosine"}}


def shrunk(name: str, recipe: AnyRecipe) -> list[str]:
    """Return the changes that make a small network and a short training of a recipe."""
    changes = ["data.limit=100", "data.validation=20", "expect=null"]
    if isinstance(recipe, ConvertRecipe):
        slim = "{depth: 8, width: 4}" if "resnet" in name else "{width: 0.03}" if "vgg16" in name else "{width: 0.25}"
        changes += [f"model.arguments={slim}", "convert.steps=4", "convert.samples=40", "evaluation.proof=null"]
        if recipe.finetune is not None:
            changes += ["finetune.epochs=1"] + ["over_time.epochs=1"] * (recipe.over_time is not None)
    elif isinstance(recipe, ProgressiveRecipe):
        photos = {"num_classes": 2, "image_size": 64} if recipe.data.kind == "imagenet" else {}
        large = name.startswith("nb-snn") or "vgg16" in name
        small = {"width": 1 / 32 if large else 0.25} | photos
        if recipe.data.kind == "cifar100":  # the journey has images of ten classes
            small |= {"num_classes": 10}
        if "depth" in recipe.model.arguments:
            small["depth"] = 8
        if recipe.model.factory.endswith(":resnet_cifar"):  # its width is a number of channels
            small["width"] = 4
        first, *_, last = recipe.model_dump(mode="json", exclude_none=True)["stages"]
        changes += ["training.epochs=1", "convert.float_steps=3", "convert.samples=40", "evaluation.mismatch=20"]
        changes += [f"model.arguments={json.dumps(recipe.model.arguments | small)}"]
        short = {"epochs": 1, "over_time_epochs": int(recipe.over_time is not None)}
        last |= {"bits": min(last["bits"], 3), "parent": first["bits"]}
        changes += [f"stages={json.dumps([stage | short for stage in (first, last)])}"]
    elif isinstance(recipe, TrainRecipe) and recipe.model.kind.startswith("bntt"):  # its 20 and more steps are the cost
        steps = 4 if recipe.data.kind == "sequence" else 3
        changes += ["training.epochs=1", "model.width=0.0625", f"model.steps={steps}", "training.batch_size=40"]
        changes += ["norm.momentum=1.0"]  # two batches do not move running statistics far enough
        if recipe.parts:
            stages = [stage | ONE_EPOCH for stage in recipe.model_dump(mode="json")["stages"]]
            changes.append(f"stages={json.dumps(stages)}")
    else:
        assert isinstance(recipe, TrainRecipe)
        small = recipe.model.kind == "mnist_net" or recipe.data.kind == "digits_events"
        deep = bool(recipe.parts) and not small
        width = 0.06 if deep else 0.125 if recipe.model.kind == "vgg9" else 0.25
        changes += ["training.epochs=1", f"model.width={width}", *["model.steps=1"] * deep]
        if recipe.parts:
            first, *_, last = recipe.model_dump(mode="json")["stages"]
            stages = [stage | ONE_EPOCH | {"parent": None} for stage in (first, last)]
            changes += [f"stages={json.dumps(stages)}", "evaluation.proof=null"]
        if isinstance(recipe.data, Events) and recipe.parts:  # on one of two frames, where the recipe takes some
            some = {"some_frames": {"frames": 1, "of": 2}}
            words = [word.model_dump() | some.get(word.kind, {}) for word in recipe.data.augment]
            changes += ["model.steps=2", f"data.augment={json.dumps(words)}", *["model.width=0.02"] * deep]
    return changes


@pytest.mark.parametrize("name", list(shipped()))
def test_a_shipped_recipe_runs(
    name: str, tmp_path: Path, mnist_root: Path, cifar10_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 20 steps instead of 500 for every layer that is calibrated: recipes have no word for them.
    monkeypatch.setattr(walk, "calibrate_weight", partial(walk.calibrate_weight, iterations=20))
    recipe = load(name)
    changes = shrunk(name, recipe)
    if isinstance(recipe, ConvertRecipe | ProgressiveRecipe) and recipe.model.weights is not None:
        slim_recipe = load(name, changes)
        assert isinstance(slim_recipe, ConvertRecipe | ProgressiveRecipe)
        write_weights(tmp_path / "w.safetensors", build_network(slim_recipe, weights=False).state_dict())
        changes += [f"model.weights={tmp_path / 'w.safetensors'}", "model.key=null"]
    if recipe.data.kind == "imagenet":
        lay_out_photos(tmp_path / "photos", {"ant": 50, "bee": 50}, {"ant": 60, "bee": 60})
        changes += [f"data.root={tmp_path / 'photos'}", "data.size=64", "data.resize=72"]
    if recipe.data.kind == "tiny_imagenet":
        changes.append(f"data.root={lay_out_tiny_imagenet(tmp_path / 'photos', 60, 100)}")
    if recipe.data.kind == "dvs_gesture":
        lay_out_gestures(tmp_path / "events", 100, 100)
    if recipe.data.kind == "cifar10_dvs":
        lay_out_cifar10_dvs(tmp_path / "events", 100)
    if recipe.data.kind in ("dvs_gesture", "cifar10_dvs"):
        changes += [f"data.root={tmp_path / 'events'}", f"data.cache={tmp_path / 'cache'}"]
    if recipe.data.kind == "cifar100":  # the same images in its place
        changes.append("data.kind=cifar10")
    if recipe.data.kind in ("mnist", "cifar10", "cifar100", "sequence"):
        changes.append(f"data.root={cifar10_root if 'cifar' in recipe.data.kind else mnist_root}")
    report = bs.run(name, set=changes, out=tmp_path / "run")
    assert report["certificate"]["equal"]
    assert report["certificate"]["samples"] == 100
    assert report["agreement"]["spikes"] >= 0.99
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000
    expected = None if "data.kind=cifar10" in changes else recipe.compared  # other data are not those of the paper
    assert report["published"] == (None if expected is None else expected.model_dump())


def test_two_processes_make_the_journey_together(tmp_path: Path) -> None:
    done = by_two("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL, "training.epochs=1"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test accuracy") == 1
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["environment"]["workers"] == 2
    assert report["certificate"]["equal"]
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 1
