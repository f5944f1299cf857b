"""A recipe whose images are photos on disk: what its words build, and what is refused when it is loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from photo_folders import lay_out

from bitspike.data import ImageSet, StreamedSet
from bitspike.errors import RecipeError
from bitspike.recipe import AnyRecipe, load
from bitspike.recipe.text import parse
from bitspike.runs.construct.data import build_data
from bitspike.runs.job import Job
from bitspike.runs.sketch import sketch

NETWORK = "model={kind: factory, factory: 'bitspike.models.imagenet:vgg16_imagenet'}"
SMALL = "model.arguments={image_size: 32, width: 0.03, num_classes: 3}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out(tmp_path / "photos", {"a": 5, "b": 4, "c": 3}, {"a": 4, "b": 1, "c": 2}, side=40)


def recipe(root: Path, *changes: str) -> AnyRecipe:
    data = f"data={{kind: imagenet, root: '{root}', size: 32, workers: 2, validation: 3}}"
    few = ["finetune.epochs=1", "finetune.batch_size=4", "convert.samples=4", "expect=null"]
    return load("digits-convert", [data, NETWORK, SMALL, *few, *changes])


def test_photos_are_parted_and_dealt_out_as_images_in_memory_are(root):
    data = build_data(recipe(root))
    assert isinstance(data.train, StreamedSet)
    assert (len(data.train), len(data.validation or ()), len(data.test)) == (9, 3, 7)
    assert (data.train.shape, data.train.classes) == ((32, 32, 3), ("a", "b", "c"))
    assert (data.grid.low, data.grid.high) == (0, 255)  # the network normalizes
    assert [len(y) for _, y in data.training_batches("finetune")] == [4, 4, 1]
    assert [len(y) for _, y in data.training_batches("finetune", rank=1, world_size=2)] == [2, 2, 1]
    assert sum(len(y) for _, y in data.batches(data.test, rank=2, world_size=3)) == 2
    x, y = next(iter(data.test_batches(5)))
    assert (x.shape, y.tolist()) == ((5, 3, 32, 32), [0, 0, 0, 0, 1])
    assert data.test_batches().image_set is data.test


def test_training_cuts_at_random_and_calibration_takes_the_middle(root):
    data = build_data(recipe(root))
    twice = [torch.cat([x for x, _ in data.calibration_batches()]) for _ in range(2)]
    assert torch.equal(*twice)
    batches = data.training_batches("finetune")
    first = torch.cat([x for x, _ in batches])
    batches.set_epoch(1)
    assert not any((image == other).all() for image in torch.cat([x for x, _ in batches]) for other in first)


def test_augmentation_is_left_out_where_a_recipe_says_so(root):
    data = build_data(recipe(root, "data.augment=[]"))
    seen = {x.numpy().tobytes() for batch, _ in data.training_batches("finetune") for x in batch}
    assert seen == {x.numpy().tobytes() for batch, _ in data.batches(data.train) for x in batch}


def test_a_limit_keeps_so_many_photos_of_each_split(root):
    data = build_data(recipe(root, "data.limit=6", "data.validation=2"))
    assert (len(data.train), len(data.validation or ()), len(data.test)) == (4, 2, 6)


def test_a_job_measures_and_shows_photos(root):
    job = Job(recipe(root))
    assert job.evaluate(job.model).samples == 7
    assert job.kind.example().shape == (2, 3, 32, 32)


def test_a_sketch_opens_no_photo(root):
    for path in root.rglob("*.JPEG"):
        path.write_bytes(b"")
    sketched = sketch(recipe(root))
    assert len(sketched.net.weighted) == 16


def test_photos_can_be_read_into_memory_and_are_the_same(root):
    test = build_data(recipe(root)).test
    memory = ImageSet(test.first(7), test.labels, test.classes, test.name)
    assert memory.shape == test.shape
    assert torch.equal(memory.first(3), test.first(3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("data.resize=16", "data.resize is 16, shorter than data.size 32"),
        ("data.reader=cv2", "data.reader: found 'cv2', needed is 'auto', 'dali', 'simplejpeg' or 'pillow'"),
        ("data.augment=[{kind: flip}, {kind: random_crop}]", "data.augment.1 is random_crop, which comes first"),
        (
            "data.augment=[{kind: random_crop, area: [0, 1]}]",
            "data.augment.0.area.0: found 0, needed",
        ),
        ("data.workers=-1", "data.workers: found -1"),
        ("data={kind: imagenet}", "data.root: is missing"),
        ("data={kind: cifar10, augment: [{kind: random_crop}]}", "random_crop, which cuts photos while they are read"),
    ],
)
def test_words_that_do_not_fit_are_refused_on_load(root, change, said):
    with pytest.raises(RecipeError) as caught:
        recipe(root, change)
    assert said in str(caught.value)


def test_the_document_about_photos_runs_as_it_stands(root):
    text = (Path(__file__).parents[2] / "docs" / "photos.md").read_text()
    words = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1].replace("/data/imagenet", str(root))
    data = parse(words, "docs/photos.md").values["data"] | {"validation": 3}
    written = load("digits-convert", [f"data={json.dumps(data)}"])
    plain = load("digits-convert", [f"data={{kind: imagenet, root: '{root}', validation: 3}}"])
    assert written.data.model_dump() == plain.data.model_dump() | {"resize": 256}
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1].replace("/data/imagenet", str(root))
    names: dict[str, Any] = {}
    exec(code.replace("10_000", "3").replace('"cuda"', '"cpu"').replace("256", "4"), names)  # noqa: S102
    assert [x.shape[1:] for x, _ in names["batches"]] == [(3, 224, 224)] * 3
