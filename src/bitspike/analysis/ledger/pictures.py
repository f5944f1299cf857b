"""What the figures of a ledger are drawn from: few numbers per layer, gathered while batches stream by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from bitspike.analysis.ledger.activations import by_channel
from bitspike.conversion.result import Conversion
from bitspike.weights import weight_codes
from bitspike.weights.path import path_of

BINS = 60
REACH = 1.5
"""Activations are counted up to so many lambdas; what lies above is in the last bin."""
POINTS = 400
"""Points of a scatter."""


@dataclass(frozen=True)
class Histogram:
    """How often activations occur, in units of lambda.

    Args:
        counts: of ``BINS`` bins between 0 and ``REACH``; zeros are left out.
        zeros: how many activations are 0.
        lam: lambda, in words: one number, or the range over channels.
    """

    counts: tuple[int, ...]
    zeros: int
    lam: str


@dataclass(frozen=True)
class Pictures:
    """What figures are drawn from.

    Args:
        activations: by neuron.
        decoded: by neuron and read-out, pairs of the float activation and the decoded one, of the first batch.
        codes: by weighted layer, how often each code occurs.
    """

    activations: Mapping[str, Histogram] = field(default_factory=dict)
    decoded: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    codes: Mapping[str, Mapping[int, int]] = field(default_factory=dict)


class Collector:
    """Gathers the numbers of all figures."""

    def __init__(self, conversion: Conversion, spiking: fx.GraphModule) -> None:
        self._tops = {
            id: by_channel(r.wanted, len(conversion.core[id].shape))
            for id, r in conversion.layers.items()
            if r.kind != "readout"
        }
        self._counts = {id: torch.zeros(BINS, dtype=torch.int64) for id in self._tops}
        self._zeros = dict.fromkeys(self._tops, 0)
        self._points: dict[str, tuple[tuple[float, float], ...]] = {}
        # One layer at a time: the codes of a large network are larger than its weights.
        self._codes = {name: counted(module) for name, module in spiking.named_modules() if path_of(module) is not None}

    def add(self, floats: Mapping[str, Tensor], decoded: Mapping[str, Tensor]) -> None:
        """Add one batch: activations of the float network, and what the spiking network decodes to."""
        for id, top in self._tops.items():
            a = floats[id]
            nonzero = (a / top.to(a))[a > 0]
            where = (nonzero * (BINS / REACH)).long().clamp(max=BINS - 1)
            self._counts[id] += torch.bincount(where.flatten(), minlength=BINS).cpu()
            self._zeros[id] += a.numel() - nonzero.numel()
        for id, values in decoded.items():
            if id not in self._points:
                x, y = floats[id].flatten(), values.flatten()
                every = max(1, -(-len(x) // POINTS))
                pairs = zip(x[::every].tolist(), y[::every].tolist(), strict=True)
                self._points[id] = tuple((float(a), float(b)) for a, b in pairs)

    def pictures(self) -> Pictures:
        """Return what was gathered."""
        return Pictures(
            activations={
                id: Histogram(tuple(counts.tolist()), self._zeros[id], _words(self._tops[id]))
                for id, counts in self._counts.items()
            },
            decoded=self._points,
            codes=self._codes,
        )


def counted(layer: nn.Module) -> dict[int, int]:
    """Return how often each weight code of a layer occurs."""
    weight = weight_codes(layer)
    assert weight is not None
    low = int(weight.codes.min())
    counts = torch.bincount((weight.codes - low).flatten()).tolist()
    return {low + i: n for i, n in enumerate(counts) if n}


def _words(top: Tensor) -> str:
    low, high = float(top.min()), float(top.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
