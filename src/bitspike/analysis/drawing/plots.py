"""Curves as SVG text: plain to read, the same bytes for the same numbers, legible on light and dark paper.

matplotlib is imported only when something is drawn, and pyplot never: no window system, no figure registry. Colors
are written as CSS variables with the light color as fallback, so a page can restyle them and a lone file still
looks right. Text stays text: it takes the font of the page, can be searched and costs a few bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitspike.analysis.drawing.axes import draw_by_step, draw_curves, lines_of
from bitspike.analysis.drawing.markup import escape
from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.drawing.words import known

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = (4.6, 2.75)  # inches; 72 units each, so 11 pt text is still readable at the width of a phone
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.edgecolor": PALETTE["line"],
    "axes.labelcolor": PALETTE["soft"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": PALETTE["line"],
    "grid.linewidth": 0.8,
    "xtick.color": PALETTE["line"],
    "ytick.color": PALETTE["line"],
    "xtick.labelcolor": PALETTE["soft"],
    "ytick.labelcolor": PALETTE["soft"],
    "text.color": PALETTE["ink"],
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "lines.solid_capstyle": "round",
}


def curves(metrics: Sequence[Mapping[str, Any]], quantity: str) -> str | None:
    """Draw one quantity over the epochs, for training and validation.

    Args:
        metrics: one record per epoch with ``epoch``, ``train_<quantity>`` and ``validation_<quantity>``.
        quantity: ``loss``, or the metric of a task, such as ``accuracy``: a fraction, which is drawn in percent.

    Returns:
        An ``<svg>`` element, or None where no record has the quantity.
    """
    if not (lines := lines_of(metrics, quantity)):
        return None
    label = f"{quantity} over {len(metrics)} epochs"
    return drawn(lambda axes: draw_curves(axes, lines, quantity), label, key=f"curves {quantity}")


def by_step(values: Sequence[float | None], published: float | None = None, *, metric: str = "accuracy") -> str | None:
    """Draw the metric of a task against the number of time steps; None for fewer than two steps, which are no curve.

    Args:
        values: the metric on the test set as a fraction, after 1, 2, ... steps.
        published: a figure to compare with, drawn as a dashed line.
        metric: its name.
    """
    steps = [(t, known(value)) for t, value in enumerate(values, start=1)]
    points = [(t, 100 * value) for t, value in steps if value is not None]
    if len(points) < 2:
        return None

    label = f"test {metric} after 1 to {len(values)} time steps"
    return drawn(lambda axes: draw_by_step(axes, points, published, metric=metric), label, key="by step")


def exits(
    curves: Mapping[str, Sequence[tuple[float, float]]], *, metric: str = "accuracy", key: str = "exits"
) -> str | None:
    """Draw the metric against the mean number of steps, a line for each rule of early exit; None without points.

    Args:
        curves: by the name of a rule, pairs of mean steps and the metric as a fraction, fewest steps first.
        metric: its name.
        key: of the figure's ids.
    """
    lines = {name: points for name, points in curves.items() if points}
    if not lines:
        return None
    looks = (("accent", "-", "o"), ("second", "--", "s"), ("soft", ":", "^"))

    def draw(axes: Axes) -> None:
        for (name, points), (color, dash, marker) in zip(lines.items(), looks, strict=False):
            x, y = [t for t, _ in points], [100 * value for _, value in points]
            axes.plot(x, y, color=PALETTE[color], linestyle=dash, marker=marker, markersize=4, label=name)
        axes.margins(y=0.12)
        axes.set_xlabel("steps of a sample, in the mean")
        axes.set_ylabel(f"test {metric} in %")
        axes.legend(loc="lower right", labelcolor=PALETTE["ink"])

    return drawn(draw, f"test {metric} against the mean number of steps", key=key)


def over_time(layers: Mapping[str, Sequence[float]], quantity: str, *, epsilon: float | None = None) -> str | None:
    """Draw one quantity of every layer against the time steps; None where there is no layer of two steps or more.

    Args:
        layers: by path, the values at steps 1, 2, ..., T; the first layer is drawn darkest.
        quantity: its name.
        epsilon: a value to compare with, drawn as a dashed line.
    """
    lines = {path: values for path, values in layers.items() if len(values) > 1}
    if not lines:
        return None

    def draw(axes: Axes) -> None:
        for index, (path, values) in enumerate(lines.items()):
            shade = 1.0 - 0.75 * index / max(len(lines) - 1, 1)
            named = path if len(lines) <= 4 or index in (0, len(lines) - 1) else None
            axes.plot(range(1, len(values) + 1), values, color=PALETTE["accent"], alpha=shade, label=named)
        if epsilon is not None:
            axes.axhline(epsilon, color=PALETTE["second"], linestyle="--", linewidth=1.5, label=f"epsilon {epsilon:g}")
        axes.set_xlabel("time step")
        axes.set_ylabel(quantity)
        axes.legend(loc="best", labelcolor=PALETTE["ink"])

    return drawn(draw, f"{quantity} of {len(lines)} layers over time", key=f"over time {quantity}")


def drawn(draw: Callable[[Axes], None], label: str, *, key: str, size: tuple[float, float] = _SIZE) -> str:
    """Return what a function draws as an ``<svg>`` element in the style of all figures.

    Args:
        draw: gets the axes.
        label: says for those who do not see it what the figure shows.
        key: of the figure's ids; figures of one page have different ones.
        size: width and height in inches.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context():
        mpl.rcdefaults()  # the user's own style file must not reach a report
        mpl.rcParams.update(_STYLE | {"svg.hashsalt": key})
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
        draw(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
        return _tidy(out.getvalue(), label)


def _tidy(svg: str, label: str) -> str:
    """Make a matplotlib file an element of a page: no prolog, no page-wide ids, colors and font of the page."""
    svg = svg[svg.index("<svg") :].strip()
    # A hundredth of a point is below every screen; what is written between tags is for people, and stays.
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d+\.\d\d)\d+", r"\1", tag[0]), svg)
    box = re.search(r'viewBox="[^"]*"', svg)
    assert box is not None
    svg = re.sub(
        r"<svg[^>]*>",
        f'<svg xmlns="http://www.w3.org/2000/svg" {box[0]} role="img" aria-label="{escape(label)}">',
        svg,
        count=1,
    )
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # groups are never referred to; two figures would share their names
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"xlink:href", "href", svg)
    for name, color in PALETTE.items():
        svg = svg.replace(color, f"var(--{name}, {color})")
    return re.sub(r"\n\s*", "\n", svg)
