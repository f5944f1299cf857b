"""What recipes of every kind say, and what a run asks of them whatever their kind."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from bitspike.recipe.words.data import Data
from bitspike.recipe.words.published import Published
from bitspike.recipe.words.sequences import ByStep
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Fraction, Value

NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""What a recipe may be called."""


class Evaluation(Value):
    """How validation and test images are run."""

    batch_size: PositiveInt = 250


class Paper(Value):
    """Where the method was published."""

    title: str
    authors: str
    venue: str
    url: str | None = None


class Expect(Value):
    """The figure that this recipe promises, as a fraction; a run below it fails."""

    test_accuracy: Fraction


class AnyRecipe(Value):
    """Name and question, the paper and its figure, the promise, seed and data; a kind of recipe adds its sections.

    ``changed`` holds what ``--set`` changed in the file, by dotted keys; files that people write leave it out.

    ``makes`` names the class in :mod:`bitspike.runs.kinds` that runs recipes of the kind, and ``kind`` the kind.
    """

    name: Annotated[str, Field(pattern=f"^{NAME.pattern}$")]
    question: str
    changed: dict[str, Any] | None = None
    paper: Paper | None = None
    published: Published | None = None
    expect: Expect | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data
    # Declared last: the order of the keys in files is that of these lines, then that of the kind.
    kind: ClassVar[str]
    unnamed: ClassVar[tuple[str, ...]] = ("changed",)
    noted: ClassVar[tuple[str, ...]] = ("changed",)
    """Keys that no person writes."""
    takes_frames: ClassVar[bool] = False
    """Whether recordings of events, or images in parts, can be its data."""
    steps_key: ClassVar[str] = ""
    """The key that says T; empty where T follows from something else."""
    if TYPE_CHECKING:
        evaluation: Evaluation

    @model_validator(mode="after")
    def _takes_its_data(self) -> Self:
        if isinstance(self.data, ByStep) and not self.takes_frames:
            raise ValueError(
                f"data.kind is {self.data.kind!r}, {self.data.brings}, and a recipe of kind {self.kind} takes "
                f"images; one without kind trains on {self.data.brings}"
            )
        return self

    @classmethod
    def lying_in(cls, folder: Path, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the values of a recipe, with the folder of its file at every word that names the user's own code."""
        own = {"folder": str(folder)} if values.get("kind") == "factory" and "folder" not in values else {}
        # Arguments are the user's own: what stands in them is passed on as it is.
        sections = {k: v for k, v in values.items() if isinstance(v, Mapping) and k != "arguments"}
        return {**values, **{key: cls.lying_in(folder, section) for key, section in sections.items()}, **own}

    @property
    @abstractmethod
    def network(self) -> str:
        """The name of the network that is trained or converted."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """T."""

    @property
    @abstractmethod
    def bits(self) -> int:
        """Bits of a weight, the most where layers differ; 32 where weights are not quantized."""

    @property
    def trainings(self) -> dict[str, Training]:
        """The sections of epochs by name, in the order in which they run; empty where nothing is trained."""
        return {name: section for name, section in self if isinstance(section, Training)}

    @property
    def parts(self) -> dict[str, AnyRecipe]:
        """The recipes of the runs that this one consists of, by the names of their folders; empty for a single run."""
        return {}

    @property
    def place(self) -> str:
        """The folder of its run, in the folder of all runs."""
        return self.name

    @property
    def elsewhere(self) -> bool:
        """Whether its data are of another kind, or another set in parts, than those that its figures are about."""
        return not {"data.kind", "data.of"}.isdisjoint(self.changed or ())

    @property
    def promised(self) -> Expect | None:
        """The figure that its run has to reach."""
        return self.expect

    @property
    def compared(self) -> Published | None:
        """The published figure that its run is compared with."""
        return self.published

    @property
    def proof(self) -> int | None:
        """How many test images are proven; None is all of them."""
        return getattr(self.evaluation, "proof", None)

    @property
    @abstractmethod
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        """Where the spiking network is measured."""


def best_needs_validation(section: str, training: Training, data: Data) -> None:
    """Raise ValueError where the best epoch is to be kept and no images are held out to tell it."""
    if training.keep == "best" and not data.validation:
        raise ValueError(f"{section}.keep is 'best' and data.validation is 0: hold images out, or keep: last")
    if training.schedule.warmup_epochs > training.epochs:
        raise ValueError(
            f"{section}.schedule.warmup_epochs is {training.schedule.warmup_epochs:g}, "
            f"longer than the {training.epochs} {section}.epochs"
        )
