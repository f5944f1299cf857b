"""Which part of a network becomes spiking: from its first weights to its last, as far as neurons can carry it."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from bitspike.conversion.region.cut import is_moved_input
from bitspike.errors import ConversionError
from bitspike.graph.flow import moves
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.wires import wires
from bitspike.patterns import Patterns, matching, outer

_ALWAYS_REAL = ("input", "output")


def region(graph: Graph, include: Patterns | None = None, exclude: Patterns = ()) -> frozenset[str]:
    """Return the ids of the operations that become spiking.

    Whatever has a relu after it belongs, convertible or not; the rules name what is not. After the last relu, pools and
    reshapes belong up to the weighted operations that read out: a classifier, the heads of a detector. What comes
    before the first weights, and from the first operation on that no neuron feeds, stays real.

    Args:
        graph: with norms folded.
        include: glob patterns of module paths or operation ids; a module brings all that is inside it.
            Everything, if not given.
        exclude: patterns of what stays real.

    Raises:
        ConversionError: a pattern matches nothing.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> layers = [nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2), nn.Softmax(1)]
        >>> sorted(region(capture(nn.Sequential(*layers), torch.zeros(1, 4))))
        ['0', '1', '2']
    """
    inner = [op for op in graph if op.kind not in _ALWAYS_REAL]
    chosen = {op.id for op in inner} if include is None else _matching(inner, include, "include")
    chosen -= _matching(inner, exclude, "exclude")
    return frozenset(between_weights_and_relu(graph, chosen))


def with_moves(graph: Graph, region: Collection[str]) -> frozenset[str]:
    """Take what only moves values on their way into a region into it.

    What moves the network's own input belongs to the network of integers, so that this takes what the network takes.
    What cuts one value into several does too, because the integer form has one input.
    """
    before = {i for op in graph if op.id in region for i in op.inputs if i not in region}
    readers, taken, several = graph.readers(), set(region), len(before) > 1
    for op in reversed(graph.ops):
        plain = moves(op) and "value" not in op.attrs and (several or is_moved_input(graph, op.id))
        if op.id in before and plain and all(reader.id in taken for reader in readers[op.id]):
            taken.add(op.id)
            before = before - {op.id} | set(op.inputs)
    return frozenset(region if several and len(before) > 1 else taken)


def detour(graph: Graph, region: Collection[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return a shortest way that leaves a region and comes back, and the smallest region that has none.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> graph = capture(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), torch.zeros(1, 2))
        >>> detour(graph, {"0", "2"})[0]
        ('0', '1', '2')
    """
    after, before = graph.reach(region), graph.reach(region, backwards=True)
    between = frozenset(op.id for op in graph if op.id not in region and op.id in after & before)
    if not between:
        return (), frozenset(region)
    readers = graph.readers()
    ways: deque[tuple[str, ...]] = deque((id,) for id in sorted(region))
    seen: set[str] = set()
    while ways:
        way = ways.popleft()
        for reader in readers[way[-1]]:
            if reader.id in region and len(way) > 1:
                return (*way, reader.id), frozenset(region) | between
            if reader.id in between and reader.id not in seen:
                seen.add(reader.id)
                ways.append((*way, reader.id))
    raise AssertionError("what lies between is on no way")


def one_side(graph: Graph, name: str) -> tuple[str, ...]:
    """Return the layers to exclude when one of them stays real, so that what can spike stays in one piece.

    That is the layer and all before it, or all after it, whichever are fewer.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> layers = [kind(2, 2) for _ in range(4) for kind in (nn.Linear, nn.Threshold)]
        >>> graph = capture(nn.Sequential(*layers), torch.zeros(1, 2))
        >>> one_side(graph, "2"), one_side(graph, "4")
        (('2', '0'), ('4', '6'))
    """
    return min(both_sides(graph, name).values(), key=len)


def both_sides(graph: Graph, name: str) -> dict[str, tuple[str, ...]]:
    """Return a layer or operation with the paths of all layers ``after`` it, and of all ``before`` it."""
    at = {op.id for op in graph if name in (op.path, op.id)}
    ways = {"after": graph.reach(at), "before": graph.reach(at, backwards=True)}
    layers = {side: [op.path for op in graph if op.id in ids and op.kind in WEIGHTED] for side, ids in ways.items()}
    return {side: tuple(dict.fromkeys((name, *paths))) for side, paths in layers.items()}


def _matching(ops: Iterable[Op], patterns: Patterns, argument: str) -> set[str]:
    """Return the ids of the operations whose module, an outer module or id matches a pattern."""
    names = {op.id: {op.id: None, **dict.fromkeys(outer(op.path))} for op in ops}
    return set(matching(patterns, names, argument=argument, noun="operation", error=ConversionError))


def between_weights_and_relu(graph: Graph, chosen: Collection[str]) -> set[str]:
    """Return what of the chosen operations lies after a weighted one and before a relu or a read-out."""
    kinds, readers = wires(graph), graph.readers()
    after_weights: set[str] = set()
    for op in graph:
        if op.id in chosen and (op.kind in WEIGHTED or any(source in after_weights for source in op.inputs)):
            after_weights.add(op.id)
    before_relu: set[str] = set()
    for op in reversed(graph.ops):
        if op.id in after_weights and (op.kind == "relu" or any(r.id in before_relu for r in readers[op.id])):
            before_relu.add(op.id)
    # After the last relu goes on what spikes can: up to weights that read spikes, and not beyond a signed value.
    carried: set[str] = set()
    for op in graph:
        if op.id not in after_weights:
            continue
        fed = all(source in carried or source not in after_weights for source in op.inputs)
        signed = op.kind in WEIGHTED and kinds[op.inputs[0]] == "current"
        if op.id in before_relu or (fed and op.kind not in ("host", "norm", "affine") and not signed):
            carried.add(op.id)
    # Pools and reshapes that no weights read out stay real.
    ends: set[str] = set()
    for op in reversed(graph.ops):
        if op.id in carried and (op.kind in (*WEIGHTED, "relu") or any(r.id in ends for r in readers[op.id])):
            ends.add(op.id)
    return ends


def in_one_piece(graph: Graph, chosen: Collection[str]) -> bool:
    """Tell whether the chosen operations leave a region with a relu in it, and no way leaves it and comes back."""
    rest = between_weights_and_relu(graph, chosen)
    return any(graph[id].kind == "relu" for id in rest) and not detour(graph, rest)[0]
