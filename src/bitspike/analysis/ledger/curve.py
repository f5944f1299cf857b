"""A spiking network after 1, 2, 4, ... steps, and the notes on a ledger that a reader must not overlook."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

from torch import Tensor, fx

from bitspike.analysis.ledger.advice import by_chance
from bitspike.analysis.ledger.parts import Gap, Point
from bitspike.analysis.ledger.spikes import run_once
from bitspike.conversion.result import Conversion, conversion_of, spiking_part
from bitspike.nn import set_steps
from bitspike.tasks.task import Task, judged


class Curve:
    """The network after 1, 2, 4, ... steps, up to twice as many as it was made for."""

    def __init__(self, conversion: Conversion, spiking: fx.GraphModule, task: Task) -> None:
        self.conversion, self.task = conversion, task
        settings = conversion.settings
        most = settings.steps if settings.coding == "events" else 2 * settings.steps
        self.steps = sorted({2**i for i in range(most.bit_length()) if 2**i <= most} | {settings.steps, most})
        self.errors = {t: [0.0] * len(conversion.core.ops[-1].inputs) for t in self.steps}
        self.floats = [0.0] * len(conversion.core.ops[-1].inputs)
        self.right: dict[int, float] = dict.fromkeys(self.steps, 0.0)
        # What happens at a step does not depend on how many follow, so one run tells all of them.
        once = settings.schedule == "synchronous" and settings.coding in ("direct", "events")
        self.most = most if once else 0
        if once:
            self.networks = [(spiking, conversion)]
        else:
            built = [conversion.build(steps=t) for t in self.steps]
            self.networks = [(spiking_part(network), conversion_of(network)) for network in built]

    def add(
        self,
        entries: tuple[Tensor, ...],
        truth: Sequence[Tensor],
        inputs: tuple[Tensor, ...],
        labels: Tensor | None,
    ) -> None:
        """Run one batch."""
        self.floats = [s + float(a.double().square().sum()) for s, a in zip(self.floats, truth, strict=True)]
        if self.most:
            (network,) = self.networks
            repeats = network[1].settings.coding == "direct"
            with set_steps(network[0], self.most) if repeats else nullcontext():
                after = run_once(*network, entries, steps_at=self.steps).partial
        else:
            after = {t: run_once(*built, entries).outputs for t, built in zip(self.steps, self.networks, strict=True)}
        for t, outputs in after.items():
            for n, (value, a) in enumerate(zip(outputs, truth, strict=True)):
                self.errors[t][n] += float((value.double() - a.double()).square().sum())
            right = None if labels is None else judged(self.task, self.conversion.results(outputs, *inputs), labels)
            self.right[t] += 0.0 if right is None else float(right.sum())

    def points(self, labelled: int) -> tuple[Point, ...]:
        """Return the curve."""
        points = []
        for t in self.steps:
            # Every output weighs the same: squared errors are relative to the output's own float values.
            squares = [e / (a or e or 1.0) for e, a in zip(self.errors[t], self.floats, strict=True)]
            accuracy = self.right[t] / labelled if labelled else None
            points.append(Point(steps=t, accuracy=accuracy, error=(sum(squares) / len(squares)) ** 0.5))
        return tuple(points)


def notes(
    output: Gap,
    curve: Sequence[Point],
    *,
    lossy: bool,
    samples: int = 0,
    changed: tuple[int, int] = (0, 0),
    metric: str = "accuracy",
) -> tuple[str, ...]:
    """Say what a reader must not overlook.

    Args:
        output, curve: the gap of the outputs, and the network after more and more steps.
        lossy: the neurons reset to zero.
        samples: how many had labels; of these, ``changed`` right answers were lost and won against the float network.
        metric: name of what ``Point.accuracy`` holds.
    """
    said, chance = [], bool(samples) and by_chance(*changed)
    if lossy:
        said.append(
            "lossy: a reset to zero loses what exceeds the threshold. Formula (*), the split of time into truncation "
            "and unevenness, and counts that differ from (*) are not applicable; no number of steps makes it exact."
        )
    if output.dominant == "weights" and output["weights"].share >= 0.5:
        way = "" if chance else " Fine-tune (bs.prepare, bs.finish) or use more bits; a larger T will not help."
        said.append(f"weight rounding dominates: {output['weights'].share:.0%} of the gap.{way}")
    if (falls := rises_then_falls(curve, samples=samples)) is not None:
        best, last = falls
        said.append(
            f"rises then falls: best at T = {best.steps} ({_said(best, metric)}), worse at T = {last.steps} "
            f"({_said(last, metric)}). "
            "Lambda is too small for many steps: threshold=bs.PercentileThreshold(...) with a higher percentile."
        )
    if chance:
        said.append(
            f"{metric}: {changed[0]} of {samples} right answers were lost and {changed[1]} won, which is within the "
            "error of so small a sample; nothing is advised."
        )
    return tuple(said)


def _said(point: Point, metric: str) -> str:
    return f"error {point.error:.2%}" if point.accuracy is None else f"{metric} {point.accuracy:.2%}"


def rises_then_falls(
    curve: Sequence[Point], tolerance: float = 0.01, *, samples: int = 0
) -> tuple[Point, Point] | None:
    """Return the best and the last point of a curve that has become worse again, or None.

    Args:
        curve: by number of steps, ascending.
        tolerance: by how much accuracy must have fallen, or the relative error have grown where there are no labels.
        samples: that accuracy was measured on; a fall within two standard errors of them is none. 0 takes it as exact.

    Example:
        >>> points = [Point(steps=t, accuracy=a, error=0.1) for t, a in ((1, 0.5), (2, 0.9), (4, 0.8))]
        >>> [point.steps for point in rises_then_falls(points)]
        [2, 4]
    """
    if len(curve) < 2:
        return None
    last = curve[-1]
    known = [p for p in curve if p.accuracy is not None]
    if len(known) == len(curve):
        best = max(known, key=lambda p: cast(float, p.accuracy))
        high, low = cast(float, best.accuracy), cast(float, last.accuracy)
        fallen = high - low
        if samples:
            tolerance = max(tolerance, 2 * ((high * (1 - high) + low * (1 - low)) / samples) ** 0.5)
    else:
        best = min(curve, key=lambda p: p.error)
        fallen = last.error - best.error
    return (best, last) if fallen > tolerance and best.steps < last.steps else None
