"""A recipe of kind ``convert``: a network of the user's own, made spiking, with or without fine-tuning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, NonNegativeInt, PositiveInt, Tag, field_validator, model_validator

from bitspike.recipe.kinds.train import Evaluation, Experiment, Repair, Training, best_needs_validation
from bitspike.recipe.words.value import Value
from bitspike.recipe.words.weights import Scale

Bits = Annotated[int, Field(ge=1, le=16)]
Share = Annotated[float, Field(ge=0, lt=1)]
Patterns = tuple[str, ...]
Correction = Literal["bias", "potential", "weights", "least_squares"]


class Factory(Value):
    """A network that a function makes, and the file of its trained weights.

    ``factory`` is ``module:function`` or ``file.py:function``; modules and files are looked for beside the recipe
    (``folder``, filled in on load), then in the working directory, then among the installed ones. ``weights`` is a
    safetensors file or one that torch saved; ``key`` names the entry of the latter that holds the state, ``prefix`` is
    taken off its names. ``weights: null`` leaves those that the factory gives it: its own, or initial ones that are
    drawn from the recipe's seed. ``repairs`` are made to the loaded network, or with ``repaired: true`` before the
    weights are loaded: these are then of an earlier run with the same repairs.
    """

    kind: Literal["factory"]
    factory: str
    folder: str | None = None
    arguments: dict[str, Any] = Field(default_factory=dict)
    weights: str | None = None
    key: str | None = None
    prefix: str = ""
    repairs: tuple[Repair, ...] = ()
    repaired: bool = False

    @field_validator("factory")
    @classmethod
    def _names_a_function(cls, value: str) -> str:
        if not re.fullmatch(r"[^:]+:[A-Za-z_][A-Za-z0-9_.]*", value):
            raise ValueError(f"found {value!r}, needed is module:function or file.py:function")
        return value


# Threshold rules ----------------------------------------------------------------------------------------------------


class MaxThreshold(Value):
    kind: Literal["max"]
    per_channel: bool = False


class PercentileThreshold(Value):
    kind: Literal["percentile"]
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.9
    population: Literal["all", "nonzero"] = "all"
    per_channel: bool = False


class MSEThreshold(Value):
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


# Sections -----------------------------------------------------------------------------------------------------------


class Conversion(Value):
    """What ``bs.convert`` is told; null leaves a choice to it. Patterns are over the network's module names.

    ``correct: auto`` leaves the corrections to it, ``correct: null`` makes none.
    """

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
    include: Patterns | None = None
    exclude: Patterns = ()
    keep_real: Patterns = ()
    frontend: Literal["fx", "export"] = "fx"


class FineTuning(Training):
    """Epochs before the conversion.

    ``quantized: true`` trains the network that the spiking one will be, with its codes and levels (``bs.prepare``);
    ``bits`` and ``steps`` are those of ``convert`` where they are null. ``quantized: false`` trains the float network
    as it is, for a factory whose weights are not trained yet. ``quantized: weights`` lies between the two: weights are
    codes, while activations are not counted yet and batch norms live; it is the first of two runs for a network that
    repairs have changed too much to be fine-tuned without its norms.
    """

    quantized: bool | Literal["weights"] = True
    bits: Bits | dict[str, Bits] | None = None
    steps: PositiveInt | None = None


class OverTime(Training):
    """Epochs of the prepared network over time, step by step, after those of ``finetune`` (``bs.over_time``).

    Neuron and steps are those of ``convert``. An epoch costs about T of the other ones, and a few are enough.
    """


class Measurement(Evaluation):
    """How images are run. ``proof`` test images are proven and compared with the integers; null proves all.

    ``by_step: false`` leaves out the accuracy of fewer steps, which costs a conversion each where layers wait for the
    one before.
    """

    proof: PositiveInt | None = None
    by_step: bool = True
    device: Literal["auto", "cpu", "cuda"] = "auto"


class Analysis(Value):
    """The error ledger of the run, over so many test images."""

    samples: PositiveInt = 256


class ConvertRecipe(Experiment):
    """A network of the user's own, made spiking: from where, with which choices, and what it should reach."""

    kind: Literal["convert"]
    model: Factory
    convert: Conversion = Conversion()
    finetune: FineTuning | None = None
    over_time: OverTime | None = None
    evaluation: Measurement = Measurement()
    chip: str | None = None
    analysis: Analysis | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        c, f = self.convert, self.finetune
        if c.reset == "hard" and c.schedule == "layerwise":
            raise ValueError(
                "convert.reset is 'hard' and convert.schedule 'layerwise': a hard reset loses the whole burst"
            )
        if c.reset == "hard" and c.neuron == "signed_if":
            raise ValueError("convert.reset is 'hard' and convert.neuron 'signed_if': a signed neuron subtracts")
        if self.over_time is not None:
            self._can_run_over_time(self.over_time)
        if f is None:
            return self
        best_needs_validation("finetune", f, self.data)
        if f.quantized and c.frontend == "export":
            raise ValueError("convert.frontend is 'export': what is fine-tuned quantized is followed by 'fx'")
        rules = c.threshold.values() if isinstance(c.threshold, dict) else [c.threshold]
        if f.quantized is True and any(rule is not None and rule.per_channel for rule in rules):
            raise ValueError("convert.threshold.per_channel: fine-tuning learns one threshold per layer")
        return self

    def _can_run_over_time(self, t: OverTime) -> None:
        c, f = self.convert, self.finetune
        best_needs_validation("over_time", t, self.data)
        if f is None or f.quantized is not True:
            raise ValueError("over_time goes on with what finetune prepared: it needs finetune.quantized: true")
        if f.steps not in (None, c.steps):
            raise ValueError(f"over_time runs convert.steps = {c.steps} steps, and finetune.steps is {f.steps}")
        other = {"schedule": "synchronous", "coding": "direct", "reset": "soft", "average_pool": "sum"}
        for name, value in other.items():
            if (found := getattr(c, name)) != value:
                raise ValueError(f"over_time trains with convert.{name} {value!r}, and it is {found!r}")

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        """Where the spiking network is measured."""
        return self.evaluation.device
