"""A recipe becomes one job: nothing is built before it is asked for, and everything is built once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from bitspike.errors import RunError
from bitspike.nn import Repeat
from bitspike.recipe import load
from bitspike.runs.construct import data
from bitspike.runs.job import Job, finished
from bitspike.train import Observer

SMALL = ["data.limit=40", "model.width=0.25", "model.steps=3"]
CONVERTED = ["data.limit=40", "model.arguments={width: 0.25}", "convert.steps=3", "convert.samples=20"]


class Stages(Observer):
    """Writes down what is announced."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def stage(self, name: str) -> None:
        self.names.append(name)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each split of a data set was read."""
    counts: Counter[str] = Counter()

    known = data.read_images

    def read(words: Any, split: str, *more: Any) -> Any:
        counts[split] += 1
        return known(words, split, *more)

    monkeypatch.setattr(data, "read_images", read)
    return counts


def test_images_are_read_when_asked_for_and_once(reads: Counter[str]) -> None:
    job = Job(load("quickstart", SMALL))
    assert not reads
    assert job.model is job.model
    assert job.spiking.network is job.model  # it spikes from the start
    assert len(job.evaluate(job.model).confusion) == 10
    assert reads == {"train": 1, "test": 1}


def test_what_a_kind_does_knows_from_its_beginning_where_the_run_goes(tmp_path: Path) -> None:
    assert Job(load("quickstart", SMALL), into=tmp_path).kind.folder == tmp_path
    assert Job(load("quickstart", SMALL)).kind.folder is None


def test_a_conversion_is_a_stage_and_spiking_from_the_start_is_none() -> None:
    for recipe, stages in (load("quickstart", SMALL), []), (load("digits-convert", CONVERTED), ["convert"]):
        watching = Stages()
        job = Job(recipe)
        job.clock.observer = watching
        assert job.spiking is job.spiking
        assert watching.names == list(job.clock.seconds) == stages


@pytest.mark.parametrize(("name", "changes"), [("quickstart", SMALL), ("digits-convert", CONVERTED)])
def test_fewer_steps_are_for_the_length_of_a_block(name: str, changes: list[str]) -> None:
    job = Job(load(name, changes))

    def steps(network: nn.Module) -> set[int]:
        return {coder.steps for coder in network.modules() if isinstance(coder, Repeat)}

    with job.at_steps(None) as network:
        assert steps(network) == {3}
    with job.at_steps(1) as network:
        assert steps(network) == {1}
    assert steps(job.spiking.network) == {3}


def test_the_proof_takes_as_many_images_as_the_recipe_says() -> None:
    assert Job(load("digits-convert", [*CONVERTED, "evaluation.proof=7"])).proof.image_set.labels.shape == (7,)
    job = Job(load("digits-convert", [*CONVERTED, "evaluation.proof=400"]))
    assert job.proof.image_set is job.data.test


def test_the_job_of_no_run_says_what_a_run_is(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="this is no run of bitspike"):
        finished(tmp_path)
    with pytest.raises(RunError, match="there is no folder"):
        finished(tmp_path / "runs")
