"""What enters the spiking part: the range of its values, and frames of events as rates."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.conversion.calibrate.feed import PIECE, Batches, feed
from bitspike.conversion.region.cut import is_moved_input
from bitspike.errors import ConstraintError, DataError
from bitspike.graph.ir import Graph
from bitspike.graph.rebuild import values


@dataclass(frozen=True)
class Seen:
    """The values of one tensor over all samples that were looked at.

    Args:
        low, high: the smallest and the largest.
        whole: whether all of them are whole numbers.
        frames: of events, whether these are values of single steps; else they are means over the steps.
    """

    low: float
    high: float
    whole: bool
    frames: bool = False

    def and_(self, other: Seen) -> Seen:
        """Return what was seen of both."""
        whole, frames = self.whole and other.whole, self.frames and other.frames
        return Seen(min(self.low, other.low), max(self.high, other.high), whole, frames)


def seen_of(x: Tensor, *, frames: bool = False) -> Seen:
    """Look at one batch.

    Example:
        >>> seen_of(torch.tensor([0.0, 3.0]))
        Seen(low=0.0, high=3.0, whole=True, frames=False)
    """
    low, high = (float(v) for v in torch.aminmax(x.detach()))
    return Seen(low, high, bool((x == x.round()).all()), frames)


@torch.no_grad()
def look(graph: Graph, batches: Batches, at: Iterable[str], *, samples: int = 1024) -> dict[str, Seen]:
    """Return what was seen of some operations over the first samples, by id, for their grids.

    Batches are read, and refused, as by :func:`~bitspike.conversion.calibrate.feed.feed`.

    Example:
        >>> from bitspike.graph.ir import Op
        >>> graph = Graph((Op(id="x", kind="input", path="", shape=(2,), attrs={"index": 0}),), {})
        >>> look(graph, [torch.tensor([[0.0, 0.5]]), (torch.tensor([[0.25, 1.0]]), "label")], ["x"])
        {'x': Seen(low=0.0, high=1.0, whole=False, frames=False)}
    """
    ids, ranges = list(at), dict[str, Seen]()
    for xs in feed(graph, batches, samples=samples, most=PIECE):
        for id, x in values(graph, xs, ids).items():
            ranges[id] = seen_of(x) if id not in ranges else ranges[id].and_(seen_of(x))
    return ranges


@dataclass
class Rates:
    """Batches of event frames [T, N, ...] as their rates [N, ...], with what was seen of the frames.

    A batch that holds rates already is handed on as it is.

    Args:
        graph: its inputs say which shape one sample has.
        steps: T.
        batches: as for :func:`~bitspike.conversion.calibrate.feed.feed`; frames are floats, integers or truth values.

    Raises:
        DataError: while they are read, frames of another number of steps or of no sample.
    """

    graph: Graph
    steps: int
    batches: Batches
    seen: dict[str, Seen] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        for batch in [self.batches] if isinstance(self.batches, Tensor) else self.batches:
            yield self._rates(batch)

    def _rates(self, batch: Any) -> Any:
        if isinstance(batch, Tensor):
            return self._mean(batch)
        if isinstance(batch, Mapping):
            return {name: self._mean(x) for name, x in batch.items()}
        return [self._mean(x) for x in batch] if isinstance(batch, list | tuple) else batch

    def _mean(self, x: Any) -> Any:
        inputs = [op for op in self.graph if op.kind == "input"]
        of = next((op for op in inputs if isinstance(x, Tensor) and x.shape[2:] == op.shape), None)
        if of is None or x.dim() != len(of.shape) + 2:
            return x
        if len(x) != self.steps or not x.numel():
            raise DataError(
                f"event frames of the calibration data are {list(x.shape)}, and the network runs {self.steps} steps; "
                f"needed is [T, N, ...] with T = {self.steps} and at least one sample",
                fix=f"steps={len(x)}, or frames of other lengths" if x.numel() else "pass the loader itself",
            )
        frames = x if x.is_floating_point() else x.float()
        batch = seen_of(frames, frames=True)
        self.seen[of.id] = batch if of.id not in self.seen else self.seen[of.id].and_(batch)
        return frames.mean(0)


def entering(
    graph: Graph,
    core: Graph,
    batches: Batches,
    inputs: tuple[Tensor, ...],
    *,
    rates: Rates | None = None,
    known: Mapping[str, Seen] | None = None,
    alone: bool = False,
) -> tuple[dict[str, Seen], tuple[str, ...]]:
    """Return the range of every value that enters the spiking part, by entry, and notes where the data say little.

    Args:
        graph, core: whole, and its spiking part.
        batches: that were calibrated with; or the example.
        inputs: the example.
        rates: of event frames, after they were read.
        known: what an earlier calibration saw, by entry or input.
        alone: whether ``batches`` hold the example and nothing else.
    """
    seen, notes = look(graph, batches, [op.id for op in core if op.kind == "input"], samples=sys.maxsize), list[str]()
    if rates is not None:
        seen |= {id: s for id, s in rates.seen.items() if id in seen}
        shown = {op.id: seen_of(inputs[op.attrs["index"]], frames=True) for op in graph if op.kind == "input"}
        # A frame as an example may hold counts that no rate tells of; rates as an example tell nothing more.
        seen |= {id: seen[id].and_(s) for id, s in shown.items() if id in seen and s.whole}
    notes += [
        f"W206: calibration saw one value of {id} only, {s.low:.4g}; what lies beyond its grid is clipped and counted"
        for id, s in seen.items()
        if s.low == s.high and not alone
    ]
    for id in seen if alone else ():
        before = (known or {}).get(_moved_from(graph, id), (known or {}).get(id))
        if before is None:
            notes.append(
                f"W206: the grid of {id} was read from the example alone; what lies beyond is clipped and counted. "
                "input_grid=..., or calibration data, would tell its range"
            )
            continue
        seen[id] = before.and_(seen[id])
        if not is_moved_input(graph, id):
            notes.append(
                f"W206: {id} is computed by real layers, and its range was measured before these were trained; "
                "data=loader would measure it again"
            )
    return seen, tuple(notes)


def _moved_from(graph: Graph, id: str) -> str:
    """Return the input whose values an operation moves; the operation itself where it computes."""
    return _moved_from(graph, graph[id].inputs[0]) if is_moved_input(graph, id) and graph[id].inputs else id


def refuse_real_layers_before(graph: Graph, core: Graph) -> None:
    """Refuse to give events, step by step, to layers that stay real and see one image.

    Raises:
        ConstraintError: what enters the spiking part is no value of the network's own input.
    """
    if computed := [op.id for op in core if op.kind == "input" and not is_moved_input(graph, op.id)]:
        raise ConstraintError(
            f"convert(coding='events'): spikes and counts are inputs of the network, and {', '.join(computed)}, which "
            "enters the spiking part, is computed by layers that stay real",
            fix="let the first layers spike too (include=None), or coding='direct' on frames that are summed over time",
        )
