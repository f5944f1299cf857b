"""Find lambda, the real value of a firing rate of 1, for every operation that becomes a neuron."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from bitspike.conversion.calibrate.entering import Seen, seen_of
from bitspike.conversion.calibrate.feed import Batches, feed
from bitspike.conversion.calibrate.statistics import CAPACITY, Reservoir
from bitspike.conversion.calibrate.thresholds import Rules, ThresholdRule, default_rule
from bitspike.errors import ConstraintError, DataError
from bitspike.graph.flow import merged, neurons
from bitspike.graph.ir import Graph, Op
from bitspike.graph.rebuild import values
from bitspike.patterns import last_match, matching

PIECE = 32_000_000
"""Activations that are looked at together; batches are cut so that no more have to be in memory."""


@dataclass(frozen=True, eq=False)
class Calibration(Mapping[str, Tensor]):
    """What calibration found; as a mapping it holds lambda by operation.

    Attributes:
        lambdas: float64 [1] or [C], above 0, by id of the operation.
        rule: how they were read from the activations, where no pattern says otherwise.
        steps: T, as the rule was told.
        n: samples that were looked at.
        seed: of the reservoirs.
        inputs: what was seen of each input, by id: smallest and largest value, and whether all are whole numbers.
        dead: channels without any activation above zero, by id; of one row per layer channel 0 is the layer.
        notes: codes W201 (dead) and W204 (a clip that a tie lifts).
        patterns: the rules of operations whose paths match.
    """

    lambdas: Mapping[str, Tensor]
    rule: ThresholdRule
    steps: int
    n: int
    seed: int
    inputs: Mapping[str, Seen]
    dead: Mapping[str, tuple[int, ...]]
    notes: tuple[str, ...]
    patterns: Mapping[str, ThresholdRule] = field(default_factory=dict)

    def __getitem__(self, id: str) -> Tensor:
        return self.lambdas[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lambdas)

    def __len__(self) -> int:
        return len(self.lambdas)

    def manifest(self) -> dict[str, Any]:
        """Return how lambda was found, as plain values: statistic, percentile, population, samples, seed and more."""
        more = {"patterns": {p: rule.manifest() for p, rule in self.patterns.items()}} if self.patterns else {}
        return {**self.rule.manifest(), "steps": self.steps, "samples": self.n, "seed": self.seed, **more}


@torch.no_grad()
def calibrate(
    graph: Graph,
    batches: Batches | None,
    rule: Rules | None = None,
    *,
    steps: int,
    at: Iterable[str] | None = None,
    samples: int = 1024,
    ties: Collection[Collection[str]] = (),
    seed: int = 0,
    capacity: int = CAPACITY,
) -> Calibration:
    """Run samples through a graph and find lambda for its neurons.

    Lambda is read from all samples together, never larger than the clip of a ReLU6. Where nothing is ever above zero,
    it is the layer's largest activation, or 1 for a layer that is dead altogether, with the note W201.

    Args:
        graph: in evaluation mode.
        batches: of the training data with the transforms of evaluation, labels or not; or one tensor of samples.
        rule: for all, or by pattern; None, or no pattern, is the least squared error up to 32 steps and the percentile
            99.9 beyond.
        steps: T of the spiking network.
        at: ids of operations; None is all relus of currents and all sums that become neurons.
        samples: how many to look at.
        ties: groups of ids that share the largest of their lambdas, as one number each.
        seed: of the reservoirs; nothing is random up to ``capacity`` activations.
        capacity: activations that are kept of each operation.

    Raises:
        ConstraintError: ``at`` or a tie names no operation, or a number is out of range.
        DataError: there is no data, or a batch does not fit, or an activation is NaN or infinite.

    Example:
        >>> from bitspike.conversion.calibrate.thresholds import MaxThreshold
        >>> relu = Op(id="relu", kind="relu", path="relu", inputs=("x",), shape=(2,), attrs={"clip": None})
        >>> graph = Graph((Op(id="x", kind="input", path="", shape=(2,), attrs={"index": 0}), relu), {})
        >>> found = calibrate(graph, torch.tensor([[-1.0, 3.0], [2.0, 0.0]]), MaxThreshold(), steps=4, at=["relu"])
        >>> found["relu"].tolist(), found.n, found.inputs
        ([3.0], 2, {'x': Seen(low=-1.0, high=3.0, whole=True, frames=False)})
    """
    if steps < 1:
        raise ConstraintError(f"calibrate(steps={steps}): at least 1 is needed", fix="steps=16")
    patterns = {p: r for p, r in rule.items() if p != "*"} if isinstance(rule, Mapping) else {}
    whole = rule.get("*") if isinstance(rule, Mapping) else rule
    base = default_rule(steps) if whole is None else whole
    ops = _chosen(graph, at, ties)
    ids = {op.id for op in ops}
    named = [op.path for op in graph if op.path and (op.id in ids or op.kind == "relu")]  # relus that stay real too
    matching(tuple(patterns), named, argument="threshold", noun="neuron")
    rules = {op.id: last_match(patterns, op.path) or base for op in ops}
    inputs = [op.id for op in graph if op.kind == "input"]
    reservoirs = {
        # (seed, i): every operation draws from random numbers of its own.
        op.id: Reservoir(per_channel=rules[op.id].per_channel, capacity=capacity, seed=(seed, i))
        for i, op in enumerate(ops)
    }
    n, ranges = 0, dict[str, Seen]()
    most = max(1, PIECE // max(1, sum(math.prod(op.shape) for op in ops)))
    for xs in feed(graph, batches, samples=samples, most=most):
        n += xs[0].shape[0]
        batch = {id: seen_of(x) for id, x in zip(inputs, xs, strict=True)}
        ranges = {id: s if id not in ranges else ranges[id].and_(s) for id, s in batch.items()}
        for id, a in values(graph, xs, wanted=tuple(reservoirs)).items():
            try:
                reservoirs[id].add(a)
            except DataError as error:
                raise DataError(f"{graph[id].where}: {error.message}", fix=error.fix or "") from error
    lambdas, dead, notes = {}, dict[str, tuple[int, ...]](), list[str]()
    for op in ops:
        sample = reservoirs[op.id].sample()
        lambdas[op.id], silent = _alive(op, rules[op.id].threshold(sample, steps), sample.maximum)
        if silent:
            dead[op.id] = silent
            notes.append(_dead_note(op, silent, len(sample.maximum), float(lambdas[op.id][silent[0]])))
    notes += _tie(graph, lambdas, ties)
    return Calibration(lambdas, base, steps, n, seed, ranges, dead, tuple(notes), patterns)


def _chosen(graph: Graph, at: Iterable[str] | None, ties: Collection[Collection[str]]) -> list[Op]:
    ops = {op.id: op for op in graph}
    ids = dict.fromkeys(neurons(graph) if at is None else at)
    unknown = [id for id in (*ids, *(i for group in ties for i in group)) if id not in ops]
    if unknown:
        raise ConstraintError(
            f"calibrate: the graph has no operation {', '.join(map(repr, unknown))}",
            fix=f"ids of the graph, such as {', '.join(map(repr, neurons(graph)[:3]))}; at=None takes all neurons",
        )
    if not ids:
        raise ConstraintError(
            "calibrate: there is no relu to calibrate", fix="put nn.ReLU after the weighted layers and train again"
        )
    return [ops[id] for id in ids]


def _alive(op: Op, threshold: Tensor, maximum: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """Return lambda above 0 and within the clip, and the rows that had none of their own."""
    clip = op.attrs.get("clip")
    clip = math.inf if clip is None else float(clip)
    top = min(float(maximum.max()), clip)
    silent = tuple(int(i) for i in torch.nonzero(threshold <= 0).flatten())
    threshold = torch.where(threshold > 0, threshold, top if top > 0 else 1.0)
    return threshold.clamp(max=clip), silent


def _dead_note(op: Op, silent: tuple[int, ...], rows: int, value: float) -> str:
    if rows == 1:
        return f"W201: {op.where} is dead or nearly so: its statistic is 0, and lambda was set to {value:g}"
    shown = ", ".join(map(str, silent[:8])) + (", ..." if len(silent) > 8 else "")
    return (
        f"W201: {op.where}: {len(silent)} of {rows} channels are dead or nearly so ({shown}); their lambda is "
        f"the layer's largest activation, {value:g}"
    )


def _tie(graph: Graph, lambdas: dict[str, Tensor], ties: Collection[Collection[str]]) -> list[str]:
    """Give every group one lambda, in place; return notes on clips that this lifts."""
    notes = []
    for group in merged(ties):
        known = [id for id in lambdas if id in group]
        if len(known) < 2:
            continue
        shared = torch.stack([lambdas[id].max() for id in known]).max()
        for id in known:
            clip = graph[id].attrs.get("clip")
            if clip is not None and float(shared) > clip:
                notes.append(
                    f"W204: {graph[id].where}: this ReLU6 is concatenated with a layer of larger activations; both now "
                    f"use lambda {float(shared):g}, so it clips at {float(shared):g} instead of {clip:g}"
                )
            lambdas[id] = shared.reshape(1).clone()
    return notes
