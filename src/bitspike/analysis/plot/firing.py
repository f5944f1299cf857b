"""Which neurons fire when, and how much every layer fires: spikes of +1 and of -1 told apart by color and by form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.plot.canvas import axes_for, legend_above, time_axis
from bitspike.analysis.plot.observed import Layer, evenly, is_whole, observed, sample_of
from bitspike.arguments import checked, checked_last
from bitspike.errors import ConstraintError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.simulate import Trace
from bitspike.patterns import Patterns

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FINE = 4
"""Rows of the picture per neuron: a spike of +1 takes three of them, one of -1 the middle one."""
_WIDE = 6
"""Columns of the picture per time step, of which the last one stays empty; one where there are many steps."""
_MANY = 64
_GAP = 2
"""Empty neurons between two layers."""


@checked_last
def raster(
    what: nn.Module | IntegerNetwork | Trace,
    inputs: Any = None,
    *,
    layers: Patterns = "*",
    sample: int = 0,
    neurons: int = 64,
    ax: Axes | None = None,
) -> Axes:
    """Draw when the neurons of a network fire: a column per time step, a row per neuron, one layer below the other.

    A spike of +1 is a blue bar; a spike of -1, which signed neurons send, a thin red one.

    Args:
        what: a spiking network, an integer network, or the trace of a run.
        inputs: what the network takes; leave it out for a trace.
        layers: glob patterns of the layers to draw, such as ``"layer1.*"``.
        sample: which sample of the inputs, from 0.
        neurons: at most so many of each layer are drawn, at even distances.
        ax: the axes to draw on; None makes new ones.

    Returns:
        the axes.

    Raises:
        ConstraintError: an argument is something else, or a pattern matches no layer.

    Example:
        >>> import torch, bitspike as bs
        >>> model = nn.Sequential(bs.Repeat(steps=4), bs.IF(threshold=1.0))
        >>> bs.plot.raster(model, torch.tensor([[0.25, 0.5, 1.0]])).get_xlabel()
        'time step'
    """
    if not is_whole(neurons) or neurons < 1:
        raise ConstraintError(f"neurons={neurons!r}: a whole number of at least 1 is needed", fix="neurons=64")
    shown = observed(what, inputs, lambda layer: _some(sample_of(layer.spikes, sample), neurons), layers=layers)
    axes = axes_for(ax, (6.4, min(1.4 + 0.7 * len(shown), 9.0)))
    sizes = {name: spikes.shape[1] for name, (spikes, _) in shown.items()}
    starts = dict(zip(sizes, np.cumsum([0, *(size + _GAP for size in sizes.values())]).tolist(), strict=False))
    steps = max((len(spikes) for spikes, _ in shown.values()), default=1)
    rows = max((starts[name] + size for name, size in sizes.items()), default=1)
    picture = np.zeros((rows * _FINE, steps), np.int8)
    for name, (spikes, _) in shown.items():
        part = picture[starts[name] * _FINE : (starts[name] + sizes[name]) * _FINE, : len(spikes)]
        for fine in range(_FINE - 1):
            sent = spikes.T if fine == 1 else np.maximum(spikes.T, 0)
            part[fine::_FINE] = sent
    axes.imshow(_colored(_apart(picture)), aspect="auto", interpolation="nearest", extent=(0.5, steps + 0.5, rows, 0))
    time_axis(axes, steps)
    names = {name: f"{name}\n{_counted(sizes[name], every)}" for name, (_, every) in shown.items()}
    axes.set_yticks([starts[name] + sizes[name] / 2 for name in shown], list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(rows, 0)
    for name in list(shown)[1:]:
        axes.axhline(starts[name] - _GAP / 2, color=PALETTE["line"], linewidth=0.8)
    _signs(axes, below=bool((picture < 0).any()))
    return axes


def _some(spikes: NDArray[Any], most: int) -> tuple[NDArray[Any], int]:
    """Return the spikes of some neurons at even distances, and how many neurons there are."""
    return evenly(spikes, most), spikes.shape[1]


def _apart(picture: NDArray[np.int8]) -> NDArray[np.int8]:
    """Leave a gap after every step, so that a neuron that fires at every step is no bar."""
    if picture.shape[1] > _MANY:
        return picture
    wide = picture.repeat(_WIDE, 1)
    wide[:, _WIDE - 1 :: _WIDE] = 0
    return wide


def _counted(shown: int, whole: int) -> str:
    return f"{whole:,} neurons" if shown == whole else f"{shown:,} of {whole:,} neurons"


def _colored(signs: NDArray[Any]) -> NDArray[np.uint8]:
    """Return signs as pixels in red, green, blue and opacity."""
    pixels = np.zeros((*signs.shape, 4), np.uint8)
    for sign, color in ((1, PALETTE["accent"]), (-1, PALETTE["second"])):
        pixels[signs == sign] = (*bytes.fromhex(color.removeprefix("#")), 255)
    return pixels


def _signs(axes: Axes, *, below: bool) -> None:
    """Say which color is which sign, where there are two."""
    from matplotlib.patches import Patch

    if below:
        looks = ((PALETTE["accent"], "spike of +1", ""), (PALETTE["second"], "spike of −1", "///"))
        legend_above(axes, [Patch(facecolor=color, label=label, hatch=hatch) for color, label, hatch in looks])


@checked
def rates(
    what: nn.Module | IntegerNetwork | Trace,
    inputs: Any = None,
    *,
    layers: Patterns = "*",
    by_step: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Draw how much every layer fires: spikes per neuron and step, in the mean over all samples.

    Spikes of -1 have bars of their own color and hatching after those of +1.

    Args:
        what: a spiking network, an integer network, or the trace of a run.
        inputs: what the network takes; leave it out for a trace.
        layers: glob patterns of the layers to draw.
        by_step: draw a line over the time steps for each layer, the first one darkest, of spikes of either sign.
        ax: the axes to draw on; None makes new ones.

    Returns:
        the axes.

    Raises:
        ConstraintError: an argument is something else, or a pattern matches no layer.

    Example:
        >>> import torch, bitspike as bs
        >>> model = nn.Sequential(bs.Repeat(steps=4), bs.IF(threshold=1.0))
        >>> [float(bar.get_width()) for bar in bs.plot.rates(model, torch.tensor([[0.25, 0.75]])).patches]
        [0.5]
    """
    rates_of = observed(what, inputs, _rates, layers=layers)
    return _over_time(rates_of, ax) if by_step else _bars(rates_of, ax)


