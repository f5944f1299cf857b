"""The section ``convert``: the choices of ``bs.convert``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag

from bitspike.recipe.words.value import Share, Value
from bitspike.recipe.words.weights import Scale

Bits = Annotated[int, Field(ge=1, le=16)]
Patterns = tuple[str, ...]
Correction = Literal["bias", "potential", "weights", "least_squares"]


class MaxThreshold(Value):
    makes: ClassVar[str] = "bitspike.conversion.calibrate.thresholds:MaxThreshold"
    kind: Literal["max"]
    per_channel: bool = False


class PercentileThreshold(Value):
    makes: ClassVar[str] = "bitspike.conversion.calibrate.thresholds:PercentileThreshold"
    kind: Literal["percentile"]
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.9
    population: Literal["all", "nonzero"] = "all"
    per_channel: bool = False


class MSEThreshold(Value):
    makes: ClassVar[str] = "bitspike.conversion.calibrate.thresholds:MSEThreshold"
    kind: Literal["mse"]
    candidates: Annotated[int, Field(ge=2)] = 100
    smallest: Annotated[float, Field(gt=0, lt=1)] = 0.2
    initial: Share = 0.5
    per_channel: bool = False


Threshold = Annotated[MaxThreshold | PercentileThreshold | MSEThreshold, Field(discriminator="kind")]


def _which_rules(value: Any) -> str:
    return "one" if isinstance(value, Value) or (isinstance(value, dict) and "kind" in value) else "patterns"


Rules = Annotated[
    Annotated[Threshold, Tag("one")] | Annotated[dict[str, Threshold], Tag("patterns")], Discriminator(_which_rules)
]
"""One rule, or rules by patterns over the paths of ReLUs."""


class Conversion(Value):
    """The options of ``bs.convert``; null leaves a choice to it. Patterns are over the network's module names.

    ``correct: auto`` leaves the corrections to it, ``correct: null`` makes none.
    """

    unnamed: ClassVar[tuple[str, ...]] = ("potential_bits",)
    steps: PositiveInt = 16
    neuron: Literal["if", "signed_if"] = "if"
    bits: Bits | dict[str, Bits] = 8
    first_bits: Bits | None = 8
    last_bits: Bits | None = 8
    per_channel: bool = True
    scale: Scale | None = None
    threshold: Rules | None = None
    samples: PositiveInt = 1024
    input_bits: Annotated[int, Field(ge=2, le=16)] = 8
    coding: Literal["direct", "split", "rate", "bernoulli"] = "direct"
    reset: Literal["soft", "hard"] = "soft"
    fire: Literal["ge", "gt"] = "ge"
    schedule: Literal["synchronous", "layerwise"] = "synchronous"
    average_pool: Literal["sum", "neuron"] = "sum"
    initial: Share = 0.5
    correct: Correction | Literal["light", "advanced", "auto"] | tuple[Correction, ...] | None = "auto"
    max_fraction_bits: NonNegativeInt = 8
    multiplier_bits: NonNegativeInt | None = None
    concat: Literal["tie", "fold"] = "tie"
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    potential_bits: Annotated[int, Field(ge=2, le=24)] | None = None
    include: Patterns | None = None
    exclude: Patterns = ()
    keep_real: Patterns = ()
    frontend: Literal["fx", "export"] = "fx"
