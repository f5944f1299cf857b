"""The potential of one neuron over time, with its threshold and its spikes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.plot.canvas import axes_for, legend_above, time_axis
from bitspike.analysis.plot.observed import Layer, is_place, liveliest, observed, sample_of
from bitspike.arguments import checked_last
from bitspike.errors import ConstraintError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.simulate import Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@checked_last
def membrane(
    what: nn.Module | IntegerNetwork | Trace,
    inputs: Any = None,
    *,
    layer: str | None = None,
    neuron: int | Sequence[int] | None = None,
    sample: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draw the potential of one neuron at every step, before its reset, with its threshold and its spikes.

    A spike of +1 is a blue triangle that points up; a spike of -1 a red one that points down.

    Args:
        what: a spiking network, an integer network, or the trace of a run, which knows no thresholds.
        inputs: what the network takes; leave it out for a trace.
        layer: name of the layer, ``name#2`` for its second call; None takes the first one.
        neuron: its place in the layer, a number or one per axis such as ``(channel, row, column)``; None takes the one
            that starts and stops firing most often, of several the one with most spikes.
        sample: which sample of the inputs, from 0.
        ax: the axes to draw on; None makes new ones.

    Returns:
        the axes.

    Raises:
        ConstraintError: an argument is something else; there is no such layer, neuron or sample; or the layer has an
            equation of its own, so that its potentials are not known.

    Example:
        >>> import torch, bitspike as bs
        >>> model = nn.Sequential(bs.Repeat(steps=4), bs.IF(threshold=1.0))
        >>> axes = bs.plot.membrane(model, torch.tensor([[0.25, 0.5, 1.0]]), neuron=1)
        >>> axes.lines[0].get_ydata().tolist()
        [0.5, 1.0, 0.5, 1.0]
    """

    def keep(seen: Layer) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None, tuple[int, ...]]:
        spikes, shape = sample_of(seen.spikes, sample), seen.spikes.shape
        potentials = None if seen.potentials is None else sample_of(seen.potentials, sample)
        return spikes, potentials, seen.thresholds_of(sample), shape[2:]

    neurons = observed(what, inputs, keep, layers="*" if layer is None else layer, potentials=True)
    name, (spikes, potentials, thresholds, shape) = next(iter(neurons.items()))
    if potentials is None:
        raise ConstraintError(
            f"the potentials of {name} are not known: its neuron has an equation of its own, or its trace kept none",
            fix="the layer of another neuron, or bs.plot.raster, which needs the spikes alone",
        )
    place = _place(neuron, spikes, shape, name)
    steps = np.arange(1, len(spikes) + 1)
    axes = axes_for(ax)
    axes.plot(steps, potentials[:, place], color=PALETTE["soft"], marker=".", label="potential")
    if thresholds is not None:
        axes.plot(steps, thresholds[:, place], color=PALETTE["ink"], linestyle="--", linewidth=1, label="threshold")
    for sign, color, marker, said in ((1, "accent", "^", "spike of +1"), (-1, "second", "v", "spike of −1")):
        if (at := spikes[:, place] == sign).any():
            axes.plot(steps[at], potentials[at, place], marker, color=PALETTE[color], markersize=8, label=said)
    time_axis(axes, len(spikes))
    whole = isinstance(what, IntegerNetwork | Trace)
    where = ", ".join(str(int(n)) for n in np.unravel_index(place, shape))
    axes.set_ylabel(f"potential of {name}[{where}]{', in integers' if whole else ''}")
    legend_above(axes, axes.lines)
    return axes


def _place(neuron: int | Sequence[int] | None, spikes: NDArray[Any], shape: tuple[int, ...], name: str) -> int:
    """Return where a neuron stands in the row of all of its layer."""
    if neuron is None:
        return liveliest(spikes)
    index, sizes = (tuple(neuron), shape) if isinstance(neuron, Sequence) else ((neuron,), (spikes.shape[1],))
    if len(index) != len(sizes) or not all(is_place(n, size) for n, size in zip(index, sizes, strict=True)):
        last = tuple(size - 1 for size in shape)
        raise ConstraintError(
            f"neuron={neuron!r}: {name} has the neurons 0 to {spikes.shape[1] - 1}, or by axis up to {last}",
            fix="neuron=0",
        )
    return int(np.ravel_multi_index(index, sizes))
