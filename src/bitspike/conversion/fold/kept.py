"""Weight codes through folding: what a scheme gave stays, norms only change what one code is worth.

    gain * (codes * scale) = codes * (gain * scale)        for a gain per output channel

The codes of a layer of the network stand for the weights of the folded layer at the same operation if one step per
output channel does: the step is fitted, and every weight has to be its multiple up to the rounding of single precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bitspike.graph.ir import WEIGHTED, Graph
from bitspike.graph.plain import is_transposed
from bitspike.weights import weight_codes
from bitspike.weights.codes import along

TOLERANCE = 2.0**-20
"""How far a weight may be from its code times the step, as a share of the channel's largest; folding rounds once."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The codes of a folded layer.

    Args:
        codes: int64, of the shape of the weight.
        step: float64 [1] or [C_out], >= 0: the real value of one code; 0 where a norm has switched a channel off.
        bits: width of a stored code.
        levels: all codes, ascending, or None where every integer of ``bits`` bits but the smallest can be one.
        axis: along which the output channels lie.
    """

    codes: Tensor
    step: Tensor
    bits: int
    levels: tuple[int, ...] | None
    axis: int

    @property
    def largest_sum(self) -> int:
        """The largest sum of the magnitudes of the codes of one output."""
        dims = [d for d in range(self.codes.dim()) if d != self.axis]
        return int(self.codes.abs().sum(dims).max())

    def times(self, factor: float) -> Kept:
        """Return the codes of weights that are multiplied by a number.

        Example:
            >>> codes, step = torch.tensor([[1, -2]]), torch.tensor([0.5], dtype=torch.float64)
            >>> Kept(codes, step, 3, None, 0).times(-4.0)
            Kept(codes=tensor([[-1,  2]]), step=tensor([2.], dtype=torch.float64), bits=3, levels=None, axis=0)
        """
        codes = self.codes if factor >= 0 else -self.codes
        levels = self.levels if factor >= 0 or self.levels is None else tuple(-c for c in reversed(self.levels))
        return replace(self, codes=codes, step=self.step * abs(factor), levels=levels)


def kept_codes(graph: Graph, folded: Graph) -> dict[str, Kept]:
    """Return the codes of the weighted operations of a folded graph whose layers have codes, by id.

    Args:
        graph: as captured.
        folded: the same graph, folded.

    Example:
        >>> from torch import nn
        >>> import bitspike as bs
        >>> from bitspike.conversion.fold.fold import fold
        >>> from bitspike.graph.capture.from_module import capture
        >>> net = bs.attach(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU()), quantize=bs.Ternary()).eval()
        >>> graph = capture(net, torch.zeros(1, 2))
        >>> {id: kept.bits for id, kept in kept_codes(graph, fold(graph)).items()}
        {'0': 2}
    """
    before = {op.id: op for op in graph if op.kind in WEIGHTED}
    kept: dict[str, Kept] = {}
    for op in folded:
        if op.id in before and (own := weight_codes(graph.module_of(before[op.id]))) is not None:
            layer = folded.module_of(op)
            weight = layer.weight.detach().double().cpu()  # type: ignore[operator]
            split = is_transposed(layer) and int(layer.groups) > 1  # type: ignore[arg-type]
            grid = own.levels if own.levels is not None else _explicit(own.low, own.high)
            fitted = fit(weight, own.codes.cpu(), 1 if is_transposed(layer) else 0, by_channel=not split)
            if fitted is not None:
                codes, step, axis = fitted
                kept[op.id] = Kept(codes, step, *_grid(codes, grid, own.bits), axis)
    return kept


def lost_codes(graph: Graph, kept: Mapping[str, Kept]) -> tuple[str, ...]:
    """Return the ids of the weighted operations whose layers have codes that folding did not keep."""
    coded = (op.id for op in graph if op.kind in WEIGHTED and weight_codes(graph.module_of(op)) is not None)
    return tuple(id for id in coded if id not in kept)


def fit(weight: Tensor, codes: Tensor, axis: int, *, by_channel: bool) -> tuple[Tensor, Tensor, int] | None:
    """Return codes and steps >= 0 that make up a weight in double precision; None where none do.

    Codes change their sign with a channel's gain.

    Example:
        >>> weight = torch.tensor([[0.5, -1.0], [0.75, 0.25]], dtype=torch.float64)
        >>> fit(weight, torch.tensor([[1, -2], [-3, -1]]), 0, by_channel=True)
        (tensor([[ 1, -2],
                [ 3,  1]]), tensor([0.5000, 0.2500], dtype=torch.float64), 0)
    """
    dims = [d for d in range(weight.dim()) if not (by_channel and d == axis)]
    whole = codes.double()
    squares = whole.square().sum(dims)
    step = ((weight * whole).sum(dims) / squares.clamp(min=1)).reshape(-1)
    sign = torch.where(step < 0, -1, 1)
    codes, step = codes * along(sign, axis, codes.dim()), step.abs()
    off = (weight - codes * along(step, axis, codes.dim())).abs().amax(dims).reshape(-1)
    if bool((off > TOLERANCE * weight.abs().amax(dims).reshape(-1)).any()):
        return None
    alike = bool((step - step[0]).abs().max() <= TOLERANCE * step[0])
    return codes, step.mean().reshape(1) if alike else step, axis


def _explicit(low: int, high: int) -> tuple[int, ...] | None:
    """Return the codes of a range that is not its own mirror image; None for one that is."""
    return None if low == -high else tuple(range(low, high + 1))


def _grid(codes: Tensor, levels: tuple[int, ...] | None, bits: int) -> tuple[int, tuple[int, ...] | None]:
    """Return width and levels of codes, some of which may have changed their sign."""
    if levels is None:
        return bits, None
    if set(torch.unique(codes).tolist()) <= set(levels):
        return bits, levels
    both = tuple(sorted({*levels, *(-c for c in levels)}))
    return max(bits, (len(both) - 1).bit_length()), both
