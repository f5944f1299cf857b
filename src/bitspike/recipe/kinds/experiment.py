"""What recipes of every kind say: name and question, the paper and its figure, the promise, seed and data."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from bitspike.recipe.words.data import Data
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Fraction, Value


class Evaluation(Value):
    """How validation and test images are run."""

    batch_size: PositiveInt = 250


class Paper(Value):
    """Where the method was published."""

    title: str
    authors: str
    venue: str
    url: str | None = None


class Published(Value):
    """The figure that was published, as a fraction, with its source and setting."""

    value: Fraction
    source: str
    setting: str


class Expect(Value):
    """The figure that this recipe promises, as a fraction; a run below it fails."""

    test_accuracy: Fraction


class Experiment(Value):
    """What every recipe says: its name and question, the paper and its figure, the promise, seed and data."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    question: str
    paper: Paper | None = None
    published: Published | None = None
    expect: Expect | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: Data


def best_needs_validation(section: str, training: Training, data: Data) -> None:
    """Raise ValueError where the best epoch is to be kept and no images are held out to tell it."""
    if training.keep == "best" and not data.validation:
        raise ValueError(f"{section}.keep is 'best' and data.validation is 0: hold images out, or keep: last")
    if training.schedule.warmup_epochs > training.epochs:
        raise ValueError(
            f"{section}.schedule.warmup_epochs is {training.schedule.warmup_epochs:g}, "
            f"longer than the {training.epochs} {section}.epochs"
        )
