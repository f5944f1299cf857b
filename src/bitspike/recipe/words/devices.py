"""Memory devices in recipes: how the weights that they hold vary, and pruning."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from bitspike.recipe.words.value import Fraction, Share, Value

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Variation(Value):
    """Fresh draws in every training step; with ``fixed`` one chip, that of ``seed``, in evaluation too."""

    unnamed: ClassVar[tuple[str, ...]] = ("seed", "active_in_eval", "resolution")

    seed: NonNegativeInt | None = None
    fixed: bool = False
    active_in_eval: bool | None = None
    resolution: Annotated[int, Field(ge=2, le=15)] | None = None


class Lognormal(_Variation):
    makes: ClassVar[str] = "bitspike.weights:Lognormal"
    kind: Literal["lognormal"]
    sigma: Number


class RRAM(_Variation):
    """Log-normal variation as it was measured for cells of so many bits, its sigma times ``scale``."""

    makes: ClassVar[str] = "bitspike.weights:Lognormal.for_bits"
    kind: Literal["rram"]
    bits: Literal[1, 2, 3, 4, 8]
    scale: Number = 1.0


class RRAMByLevel(_Variation):
    """The same with a sigma for every level."""

    makes: ClassVar[str] = "bitspike.weights:LevelLognormal.for_bits"
    kind: Literal["rram_by_level"]
    bits: Literal[1, 2, 3, 4]
    scale: Number = 1.0


class StuckAt(_Variation):
    makes: ClassVar[str] = "bitspike.weights:StuckAt"
    kind: Literal["stuck_at"]
    low: Fraction = 0.0
    high: Fraction = 0.0


class Drift(_Variation):
    makes: ClassVar[str] = "bitspike.weights:Drift"
    kind: Literal["drift"]
    seconds: Number
    nu: NonNegativeFloat = 0.05
    spread: NonNegativeFloat = 0.0
    reference: PositiveFloat = 20.0


class PCMDrift(_Variation):
    makes: ClassVar[str] = "bitspike.weights:PCMDrift"
    kind: Literal["pcm_drift"]
    seconds: Number
    scale: Number = 1.0


Part = Annotated[Lognormal | RRAM | RRAMByLevel | StuckAt | Drift | PCMDrift, Field(discriminator="kind")]


class Combined(_Variation):
    """Several effects in turn; seed, chip and resolution are those of the whole."""

    makes: ClassVar[str] = "bitspike.weights.devices.combined:combined"
    kind: Literal["combined"]
    parts: Annotated[tuple[Part, ...], Field(min_length=1)]


Variation = Annotated[
    Lognormal | RRAM | RRAMByLevel | StuckAt | Drift | PCMDrift | Combined, Field(discriminator="kind")
]


class GroupLasso(Value):
    """Pruning of what trains; the first layer of the network is left alone unless ``first``."""

    makes: ClassVar[str] = "bitspike.weights:GroupLasso"

    strength: Number = 1e-4
    group: PositiveInt = 16
    cap: PositiveFloat = 1.0
    threshold: Share = 0.005
    first: bool = False
