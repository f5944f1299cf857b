"""The values of an error ledger: what every layer's gap to the float network is made of, in parts that add up.

With a_i the activation on rung i of the ladder, e_i = a_i - a_0 is the error so far and d_i = a_i - a_(i-1) what rung i
changes. The gap is g = e_last, the sum of all d_i, element by element. Two numbers per rung add up too:

    share_i = (|e_i|**2 - |e_(i-1)|**2) / |g|**2        by how much the squared error grows on this rung
    along_i = <d_i, g> / <g, g>                         the projection on the gap

Shares of either kind sum to 1, and ``part_i = share_i |g| / |a_0|`` to the relative gap. The ledger ranks causes by the
first: rounding in time is much like noise, and a later rung that only draws it anew (one count more here, one less
there) is far along the gap although the error is no larger than before. A negative share is a rung that takes errors
back. A third number is the size of the change alone, ``|d_i| / |a_0|``. Norms run over samples, channels and places.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from torch import Tensor

from bitspike.analysis.ledger.pictures import Pictures
from bitspike.conversion.construct.records import layer_name

TERMS: dict[str, str] = {
    "input": "the input on its grid, or as spikes",
    "weights": "weights and skips rounded to codes",
    "clipping": "activations above lambda",
    "truncation": "activations rounded to what T steps can say",
    "correction": "corrected weights, biases or initial potentials",
    "unevenness": "spikes that come too early or too late for formula (*)",
    "reset": "time with a reset to zero: rounding, lost charge and unevenness in one",
    "integer": "thresholds, biases and initial potentials as integers",
    "saturation": "potentials limited in width",
}
"""What every part is due to."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a gap.

    Args:
        term: of ``TERMS``.
        share: of the squared gap; all shares add up to 1.
        part: share times the gap's relative RMS; all parts add up to the gap.
        along: the part's projection on the gap; these add up to 1 as well.
        rms: the size of the part alone, relative to the float activation.
        mean: signed mean of the part, in units of the float activation's RMS: a bias.
        cosine: between the activation on this rung and the float one.
    """

    term: str
    share: float
    part: float
    along: float
    rms: float
    mean: float
    cosine: float


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The difference to the float network and what it is made of.

    Args:
        rms: RMS of the difference over the RMS of the float activation.
        mean: its signed mean in the same unit.
        cosine: between the last rung's activation and the float one.
        parts: by term, in the order of the ladder.
    """

    rms: float
    mean: float
    cosine: float
    parts: tuple[Part, ...]

    def __getitem__(self, term: str) -> Part:
        for part in self.parts:
            if part.term == term:
                return part
        raise KeyError(term)

    @property
    def dominant(self) -> str:
        """The term with the largest share; empty where there is no gap."""
        return max(self.parts, key=lambda p: p.share).term if self.rms > 0 and self.parts else ""


@dataclass(frozen=True, kw_only=True)
class LayerErrors:
    """The gap of one neuron or read-out.

    Args:
        id: of the operation.
        path: module path.
        kind: ``neuron``, ``pool`` or ``readout``.
        weights: module paths of the weighted layers that feed it.
        elements: activations that were compared.
        local: with M0's values on the input, so that the error is the layer's own.
        cumulative: with the spiking network's own values.
        clipped: share of the activations above lambda.
        differs: share of the spike counts that are not what formula (*) says for the charge that came; None where it
            does not apply: read-outs, and a reset to zero.
        over, under: the share of counts above (*), spikes spent on charge that was cancelled later, and below it,
            charge that came too late.
        largest: the largest difference of a count to (*).
        rate: spikes per neuron and step.
        silent, saturated: share of the neurons that never fired, and that fired at every step of every sample.
    """

    id: str
    path: str
    kind: str
    weights: tuple[str, ...] = ()
    elements: int
    local: Gap
    cumulative: Gap
    clipped: float | None = None
    differs: float | None = None
    over: float | None = None
    under: float | None = None
    largest: int | None = None
    rate: float | None = None
    silent: float | None = None
    saturated: float | None = None

    @property
    def name(self) -> str:
        """Its module in the spiking network, by which the integers and the report of a run name it too."""
        return layer_name(self.id, self.kind)


@dataclass(frozen=True, kw_only=True)
class Point:
    """The network after some steps: the metric of the task, where there are labels, and the relative error (RMS)."""

    steps: int
    accuracy: float | None
    error: float


@dataclass(frozen=True, kw_only=True)
class Advice:
    """One thing to change.

    Args:
        term: the part of the gap that it makes smaller.
        share: of the gap.
        layer: where that part is largest on its own; empty for a whole network.
        options: arguments of ``bs.convert`` (or calls) to try, the best first.
        text: why, in a sentence or two.
    """

    term: str
    share: float
    layer: str
    options: tuple[str, ...]
    text: str


