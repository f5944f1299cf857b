"""What networks in memory devices reach against what they cost: points, those that no other one beats, their figure."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from bitspike.analysis.chips.statistics import Figure
from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.plots import drawn
from bitspike.files import write_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULT, TABLE, FIGURE = "pareto.json", "pareto.csv", "pareto.svg"
By = Literal["energy", "area", "bits"]
COSTS: tuple[By, ...] = get_args(By)
_AXES = {
    "energy": ("energy of reading the weights, nJ per sample", 1e-3),
    "area": ("area of cells and SRAM, million squares of the feature size", 1e-6),
    "bits": ("bits in cells and in SRAM, thousand", 1e-3),
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One network: what it costs, and what its chips reach.

    Args:
        network: its run folder, or another name.
        cells: that hold its weights.
        device_size, sram_size: bits in cells, and in SRAM.
        area_f2: of both, squares of the feature size.
        energy_pj: of reading the weights for one sample, pJ.
        accuracy: of its chips in the mean, a fraction; of a network that does not vary its accuracy.
        low, high: the 95 % interval of that mean; None for one chip, or where nothing varies.
        worst: the accuracy of the worst chip that was measured.
        ideal: without variation.
        chips: that were measured; 0 where nothing varies.
    """

    network: str
    cells: int
    device_size: int
    sram_size: int
    area_f2: float
    energy_pj: float
    accuracy: float
    low: float | None = None
    high: float | None = None
    worst: float | None = None
    ideal: float
    chips: int = 0

    def cost(self, by: By) -> float:
        """Return one of the costs: energy in pJ, area in squares of the feature size, or bits."""
        return {"energy": self.energy_pj, "area": self.area_f2, "bits": self.device_size + self.sram_size}[by]

    def __str__(self) -> str:
        reached = Figure(self.accuracy, self.low, self.high)
        chips = f"mean of {self.chips:,} chips" if self.chips else "nothing varies"
        size = f"{self.cells:,} cells, {self.sram_size:,} bits of SRAM"
        return f"{reached}, {chips}; {self.energy_pj / 1e3:,.1f} nJ, {size}"


def front(points: Sequence[Point], by: By = "energy") -> list[Point]:
    """Return the points that no other one beats, the cheapest first.

    A point beats another if it costs no more and is at least as accurate, and is better in one of the two.

    Example:
        >>> rest = {"cells": 0, "device_size": 0, "sram_size": 0, "area_f2": 0.0, "ideal": 1.0}
        >>> values = [("a", 3.0, 0.9), ("b", 1.0, 0.8), ("c", 2.0, 0.7)]
        >>> points = [Point(network=n, energy_pj=e, accuracy=a, **rest) for n, e, a in values]
        >>> [point.network for point in front(points)]
        ['b', 'a']
    """

    def beats(a: Point, b: Point) -> bool:
        cheaper, better = b.cost(by) - a.cost(by), a.accuracy - b.accuracy
        return cheaper >= 0 and better >= 0 and cheaper + better > 0

    kept = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(kept, key=lambda point: (point.cost(by), point.network))


@dataclass(frozen=True, kw_only=True)
class Pareto:
    """Networks by cost and accuracy.

    Args:
        by: the cost that is compared.
        metric: what ``accuracy`` is, ``accuracy`` for classes.
        data, samples: on which it was measured.
        devices, table: the technologies of cells, and of SRAM and additions.
        points: of all networks, in the order in which they were named.
        folder: where the result is written; None where it is not.
    """

    by: By
    metric: str
    data: str
    samples: int
    devices: str
    table: str
    points: tuple[Point, ...]
    folder: str | None = None

    @property
    def front(self) -> list[Point]:
        """The points that no other one beats, the cheapest first."""
        return front(self.points, self.by)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            **{name: value for name, value in vars(self).items() if name != "points"},
            "points": [asdict(point) for point in self.points],
            "front": [point.network for point in self.front],
        }

    def __str__(self) -> str:
        best, wide = self.front, max(len(point.network) for point in self.points)
        tables = f"{self.devices}, {self.table}"
        lines = [f"{self.metric} on {self.samples:,} samples of {self.data} against {self.by} ({tables})"]
        lines += [
            f"  {'*' if point in best else ' '} {point.network:<{wide}}  {point}"
            for point in sorted(self.points, key=lambda point: point.cost(self.by))
        ]
        lines.append("  * on the front: every other one costs more or reaches less")
        if self.folder is not None:
            lines.append(f"  figure {Path(self.folder) / FIGURE}, table {Path(self.folder) / TABLE}")
        return "\n".join(lines)


def picture(result: Pareto) -> str:
    """Draw the networks by cost and accuracy, with the front as a line, as an ``<svg>`` element."""
    label, unit = _AXES[result.by]
    best, names = result.front, short_names([point.network for point in result.points])

    def draw(axes: Axes) -> None:
        x, y = [unit * point.cost(result.by) for point in best], [100 * point.accuracy for point in best]
        axes.step(x, y, where="post", color=PALETTE["soft"], linestyle=":", linewidth=1.5, label="front")
        order = sorted(zip(result.points, names, strict=True), key=lambda pair: pair[0].cost(result.by))
        for number, (point, name) in enumerate(order):
            place = unit * point.cost(result.by), 100 * point.accuracy
            color = PALETTE["accent" if point in best else "second"]
            if point.low is not None and point.high is not None:
                axes.plot([place[0]] * 2, [100 * point.low, 100 * point.high], color=color, linewidth=1.5)
            axes.plot(*place, color=color, marker="o" if point in best else "s", markersize=6, linestyle="")
            above = number % 2 == 0  # neighbors have their names on different sides
            axes.annotate(name, place, xytext=(6, 5 if above else -14), textcoords="offset points")
        axes.margins(x=0.25, y=0.15)
        axes.locator_params(axis="x", integer=False)
        axes.set_xlabel(label)
        axes.set_ylabel(f"test {result.metric} in %")
        axes.legend(loc="best", labelcolor=PALETTE["ink"])

    text = f"test {result.metric} of {len(result.points)} networks against {label}"
    return drawn(draw, text, key=f"pareto {result.by}", size=(6.2, 3.6))


def short_names(names: Sequence[str]) -> list[str]:
    """Return the last parts of folders, as many as tell them apart.

    Example:
        >>> short_names(["runs/memory/varied", "runs/memory/pruned"]), short_names(["a/x", "b/x"])
        (['varied', 'pruned'], ['a/x', 'b/x'])
    """
    parts = [Path(name).parts or (name,) for name in names]
    for count in range(1, max(map(len, parts), default=0) + 1):
        shown = ["/".join(part[-count:]) for part in parts]
        if len(set(shown)) == len(set(names)):
            return shown
    return list(names)


def write(result: Pareto, folder: Path) -> None:
    """Write the result as JSON, its points as CSV, and its figure as SVG."""
    table, best = io.StringIO(), result.front
    rows = csv.writer(table, lineterminator="\n")
    names = [field.name for field in fields(Point)]
    rows.writerow([*names, "front"])
    rows.writerows([*(getattr(point, name) for name in names), int(point in best)] for point in result.points)
    write_whole(folder / TABLE, table.getvalue())
    write_whole(folder / FIGURE, picture(result) + "\n")
    write_whole(folder / RESULT, json.dumps(result.to_dict(), indent=1) + "\n")
