"""The neurons of a recipe, with their surrogate gradients."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from bitspike.recipe.words.own import Own
from bitspike.recipe.words.value import Fraction, Value


class Rectangle(Value):
    makes: ClassVar[str] = "bitspike.ops.surrogate:Rectangle"
    kind: Literal["rectangle"]
    width: PositiveFloat = 1.0
    center: float = 0.0


class Triangle(Value):
    makes: ClassVar[str] = "bitspike.ops.surrogate:Triangle"
    kind: Literal["triangle"]
    width: PositiveFloat = 1.0
    height: PositiveFloat | None = None
    center: float = 0.0


class ArcTan(Value):
    makes: ClassVar[str] = "bitspike.ops.surrogate:ArcTan"
    kind: Literal["arctan"]
    alpha: PositiveFloat = 2.0
    center: float = 0.0


class Sigmoid(Value):
    makes: ClassVar[str] = "bitspike.ops.surrogate:Sigmoid"
    kind: Literal["sigmoid"]
    alpha: PositiveFloat = 4.0
    center: float = 0.0


class PiecewiseExponential(Value):
    makes: ClassVar[str] = "bitspike.ops.surrogate:PiecewiseExponential"
    kind: Literal["piecewise_exponential"]
    alpha: PositiveFloat = 2.0
    center: float = 0.0


Surrogate = Annotated[Rectangle | Triangle | ArcTan | Sigmoid | PiecewiseExponential, Field(discriminator="kind")]


class Membrane(Value):
    """In how few bits a neuron keeps its potential from step to step; see ``bs.Membrane``."""

    makes: ClassVar[str] = "bitspike.ops.membrane:Membrane"
    bits: Annotated[int, Field(ge=2, le=16)]
    step: PositiveFloat | None = None
    saturate: bool = True


class _Neuron(Value):
    unnamed: ClassVar[tuple[str, ...]] = ("membrane",)
    threshold: PositiveFloat = 1.0
    surrogate: Surrogate = ArcTan(kind="arctan")
    fire: Literal["ge", "gt"] = "ge"
    detach_reset: bool = False
    membrane: Membrane | None = None


class _Saturating(_Neuron):
    """A neuron whose potential may saturate: at ``potential_bits``, in steps of ``resolution``."""

    unnamed: ClassVar[tuple[str, ...]] = ("membrane", "potential_bits")
    potential_bits: Annotated[int, Field(ge=2, le=24)] | None = None


class IF(_Saturating):
    makes: ClassVar[str] = "bitspike.nn:IF"
    unnamed: ClassVar[tuple[str, ...]] = (*_Saturating.unnamed, "resolution")
    kind: Literal["if"]
    reset: Literal["soft", "hard"] = "soft"
    v_reset: float = 0.0
    initial: float = 0.0
    resolution: PositiveFloat | None = None


class LIF(_Saturating):
    makes: ClassVar[str] = "bitspike.nn:LIF"
    unnamed: ClassVar[tuple[str, ...]] = (*_Saturating.unnamed, "rounding")
    kind: Literal["lif"]
    decay: Fraction = 0.5
    reset: Literal["soft", "hard"] = "soft"
    leak: Literal["before", "after"] = "before"
    decay_input: bool = False
    v_reset: float = 0.0
    initial: float = 0.0
    resolution: PositiveFloat | None = None
    rounding: Literal["floor", "zero"] = "floor"


class PLIF(_Neuron):
    makes: ClassVar[str] = "bitspike.nn:PLIF"
    unnamed: ClassVar[tuple[str, ...]] = (*_Neuron.unnamed, "rounding")
    kind: Literal["plif"]
    tau: Annotated[float, Field(gt=1)] = 2.0
    reset: Literal["soft", "hard"] = "hard"
    leak: Literal["before", "after"] = "before"
    decay_input: bool = True
    detach_reset: bool = True
    v_reset: float = 0.0
    initial: float = 0.0
    rounding: Literal["floor", "zero"] = "floor"


class SignedIF(_Saturating):
    makes: ClassVar[str] = "bitspike.nn:SignedIF"
    unnamed: ClassVar[tuple[str, ...]] = (*_Saturating.unnamed, "resolution")
    kind: Literal["signed_if"]
    initial: float | None = None
    retract: NonNegativeFloat = 1e-3
    resolution: PositiveFloat | None = None


class SpikeTimeLIF(Value):
    """Learns by spike times (TSSL-BP); the surrogate is for neurons that have not fired lately."""

    makes: ClassVar[str] = "bitspike.nn:SpikeTimeLIF"
    unnamed: ClassVar[tuple[str, ...]] = ("membrane",)
    kind: Literal["spike_time_lif"]
    decay: Fraction = 0.8
    threshold: PositiveFloat = 1.0
    synapse_decay: Annotated[float, Field(ge=0, lt=1)] = 2 / 3
    steepest: PositiveFloat = 8.0
    surrogate: Surrogate = Sigmoid(kind="sigmoid", alpha=5.0)
    reach: PositiveFloat = 1.6
    fire: Literal["ge", "gt"] = "gt"
    initial: float = 0.0
    membrane: Membrane | None = None


class OwnNeuron(Own):
    makes: ClassVar[str] = "bitspike.nn:Neuron"
    section: ClassVar[str] = "neuron"


Neuron = Annotated[IF | LIF | PLIF | SignedIF | SpikeTimeLIF | OwnNeuron, Field(discriminator="kind")]
