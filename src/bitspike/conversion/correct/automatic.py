"""What ``correct="auto"`` does: the corrections that were measured to be worth their time, or none.

The measurements are in docs/conversion-results.md: plain IF neurons lose most by spikes that come unevenly, and least
squares and another initial potential take most of that back. Every sample that is measured costs about 3 T passes, so
that small and middling networks spend more time here than in the calibration; ``WORK`` is the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, cast

from bitspike.conversion.construct.records import Shifts
from bitspike.conversion.correct.walk import kinds_of
from bitspike.conversion.settings import Corrections, Kind, Settings
from bitspike.errors import ConstraintError
from bitspike.graph.ir import Graph

CHOSEN: tuple[Kind, ...] = ("least_squares", "potential")
SIGNED: tuple[Kind, ...] = ("potential",)
"""For neurons that take spikes back, which leave nothing to weights."""
MOST, LEAST = 256, 8
"""Samples that corrections are measured on at most, and below how many nothing is corrected unasked."""
WORK = 2**30
"""Activations over all samples and steps that are always measured; more only where the calibration took as long."""
HELD = 2**29
"""Bytes that the spikes of one layer may take where more than ``WORK`` is measured."""
OTHERS = (
    'schedule="layerwise" where latency matters little, correct="advanced" where time matters little, '
    "correct=None for nothing"
)
SIGNED_NEURON = "neuron=bs.SignedIF where spikes of -1 can be sent"
TRAINED = "bs.tune_layers before the conversion, or bs.fit of bs.spiking_twin"
"""What is done in place of a correction where the activations have learned their levels."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is corrected, on how many samples, and why.

    Args:
        kinds: in order; empty for nothing.
        samples: how many to measure on; 0 where the corrections are there already.
        automatic: whether it was left to the conversion.
        why: a clause without a full stop.
        short: whether there was too little data, or too much work, for what would have been chosen.
        others: what else there is; empty where the choice was the user's.
    """

    kinds: tuple[Kind, ...] = ()
    samples: int = 0
    automatic: bool = True
    why: str
    short: bool = False
    others: str = OTHERS

    @property
    def measured(self) -> bool:
        """Whether something is to be corrected still."""
        return bool(self.kinds) and self.samples > 0

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the warning W209 where nothing is corrected and something should be."""
        return (f"W209: nothing is corrected: {self.why}",) if self.short else ()

    def manifest(self) -> dict[str, Any]:
        """Return it as plain values."""
        others = {"others": self.others} if self.automatic else {}
        return {"kinds": list(self.kinds), "samples": self.samples, "chosen": self.automatic, "why": self.why, **others}


def choose(
    asked: Corrections | Literal["auto"] | None,
    core: Graph,
    settings: Settings,
    *,
    valued: bool,
    samples: int,
    learned: bool = False,
    kept: Shifts = Shifts(),
) -> Choice:
    """Decide what is corrected.

    Args:
        asked: the argument ``correct``; what it names is done, and ``None`` is nothing.
        core: the float graph of the spiking part.
        valued: whether the values of spikes were given, so that there is no calibration.
        samples: how many there are to measure on.
        learned: whether neurons count the levels that activations were trained with.
        kept: corrections that came with the values.

    Raises:
        ConstraintError: there is no such correction, or none for this input.

    Example:
        >>> from bitspike.graph.ir import Op
        >>> relu = Op(id="relu", kind="relu", path="relu", inputs=("x",), shape=(16, 32, 32), attrs={"clip": None})
        >>> core = Graph((relu,), {})
        >>> choice = choose("auto", core, Settings(steps=32), valued=False, samples=1024)
        >>> choice.kinds, choice.samples
        (('least_squares', 'potential'), 256)
        >>> choose("auto", core, Settings(steps=32), valued=False, samples=4).notes[0][:44]
        'W209: nothing is corrected: there are 4 samp'
        >>> choose(None, core, Settings(steps=32), valued=False, samples=4).notes
        ()
    """
    if asked is None:
        return Choice(automatic=False, why="correct=None")
    if asked != "auto":
        if settings.coding == "events":
            raise ConstraintError(
                f"convert(coding='events', correct={asked!r}): corrections are measured on values of the input, and "
                "events are no values",
                fix="correct=None",
            )
        return Choice(kinds=kinds_of(asked), samples=min(samples, MOST), automatic=False, why=f"correct={asked!r}")
    saved = {"weights": kept.weights, "bias": kept.bias, "potential": kept.initial}
    if any(saved.values()):
        kinds = cast(tuple[Kind, ...], tuple(kind for kind, values in saved.items() if values))
        return Choice(kinds=kinds, automatic=False, why="as the state holds them")
    if valued:
        return Choice(why="the values of spikes are given, by hand or by fine-tuning, and stay as they are")
    if learned:
        return Choice(
            why="neurons count the levels that the activations were trained with, and a correction moves them",
            others=TRAINED if settings.neuron.signed else f"{SIGNED_NEURON}, {TRAINED}",
        )
    if settings.schedule == "layerwise":
        return Choice(why="layer by layer no spike comes unevenly")
    if settings.coding in ("bernoulli", "events"):
        return Choice(why=f"coding={settings.coding!r} has no input that can be repeated to measure on")
    number = min(samples, MOST, affordable(core, settings.steps, samples=samples))
    if samples < LEAST:
        return Choice(why=f"there are {samples} samples to measure on, and {LEAST} are needed", short=True)
    if number < LEAST:
        return Choice(
            why=f"over {settings.steps} steps so large a network takes too long, or too much memory, to do it unasked; "
            f"correct={CHOSEN!r} does it",
            short=True,
        )
    if settings.neuron.signed:
        return Choice(kinds=SIGNED, samples=number, why="what spikes of -1 do not take back is a mean")
    others = f"{SIGNED_NEURON}, {OTHERS}"
    return Choice(kinds=CHOSEN, samples=number, why="IF neurons lose most by spikes that come unevenly", others=others)


def affordable(core: Graph, steps: int, *, samples: int) -> int:
    """Return on how many samples corrections can be measured without taking much longer than the calibration.

    Each sample runs T steps about three times. Small networks are measured on as many as ``WORK`` allows; large ones
    so that this is at most 1.5 times what the calibration has run already, if the largest layer's spikes fit into
    ``HELD``.

    Example:
        >>> from bitspike.graph.ir import Op
        >>> relu = Op(id="relu", kind="relu", path="relu", inputs=("x",), shape=(64, 112, 112), attrs={"clip": None})
        >>> affordable(Graph((relu,), {}), 32, samples=1024), affordable(Graph((relu,), {}), 32, samples=64)
        (41, 41)
    """
    sizes = [math.prod(op.shape) for op in core if op.kind == "relu"] or [1]
    return max(WORK // (sum(sizes) * steps), min(samples // (2 * steps), HELD // (max(sizes) * steps)))