@dataclass(frozen=True, kw_only=True)
class Account:
    """All values of a ledger; page, figures and text read them, and know nothing of each other.

    Args:
        model: class of the network.
        settings: of the conversion, plain values.
        steps, samples: T, and how many samples were measured.
        terms: the parts, in the order of the ladder.
        layers: every neuron and read-out, in the order of data flow.
        output: the gap of all that leaves the spiking part, every output weighing the same.
        measured: the relative RMS gap of the outputs, measured on the network itself, apart from the ladder.
        accuracy: by rung, M0 to M7, the metric of the task, for classes the share of right answers; empty without
            labels.
        curve: the network after 1, 2, 4, ... and at last 2 T steps.
        lossy: the reset to zero loses charge; formula (*) and what assumes it do not apply.
        notes: what else has to be said.
        advice: what to change first.
        metric: name of what ``accuracy`` holds, by which page, figures and text call it.
        pictures: what figures are drawn from.
    """

    model: str
    settings: Mapping[str, Any]
    steps: int
    samples: int
    terms: tuple[str, ...]
    layers: tuple[LayerErrors, ...]
    output: Gap
    measured: float
    accuracy: Mapping[str, float]
    curve: tuple[Point, ...]
    lossy: bool
    notes: tuple[str, ...]
    advice: tuple[Advice, ...] = ()
    metric: str = field(default="accuracy", repr=False, compare=False)
    pictures: Pictures | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, id: str) -> LayerErrors:
        for layer in self.layers:
            if id in (layer.id, layer.name, layer.path):
                return layer
        raise KeyError(id)

    @property
    def closure(self) -> float:
        """How far the sum of all parts is from the gap that was measured, relative to it."""
        total = sum(part.part for part in self.output.parts)
        return abs(total - self.measured) / self.measured if self.measured else abs(total)

    @property
    def dominant(self) -> str:
        """The term with the largest share of the outputs' gap; empty where there is none."""
        return self.output.dominant

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``ledger.json`` holds them."""
        plain_values = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("metric", "pictures")
        }
        for name in ("layers", "curve", "advice"):
            plain_values[name] = [asdict(value) for value in plain_values[name]]
        plain_values["output"] = asdict(self.output)
        plain_values |= {"closure": self.closure, "dominant": self.dominant}
        plain: dict[str, Any] = json.loads(json.dumps(plain_values, default=list))
        return plain


class Sums:
    """Running sums over batches from which a gap and its parts are read; no activation is kept.

    Example:
        >>> import torch
        >>> sums = Sums(("weights", "truncation"))
        >>> a0, a1, a2 = torch.tensor([3.0, 4.0]), torch.tensor([3.5, 4.0]), torch.tensor([4.0, 4.0])
        >>> sums.add([a0, a1, a2])
        >>> gap = sums.gap()
        >>> round(gap.rms, 6), [round(p.share, 6) for p in gap.parts], [round(p.part, 6) for p in gap.parts]
        (0.2, [0.25, 0.75], [0.05, 0.15])
    """

    def __init__(self, terms: Sequence[str]) -> None:
        self.terms = tuple(terms)
        k = len(self.terms)
        self.n = 0
        self.float_squares = self.gap_squares = self.gap_sum = 0.0
        self.errors, self.along, self.squares, self.sums = [0.0] * k, [0.0] * k, [0.0] * k, [0.0] * k
        self.rung_squares, self.rung_float = [0.0] * k, [0.0] * k

    def add(self, rungs: Sequence[Tensor]) -> None:
        """Add one batch: the activation on every rung, M0 first, one more than there are terms."""
        flat = [a.detach().double().flatten() for a in rungs]
        first, gap = flat[0], flat[-1] - flat[0]
        self.n += first.numel()
        self.float_squares += float(first @ first)
        self.gap_squares += float(gap @ gap)
        self.gap_sum += float(gap.sum())
        for i in range(len(self.terms)):
            a, d, e = flat[i + 1], flat[i + 1] - flat[i], flat[i + 1] - first
            self.errors[i] += float(e @ e)
            self.along[i] += float(d @ gap)
            self.squares[i] += float(d @ d)
            self.sums[i] += float(d.sum())
            self.rung_squares[i] += float(a @ a)
            self.rung_float[i] += float(a @ first)

    def gap(self) -> Gap:
        """Return the gap over everything that was added."""
        size = math.sqrt(self.float_squares) or math.sqrt(self.gap_squares) or 1.0
        unit = size / math.sqrt(max(self.n, 1))
        rms = math.sqrt(self.gap_squares) / size
        whole = self.gap_squares or math.inf
        shares = [(e - before) / whole for before, e in pairwise([0.0, *self.errors])]
        parts = tuple(
            Part(
                term=term,
                share=shares[i],
                part=shares[i] * rms,
                along=self.along[i] / whole,
                rms=math.sqrt(self.squares[i]) / size,
                mean=self.sums[i] / max(self.n, 1) / unit,
                cosine=_cosine(self.rung_float[i], self.rung_squares[i], self.float_squares),
            )
            for i, term in enumerate(self.terms)
        )
        cosine = parts[-1].cosine if parts else 1.0
        return Gap(rms=rms, mean=self.gap_sum / max(self.n, 1) / unit, cosine=cosine, parts=parts)

    @staticmethod
    def joined(sums: Sequence[Sums]) -> Gap:
        """Return the gap of several outputs, each scaled to the same float activation first."""
        (first, *_) = sums
        total = Sums(first.terms)
        for one in sums:
            weight = 1 / one.float_squares if one.float_squares else 1.0
            total.n += 1
            total.float_squares += one.float_squares * weight
            total.gap_squares += one.gap_squares * weight
            total.gap_sum += one.gap_sum / math.sqrt(max(one.n, 1)) * math.sqrt(weight)
            for name in ("errors", "along", "squares", "rung_squares", "rung_float"):
                ours = getattr(total, name)
                ours[:] = [a + b * weight for a, b in zip(ours, getattr(one, name), strict=True)]
            total.sums[:] = [
                a + b / math.sqrt(max(one.n, 1)) * math.sqrt(weight) for a, b in zip(total.sums, one.sums, strict=True)
            ]
        return total.gap()


def _cosine(product: float, squares: float, others: float) -> float:
    size = math.sqrt(squares * others)
    return min(1.0, max(-1.0, product / size)) if size else float(squares == others)
