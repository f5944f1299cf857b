"""The stages of a recipe of kind ``train``: one network trained several times, from the weights of stages before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, Tag

from bitspike.recipe.words.published import Published
from bitspike.recipe.words.stages import AnyStage, StageTraining, stated
from bitspike.recipe.words.training import Schedule, Training
from bitspike.recipe.words.value import Fraction
from bitspike.recipe.words.weights import Weights


class TaughtTraining(StageTraining):
    """Epochs of a network that may learn from the one it starts from too (``distill``), if that is trained."""

    unnamed: ClassVar[tuple[str, ...]] = (*Training.unnamed, "distill")


def _which_weights(value: Any) -> str:
    return "float" if isinstance(value, str) else "scheme"


class TrainStage(AnyStage):
    """One training of the network. What a stage does not say is that of the recipe's sections.

    Args:
        name: of the stage and of its folder.
        parent: name of the stage that it starts from: the one before in the list where it is null. The first stage
            starts from new weights.
        weights: as the section, or ``float``.
        lr, weight_decay: of the optimizer.
        expect: the test accuracy that the stage promises.
        published: the figure that the stage is compared with.
    """

    unnamed: ClassVar[tuple[str, ...]] = (
        *("parent", "weights", "epochs", "lr", "weight_decay", "schedule"),
        *("expect", "published"),
    )
    instead_of: ClassVar[Mapping[str, str]] = {"weights": "weights", **AnyStage.instead_of}

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    parent: str | None = None
    weights: (
        Annotated[
            Annotated[Weights, Tag("scheme")] | Annotated[Literal["float"], Tag("float")], Discriminator(_which_weights)
        ]
        | None
    ) = None
    epochs: PositiveInt | None = None
    lr: PositiveFloat | None = None
    weight_decay: NonNegativeFloat | None = None
    schedule: Schedule | None = None
    expect: Fraction | None = None
    published: Published | None = None


def resolved(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the complete values of a recipe with what one stage says put into the sections.

    All stages say then whatever they took from the sections, so that another one can be resolved in its turn.

    Args:
        values: of a recipe with stages, all keys named.
        name: of the stage; there is none of this name where the values stay as they are.

    Example:
        >>> recipe = {
        ...     "weights": None,
        ...     "training": {"epochs": 9, "schedule": {"kind": "cosine"}, "optimizer": {"kind": "sgd", "lr": 0.1}},
        ...     "stages": [{"name": "fp32"}, {"name": "w4", "epochs": 2, "lr": 0.01}],
        ... }
        >>> fine = resolved(recipe, "w4")
        >>> fine["training"]["epochs"], fine["training"]["optimizer"], resolved(fine, "fp32")["training"]["epochs"]
        (2, {'kind': 'sgd', 'lr': 0.01}, 9)
    """
    stages = [_explicit(stage, values) for stage in values["stages"] or ()]
    own = next((stage for stage in stages if stage["name"] == name), None)
    if own is None:
        return dict(values)
    rates = {key: own[key] for key in _RATES if key in own}
    optimizer = {**values["training"]["optimizer"], **rates}
    training = {**values["training"], "epochs": own["epochs"], "schedule": own["schedule"], "optimizer": optimizer}
    weights = None if own["weights"] == "float" else own["weights"]
    return {**values, "stages": stages, "training": training, "weights": weights}


_RATES = ("lr", "weight_decay")


def _explicit(stage: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage with all that it takes from the sections."""
    training = values["training"]
    sections = {
        "weights": values["weights"] or "float",
        "epochs": training["epochs"],
        "schedule": training["schedule"],
        **{key: training["optimizer"][key] for key in _RATES if key in training["optimizer"]},
    }
    return sections | stated(stage)
