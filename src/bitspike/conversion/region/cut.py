"""Cut the region that becomes spikes out of a graph, and put what was made of it back in its place."""

from __future__ import annotations

import operator
from collections.abc import Collection
from functools import partial

from torch import nn
from torch.utils._pytree import TreeSpec, tree_structure

from bitspike.graph.flow import moves
from bitspike.graph.ir import Graph, Op

CORE = "core"
"""Name of the spiking part inside a hybrid network."""


def core_of(graph: Graph, region: Collection[str]) -> Graph:
    """Return the graph of a convex region alone: it reads from outside its inputs, and outside reads its outputs.

    Example:
        >>> op = partial(Op, path="", shape=(1,))
        >>> whole = Graph((op(id="x", kind="input"), op(id="a", kind="relu", inputs=("x",)),
        ...     op(id="b", kind="host", inputs=("a",)), op(id="output", kind="output", inputs=("b",))), {})
        >>> [(o.id, o.kind, o.inputs) for o in core_of(whole, {"a"})]
        [('x', 'input', ()), ('a', 'relu', ('x',)), ('output', 'output', ('a',))]
    """
    inside = [op for op in graph if op.id in region and op.kind not in ("input", "output")]
    ids = {op.id for op in inside}
    entries = dict.fromkeys(i for op in inside for i in op.inputs if i not in ids)
    inputs = [
        Op(id=id, kind="input", path=graph[id].path, shape=graph[id].shape, attrs={"index": n})
        for n, id in enumerate(entries)
    ]
    exits = tuple(exits_of(graph, ids))
    output = Op(id="output", kind="output", path="", inputs=exits, attrs={"structure": _structure(len(exits))})
    used = {op.module for op in inside if op.module is not None}
    return Graph((*inputs, *inside, output), {k: m for k, m in graph.modules.items() if k in used}, graph.model)


def is_moved_input(graph: Graph, id: str) -> bool:
    """Tell whether an operation gives values of the network's input, moved or with a border around them."""
    op = graph[id]
    return op.kind == "input" or (moves(op) and is_moved_input(graph, op.inputs[0]))


def exits_of(graph: Graph, region: Collection[str]) -> list[str]:
    """Return the operations of a region that something outside reads, in order."""
    readers = graph.readers()
    return [op.id for op in graph if op.id in region and any(r.id not in region for r in readers[op.id])]


def covers(graph: Graph, region: Collection[str]) -> bool:
    """Tell whether nothing but inputs and a plain output stands outside a region, so that no host is needed."""
    output = graph.ops[-1]
    outside = [op for op in graph if op.id not in region and op.kind not in ("input", "output")]
    return not outside and output.attrs["structure"] == _structure(len(output.inputs))


def _structure(results: int) -> TreeSpec:
    """Return how a module hands on its results: one as it is, several as a tuple."""
    return tree_structure(0 if results == 1 else tuple(range(results)))


def replaced(graph: Graph, region: Collection[str], core: nn.Module) -> Graph:
    """Return the whole graph with one operation, the module ``core``, in the place of a region."""
    inside = {op.id for op in graph if op.id in region and op.kind not in ("input", "output")}
    exits = exits_of(graph, inside)
    entries = tuple(dict.fromkeys(i for op in graph if op.id in inside for i in op.inputs if i not in inside))
    call = Op(
        id=CORE, kind="host", path=CORE, inputs=entries, attrs={"call": core, "what": "spiking network"}, module=CORE
    )
    single = len(exits) == 1
    results = [
        Op(
            id=id, kind="host", path=CORE, call=n + 1, inputs=(CORE,), shape=graph[id].shape,
            attrs={"call": partial(_take, index=None if single else n), "what": "result"},
        )
        for n, id in enumerate(exits)
    ]  # fmt: skip
    last = max(n for n, op in enumerate(graph.ops) if op.id in entries) if entries else 0
    before = [op for op in graph.ops[: last + 1] if op.id not in inside]
    rest = [op for op in graph.ops[last + 1 :] if op.id not in inside]
    # What stands between the entries may itself not need the core; what needs it comes after all of its entries.
    needs = set(exits) | graph.reach(exits)
    late = [op for op in before if op.id in needs]
    before = [op for op in before if op.id not in needs]
    modules = {k: m for k, m in graph.modules.items() if any(op.module == k for op in graph if op.id not in inside)}
    ops = (*before, call, *results, *late, *rest)
    return Graph(ops, {**modules, CORE: core}, graph.model)


def _take(x: object, *, index: int | None) -> object:
    return x if index is None else operator.getitem(x, index)  # type: ignore[call-overload]
