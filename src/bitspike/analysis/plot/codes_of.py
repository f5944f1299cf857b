"""How often every weight code occurs: negative codes, zero and positive ones in three colors."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bitspike.analysis.drawing.palette import PALETTE
from bitspike.analysis.plot.canvas import axes_for, whole_numbers
from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.integer.network import IntegerNetwork
from bitspike.patterns import Patterns, matching
from bitspike.weights import codes as codes_of_model

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Codes(NamedTuple):
    codes: NDArray[np.int64]
    bits: int
    low: int
    high: int


@checked
def codes(what: nn.Module | IntegerNetwork, *, layers: Patterns = "*", ax: Axes | None = None) -> Axes:
    """Draw how often every weight code occurs, one layer below the other.

    Bars of a layer are as high as its most frequent code asks for. Negative codes are red, zero is gray, positive codes
    are blue. One layer alone has its codes on the x axis; several are drawn from the smallest code of each grid to its
    largest.

    Args:
        what: a network whose weights are quantized, by ``bs.attach``, ``bs.quantize`` or ``bs.convert``, or an integer
            network.
        layers: glob patterns of the layers to draw.
        ax: the axes to draw on; None makes new ones.

    Returns:
        the axes.

    Raises:
        ConstraintError: an argument is something else, no weight has codes, or a pattern matches no layer.

    Example:
        >>> import torch, bitspike as bs
        >>> layer = nn.Linear(4, 1, bias=False)
        >>> _ = layer.weight.data.copy_(torch.tensor([[-1.0, 0.1, 1.0, 1.0]]))
        >>> model = bs.attach(nn.Sequential(layer), quantize=bs.Ternary())
        >>> [float(bar.get_height()) for bar in bs.plot.codes(model).patches]  # of -1, 0 and 1
        [0.4, 0.4, 0.8]
    """
    weights = _codes_of(what)
    shown = {name: weights[name] for name in matching(layers, list(weights), argument="layers")}
    axes = axes_for(ax, (6.4, min(1.6 + 0.5 * len(shown), 9.0)))
    rows = range(len(shown) - 1, -1, -1)  # the first layer on top
    for row, each in zip(rows, shown.values(), strict=True):
        _bars(axes, each, row, alone=len(shown) == 1)
    axes.set_ylim(-0.05, len(shown))
    names = [f"{name}\n{each.bits} bit, {each.codes.size:,} weights" for name, each in shown.items()]
    axes.set_yticks([row + 0.4 for row in rows], names)
    axes.tick_params(axis="y", length=0)
    if len(shown) == 1:
        whole_numbers(axes)
        axes.set_xlabel("weight code")
    else:
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 1], ["smallest code", "largest code"])
    return axes


def _bars(axes: Axes, each: _Codes, row: int, *, alone: bool) -> None:
    """Draw the codes of one layer upwards from a row, at most 0.8 of a row high."""
    values, counts = np.unique(each.codes, return_counts=True)
    wide = each.high - each.low + 1
    places = values.astype(np.float64) if alone else (values - each.low + 0.5) / wide
    heights = 0.8 * counts / max(counts.max(initial=1), 1)
    colors = [PALETTE["second" if code < 0 else "accent" if code > 0 else "soft"] for code in values.tolist()]
    axes.bar(places, heights, width=0.85 if alone else 0.85 / wide, bottom=row, color=colors)
    axes.axhline(row, color=PALETTE["line"], linewidth=0.8)


def _codes_of(what: nn.Module | IntegerNetwork) -> dict[str, _Codes]:
    if isinstance(what, IntegerNetwork):
        return {n.path: _Codes(n.weight.codes, n.weight.bits, n.weight.low, n.weight.high) for n in what.weighted}
    if not isinstance(what, nn.Module):
        raise ConstraintError(
            f"a {type(what).__name__} has no weight codes; needed is a network whose weights are quantized, or an "
            "integer network",
            fix="the network that bs.attach or bs.lower returned",
        )
    weights = codes_of_model(what)
    if not weights:
        raise ConstraintError(
            f"no weight of {type(what).__name__} has codes", fix="bs.attach(model, quantize=bs.Ternary())"
        )
    return {
        name or type(what).__name__: _Codes(c.codes.cpu().numpy(), c.bits, c.low, c.high) for name, c in weights.items()
    }
