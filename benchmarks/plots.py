"""Figures of docs/performance.md, as SVG: the same bytes for the same lines and the same matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.lines import Line
from bitspike.analysis.drawing.plots import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bitspike",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": PALETTE["soft"],
    "axes.labelcolor": PALETTE["ink"],
    "xtick.color": PALETTE["soft"],
    "ytick.color": PALETTE["soft"],
    "legend.frameon": False,
    "savefig.transparent": False,
}


def targets(lines: Sequence[Line]) -> str | None:
    """Draw how far every target was reached, the target itself being 1; None where nothing was measured."""
    bars = [
        (f"{line['case']}, {line['group']}: {line['variant']} / {c['against'] or 'bound'}", _share(c), c["met"])
        for line in lines
        for c in line["comparisons"]
        if c["target"] is not None
    ]
    if not bars:
        return None

    def draw(axes: Sequence[Axes]) -> None:
        (ax,) = axes
        names, shares, met = zip(*reversed(bars), strict=True)
        ax.barh(names, shares, color=[PALETTE["accent"] if m else PALETTE["second"] for m in met])
        ax.axvline(1.0, color=PALETTE["ink"], linewidth=1)
        ax.set_xlabel("reached ÷ asked (blue: reached, orange: missed)")

    return svg(draw, columns=1, size=(9.0, 0.8 + 0.28 * len(bars)))


def growth(lines: Sequence[Line]) -> str | None:
    """Draw time and memory of a training step over T; None where the case was not measured."""
    points: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for line in lines:
        if line["case"] == "growth":
            library, _, steps = line["variant"].rpartition(" T=")
            points.setdefault((line["group"], library), []).append((int(steps), line["median"]))
    if not points:
        return None
    looks = {
        "Bitspike": (PALETTE["accent"], "-"),
        "Bitspike, spikes as bits": (PALETTE["accent"], "-."),
        "Bitspike, layers run again": (PALETTE["accent"], ":"),
        "SpikingJelly": (PALETTE["second"], "--"),
    }

    def draw(axes: Sequence[Axes]) -> None:
        for ax, (group, label) in zip(axes, (("time", "seconds per step"), ("memory", "MB")), strict=True):
            for (where, library), pairs in points.items():
                if where == group:
                    color, dash = looks[library]
                    ax.plot(*zip(*sorted(pairs), strict=True), dash, color=color, marker="o", label=library)
            ax.set_xscale("log", base=2)
            ax.set_yscale("log", base=2)
            ax.set_xlabel("T")
            ax.set_ylabel(label)
            ax.legend(loc="best")

    return svg(draw, columns=2, size=(8.0, 3.2))


@dataclass(frozen=True)
class Figure:
    """A file, the part of the document that shows it, what is said of it, and what draws it."""

    name: str
    part: str
    words: str
    draw: Callable[[Sequence[Line]], str | None]


FIGURES = (
    Figure("targets.svg", "targets", "How far every target was reached", targets),
    Figure("growth.svg", "growth", "Time and memory of a training step over T", growth),
)


def _share(comparison: Line) -> float:
    ratio, target = comparison["ratio"], comparison["target"]
    return float(ratio / target if comparison["sense"] == "at least" else target / ratio)


def svg(draw: Callable[[Sequence[Axes]], None], *, columns: int, size: tuple[float, float]) -> str:
    """Return a figure as SVG text that is the same for the same drawing."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        draw([figure.add_subplot(1, columns, place + 1) for place in range(columns)])
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
