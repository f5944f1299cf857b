"""A recipe of kind ``convert``: a network of the user's own, made spiking, with or without fine-tuning."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import PositiveInt, model_validator

from bitspike.recipe.any_recipe import AnyRecipe, Evaluation, best_needs_validation
from bitspike.recipe.words.conversion import Bits, Conversion
from bitspike.recipe.words.models import Factory
from bitspike.recipe.words.training import Training
from bitspike.recipe.words.value import Value


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
    """The error ledger of the run, measured on ``samples`` test images."""

    samples: PositiveInt = 256


class ConvertRecipe(AnyRecipe):
    """A network of the user's own, made spiking: its origin, the choices of the conversion, the figure to reach."""

    makes: ClassVar[str] = "bitspike.runs.kinds.convert:Converted"
    steps_key: ClassVar[str] = "convert.steps"
    kind: Literal["convert"]  # type: ignore[misc]  # a key here; the usual kind has none
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
            raise ValueError("convert.frontend is 'export': quantized fine-tuning needs convert.frontend: fx")
        rules = c.threshold.values() if isinstance(c.threshold, dict) else [c.threshold]
        if f.quantized is True and any(rule is not None and rule.per_channel for rule in rules):
            raise ValueError("convert.threshold.per_channel is true: fine-tuning learns one threshold per layer")
        return self

    def _can_run_over_time(self, t: OverTime) -> None:
        c, f = self.convert, self.finetune
        best_needs_validation("over_time", t, self.data)
        if f is None or f.quantized is not True:
            raise ValueError(
                "over_time continues the network that finetune prepared: it needs finetune.quantized: true"
            )
        if f.steps not in (None, c.steps):
            raise ValueError(f"over_time runs convert.steps = {c.steps} steps, and finetune.steps is {f.steps}")
        other = {"schedule": "synchronous", "coding": "direct", "reset": "soft", "average_pool": "sum"}
        for name, value in other.items():
            if (choice := getattr(c, name)) != value:
                raise ValueError(f"over_time trains with convert.{name} {value!r}, and it is {choice!r}")

    @property
    def network(self) -> str:
        return self.model.factory.partition(":")[2]

    @property
    def steps(self) -> int:
        return self.convert.steps

    @property
    def bits(self) -> int:
        tuned = None if self.finetune is None else self.finetune.bits
        bits = self.convert.bits if tuned is None else tuned
        return max(bits.values()) if isinstance(bits, dict) else bits

    @property
    def device(self) -> Literal["auto", "cpu", "cuda"]:
        return self.evaluation.device
