"""What is drawn on axes, whoever they belong to: the page of a report, or the notebook of a user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.words import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Line = tuple[str, list[float], list[float]]


def lines_of(metrics: Sequence[Mapping[str, Any]], quantity: str) -> list[Line]:
    """Return ``train`` and ``validation`` with the epochs and the values of a quantity, as far as they are recorded.

    Args:
        metrics: one record per epoch with ``epoch``, ``train_<quantity>`` and ``validation_<quantity>``.
        quantity: ``loss``, or the metric of a task: a fraction, which becomes percent.

    Example:
        >>> lines_of([{"epoch": 1, "train_accuracy": 0.5}], "accuracy")
        [('train', [1.0], [50.0])]
    """
    scale = 1.0 if quantity == "loss" else 100.0
    lines: list[Line] = []
    for part in ("train", "validation"):
        points = [(known(row.get("epoch")), known(row.get(f"{part}_{quantity}"))) for row in metrics]
        pairs = [(x, scale * y) for x, y in points if x is not None and y is not None]
        if pairs:
            lines.append((part, [x for x, _ in pairs], [y for _, y in pairs]))
    return lines


def draw_curves(axes: Axes, lines: Sequence[Line], quantity: str) -> None:
    """Draw one quantity over the epochs, for training and validation."""
    looks = {"train": (PALETTE["second"], "--"), "validation": (PALETTE["accent"], "-")}
    names = {"train": "training", "validation": "validation"}
    for part, x, y in lines:
        color, dash = looks[part]
        marker = "o" if len(x) <= 12 else ""
        axes.plot(x, y, color=color, linestyle=dash, marker=marker, markersize=4, label=names[part])
    axes.set_xlabel("epoch")
    axes.set_ylabel(quantity if quantity == "loss" else f"{quantity} in %")
    axes.legend(loc="best", labelcolor=PALETTE["ink"])


def draw_by_step(
    axes: Axes, points: Sequence[tuple[int, float]], published: float | None = None, *, metric: str = "accuracy"
) -> None:
    """Draw the metric of a task in percent against the number of time steps, and a published figure as a fraction."""
    few = len(points) <= 12
    axes.plot(*zip(*points, strict=True), color=PALETTE["accent"], marker="o" if few else "", markersize=5)
    if published is not None:
        axes.axhline(100 * published, color=PALETTE["second"], linestyle="--", linewidth=1.5, label="published")
        axes.legend(loc="lower right", labelcolor=PALETTE["ink"])
    if few:
        axes.set_xticks([t for t, _ in points])
    axes.margins(y=0.12)
    last = points[-1]
    axes.annotate(f"{last[1]:.2f}", last, xytext=(0, 7), textcoords="offset points", ha="center")
    axes.set_xlabel("time steps")
    axes.set_ylabel(f"test {metric} in %")
