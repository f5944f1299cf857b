"""Which operations give spikes and where those come from: questions to a folded graph that several passes ask.

A value is *spikes* when a rate can carry it: the input, what a neuron sends, and what operations that only move, count
or compare make of these. What a weighted layer gives is a *current*, until it reaches a neuron.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator

from bitspike.graph.ir import Graph, Op
from bitspike.graph.wires import wires


def moves(op: Op) -> bool:
    """Tell whether an operation only moves values, so that it can move spikes and currents alike."""
    nearest = op.kind == "upsample" and op.attrs.get("mode", "nearest") == "nearest"
    return nearest or op.kind in ("reshape", "transpose", "slice", "pad")


def spikes(graph: Graph) -> set[str]:
    """Return the ids of all operations whose result is spikes.

    A sum that only relus and further sums read is none: it is a current of their neurons.
    """
    kinds, readers = wires(graph), graph.readers()
    return {op.id for op in graph if kinds[op.id] != "current" and _carries(op, readers[op.id])}


def _carries(op: Op, readers: list[Op]) -> bool:
    if op.kind == "add":
        return -1 not in op.attrs["signs"] and any(reader.kind not in ("relu", "add") for reader in readers)
    return moves(op) or op.kind in ("input", "relu", "avg_pool", "max_pool", "concat")


def neurons(graph: Graph) -> tuple[str, ...]:
    """Return the ids of the operations that become neurons, in order.

    These are the relus of currents, and the sums of spikes that are read as spikes; a relu of spikes changes nothing.
    """
    rates = spikes(graph) - entries(graph)
    return tuple(op.id for op in graph if op.id in rates and _sends(op, rates))


def _sends(op: Op, rates: set[str]) -> bool:
    """Tell whether an operation that gives spikes is a neuron: a sum, or a relu of a current."""
    return op.kind == "add" or (op.kind == "relu" and op.inputs[0] not in rates)


def entries(graph: Graph) -> set[str]:
    """Return the ids of the inputs, and of what only moves, joins or pools them: values that may be below 0."""
    ids: set[str] = set()
    for op in graph:
        carries = moves(op) or op.kind in ("avg_pool", "max_pool", "concat")
        if op.kind == "input" or (carries and op.inputs and all(i in ids for i in op.inputs)):
            ids.add(op.id)
    return ids


def origins(graph: Graph, id: str, *, pools_count: bool = True) -> Iterator[tuple[str, float]]:
    """Yield the neurons and inputs whose spikes arrive at an operation, with the factor of the pools on the way.

    Args:
        pools_count: an average pool adds its window up, so that one count is worth 1 / window of a spike; False where
            pools are neurons of their own.

    Yields:
        id of a relu, sum or input; the factor by which average pools on the way scale one spike, 1 / the product of
        their windows. Nothing for a current.
    """
    ops, rates = {op.id: op for op in graph}, spikes(graph)
    open_ids = [(id, 1.0)]
    while open_ids:
        at, factor = open_ids.pop()
        op = ops[at]
        if at not in rates:
            continue
        if op.kind == "input" or _sends(op, rates):
            yield at, factor
            continue
        if op.kind == "avg_pool" and pools_count:
            factor /= math.prod(op.attrs["kernel"])
        open_ids.extend((i, factor) for i in reversed(op.inputs))


def ties(graph: Graph) -> list[set[str]]:
    """Return the groups of neurons whose spikes are concatenated, merged where they overlap."""
    inputs = {op.id for op in graph if op.kind == "input"}
    groups = [{at for i in op.inputs for at, _ in origins(graph, i)} - inputs for op in graph if op.kind == "concat"]
    return [group for group in merged(groups) if len(group) > 1]


def merged(groups: Iterable[Collection[str]]) -> list[set[str]]:
    """Join the groups that have a member in common.

    Example:
        >>> [sorted(group) for group in merged([{"a", "b"}, {"c", "d"}, {"b", "e"}])]
        [['c', 'd'], ['a', 'b', 'e']]
    """
    joined: list[set[str]] = []
    for group in map(set, groups):
        others = [g for g in joined if g & group]
        joined = [g for g in joined if not g & group] + [group.union(*others)]
    return joined
