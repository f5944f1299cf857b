"""The axes that a figure is drawn on: those of the user, or new ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.errors import ConstraintError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def axes_for(ax: Any, size: tuple[float, float] = (6.4, 3.6)) -> Axes:
    """Return the axes of the user, or those of a new figure of ``size`` inches, which a notebook shows by itself.

    Raises:
        ConstraintError: ``ax`` is something else, such as an array of axes.
    """
    from matplotlib.axes import Axes

    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(figsize=size, layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise ConstraintError(
            f"ax= is a {type(ax).__name__}, needed is one matplotlib Axes", fix="ax=None, or figure.subplots()"
        )
    return ax


def time_axis(axes: Axes, steps: int) -> None:
    """Let the x axis count the time steps from 1."""
    axes.set_xlim(0.5, steps + 0.5)
    whole_numbers(axes)
    axes.set_xlabel("time step")


def whole_numbers(axes: Axes) -> None:
    """Let the ticks of the x axis be whole numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))


def legend_above(axes: Axes, handles: Sequence[Any]) -> None:
    """Put a legend in one row above the axes, where it hides nothing."""
    axes.legend(
        handles=list(handles), loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), frameon=False,
        labelcolor=PALETTE["ink"], borderaxespad=0.2,
    )  # fmt: skip
