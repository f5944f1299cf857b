"""The accuracies of many chips as a figure: how many chips reach at least so much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.plots import drawn

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def yield_curve(
    accuracies: Sequence[float], *, ideal: float | None, required: float | None, metric: str = "accuracy"
) -> str:
    """Draw the share of chips that reach at least an accuracy, against that accuracy, as an ``<svg>`` element.

    Args:
        accuracies: by chip, fractions; at least one.
        ideal: of the network without variation, a dashed line.
        required: an accuracy that chips should reach, a dotted line.
        metric: the name of the quantity.
    """
    ordered = sorted(accuracies)
    shares = [100 * (len(ordered) - place) / len(ordered) for place in range(len(ordered))]

    def draw(axes: Axes) -> None:
        axes.step([100 * value for value in ordered], shares, where="pre", color=PALETTE["accent"], label="chips")
        for value, name, dash in ((ideal, "without variation", "--"), (required, "required", ":")):
            if value is not None:
                axes.axvline(100 * value, color=PALETTE["second"], linestyle=dash, linewidth=1.5, label=name)
        axes.set_ylim(0, 104)
        axes.set_xlabel(f"test {metric} in %")
        axes.set_ylabel("chips that reach it in %")
        axes.legend(loc="lower left", labelcolor=PALETTE["ink"])

    return drawn(draw, f"share of {len(ordered)} chips by test {metric}", key="yield")
