"""One object for everything that a recipe becomes: images, kind, model, spiking network. Verbs and runs ask it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from bitspike.data import Batches
from bitspike.devices import choose_device
from bitspike.recipe import AnyRecipe, load
from bitspike.recipe.unread import refuse_unread
from bitspike.recipe.words.training import Training
from bitspike.runs.construct.data import Data, build_data
from bitspike.runs.construct.words import build
from bitspike.runs.folder import opened
from bitspike.runs.kinds.kind import Kind, SpikingNetwork, kind_of
from bitspike.runs.stages import Clock
from bitspike.tasks.task import Task
from bitspike.train import Evaluation, evaluate
from bitspike.train.checkpoint import read_weights, restore
from bitspike.train.evaluate import one_run_tells


@dataclass(frozen=True, eq=False)
class Job:
    """A recipe with everything that is built from it. A part is built on first use, and kept.

    Args:
        recipe: of any kind.
        folder: of the finished run whose weights the model gets; None starts from those that the recipe names.
        into: the folder in which the run is carried out; None where nothing is.
        clock: tells and times the stages of the work.

    Example:
        >>> job = Job(load("quickstart"))
        >>> len(job.data.test), [type(batch).__name__ for batch in next(iter(job.test))]
        (359, ['Tensor', 'Tensor'])
    """

    recipe: AnyRecipe
    folder: Path | None = None
    into: Path | None = None
    clock: Clock = field(default_factory=Clock)

    @cached_property
    def data(self) -> Data:
        """The images of the recipe, parted."""
        return build_data(self.recipe, self.clock.observer.counted)

    @cached_property
    def kind(self) -> Kind:
        """The steps that differ between kinds of recipes."""
        kind = kind_of(self.recipe)(self.recipe, self.data, self.into)
        kind.notes += self.data.notes
        return kind

    @cached_property
    def model(self) -> nn.Module:
        """The network that is trained or converted; training changes its weights in place."""
        model = self.kind.start(weights=self.folder is None)
        if self.folder is not None:
            weights = self.folder / "model.safetensors"
            restore(model, read_weights(weights), source=str(weights))
        return model

    @cached_property
    def spiking(self) -> SpikingNetwork:
        """The spiking network of the model, with the weights that the model has on first use."""
        with self.clock.stage(self.kind.finishing):
            return self.kind.finish(self.model)

    @property
    def task(self) -> Task:
        """The task of the network: its loss, its metric, and which answers are right."""
        return self.data.test.task

    @cached_property
    def device(self) -> str:
        """Where the spiking network is measured: ``cpu`` or ``cuda``."""
        return choose_device(self.recipe.device)

    @cached_property
    def test(self) -> Batches:
        """The test images."""
        return self.data.test_batches()

    @cached_property
    def proof(self) -> Batches:
        """The test images whose spikes are proven: all, or as many as the recipe says."""
        return self.data.test_batches(self.recipe.proof)

    @property
    def last_training(self) -> Training | None:
        """What the recipe says about its last epochs; None where nothing is trained."""
        return next(reversed(self.recipe.trainings.values()), None)

    def one_run_tells(self, network: nn.Module) -> bool:
        """Tell whether one run of a network on the test images shows what it answers after every step."""
        return one_run_tells(network.to(self.device), self.test)

    def evaluate(self, network: nn.Module, *, each_step: bool = False) -> Evaluation:
        """Measure a network on the test images, with the loss that it was trained with.

        ``each_step`` records the answers after every step too, of a network whose one run tells them.
        """
        loss = None if self.last_training is None else build(self.last_training.loss)
        network.to(self.device)
        return evaluate(network, self.test, loss=loss, seed=self.recipe.seed, task=self.task, each_step=each_step)

    @contextmanager
    def at_steps(self, steps: int | None) -> Iterator[nn.Module]:
        """Yield the spiking network, run for ``steps`` steps inside the block; None is the T of the recipe."""
        if steps is None:
            yield self.spiking.network
            return
        with self.kind.at_steps(self.spiking, steps) as network:
            yield network


def finished(folder: Path, set: Iterable[str] = ()) -> tuple[Job, dict[str, Any]]:
    """Return the job of a finished run, with changes to its recipe, and the report of the run.

    Raises:
        RunError: there is no finished run. RecipeError: a change is wrong.
    """
    recipe, report = opened(folder)
    changes = tuple(set)
    changed = load(recipe, changes)
    refuse_unread(changed, changes, last=True)
    return Job(changed, folder), report