def _rates(layer: Layer) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the rates of spikes of +1 and of -1 at every step, [T]."""
    values = layer.spikes.reshape(len(layer.spikes), -1)
    if not values.shape[1]:
        raise ConstraintError(
            "the inputs hold no sample, so that there is no rate", fix="inputs of at least one sample"
        )
    return (values > 0).mean(1), (values < 0).mean(1)


def _bars(rates_of: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], ax: Axes | None) -> Axes:
    axes = axes_for(ax, (6.4, min(1.0 + 0.3 * len(rates_of), 9.0)))
    places = range(len(rates_of))
    above = [float(up.mean()) for up, _ in rates_of.values()]
    below = [float(down.mean()) for _, down in rates_of.values()]
    axes.barh(places, above, color=PALETTE["accent"])
    if any(below):
        axes.barh(places, below, left=above, color=PALETTE["second"], hatch="///", edgecolor="white")
    for place, rate in zip(places, np.add(above, below).tolist(), strict=True):
        said = f"{rate:.3g}" if rate else "never fires"
        axes.annotate(said, (rate, place), xytext=(4, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(rates_of))
    axes.set_ylim(len(rates_of) - 0.5, -0.5)
    axes.set_xlim(0, 1.15 * max([*np.add(above, below).tolist(), 0.01]))
    axes.set_xlabel("spikes per neuron and step")
    _signs(axes, below=any(below))
    return axes


def _over_time(rates_of: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]], ax: Axes | None) -> Axes:
    axes = axes_for(ax)
    for index, (name, (up, down)) in enumerate(rates_of.items()):
        shade = 1.0 - 0.75 * index / max(len(rates_of) - 1, 1)
        named = name if len(rates_of) <= 4 or index in (0, len(rates_of) - 1) else None
        steps = range(1, len(up) + 1)
        axes.plot(steps, up + down, color=PALETTE["accent"], alpha=shade, marker="o", markersize=3, label=named)
    time_axis(axes, max(len(up) for up, _ in rates_of.values()))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("spikes per neuron and step")
    axes.legend(frameon=False, labelcolor=PALETTE["ink"])
    return axes
