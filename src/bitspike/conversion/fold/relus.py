"""Relus before the pools and joins that they commute with, so that these read spikes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from bitspike.conversion.fold.draft import Draft
from bitspike.graph.ir import Graph, Op
from bitspike.graph.wires import Wire

PASSED = ("max_pool", "reshape", "transpose", "pad", "concat", "upsample", "slice")
"""What pick, move or join values, or add zeros, and relu(0) = 0. A sum or a mean would change."""


def relus_before_max_pools(graph: Graph) -> Graph:
    """Return the same function, in which relus that follow a max pool of signed values come before it.

    Example:
        >>> from torch import nn, zeros
        >>> from bitspike.graph.capture.from_module import capture
        >>> graph = capture(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.ReLU()), zeros(1, 1, 6, 6))
        >>> [op.id for op in relus_before_max_pools(graph)]
        ['input', '0', '2', '1', 'output']
    """
    draft, lifted = Draft(graph), False
    while lift_one(draft, through=("max_pool",)):
        lifted = True
    return draft.graph() if lifted else graph


def lift_one(draft: Draft, *, through: Collection[str] = PASSED) -> bool:
    """Move the first relu that can be before a pool or a join of signed values; tell whether there was one."""
    kinds = draft.wires()
    for op in list(draft.ops.values()):
        # Only where a pool or join would read signed currents, which spikes cannot carry.
        if op.kind != "relu" or kinds[op.inputs[0]] != "current":
            continue
        passed = draft.ops[op.inputs[0]]
        # Another reader of the pool or join would lose the negative values.
        if passed.kind in through and len(draft.readers(passed.id)) == 1 and _lets_relu_through(draft, passed):
            _lift(draft, op, passed, kinds)
            return True
    return False


def _lets_relu_through(draft: Draft, op: Op) -> bool:
    if op.kind == "upsample":
        return bool(op.attrs["mode"] == "nearest")
    if op.kind == "slice":  # the other slices of the same value would want a relu of their own
        return len(draft.readers(op.inputs[0])) == 1
    return op.kind in PASSED


def _lift(draft: Draft, relu: Op, passed: Op, kinds: dict[str, Wire]) -> None:
    """relu(passed(x, y)) becomes passed(relu(x), relu(y)); what cannot be negative needs none."""
    copies: dict[str, Op] = {}
    for source in passed.inputs:
        # A ReLU6 also clips from above, so values that are never negative need its copy too.
        if source in copies or (kinds[source] == "rectified" and relu.attrs["clip"] is None):
            continue
        # The first copy keeps the relu's id, the others get a number.
        changed = {"inputs": (source,), "shape": draft.ops[source].shape}
        copies[source] = replace(relu, **(changed if not copies else changed | _name_of_copy(draft, relu)))
    ops: dict[str, Op] = {}
    for op in draft.ops.values():
        if op.id == passed.id:
            ops.update({c.id: c for c in copies.values()})
            inputs = tuple(copies[source].id if source in copies else source for source in op.inputs)
            ops[op.id] = replace(op, inputs=inputs)
        elif op.id != relu.id:
            inputs = tuple(passed.id if source == relu.id else source for source in op.inputs)
            ops[op.id] = replace(op, inputs=inputs)
    draft.ops = ops


def _name_of_copy(draft: Draft, relu: Op) -> dict[str, Any]:
    """Return id and call of one more copy of a relu."""
    base, call = relu.id.partition("#")[0], relu.call + 1
    while f"{base}#{call}" in draft.ids:
        call += 1
    draft.ids.add(f"{base}#{call}")
    return {"id": f"{base}#{call}", "call": call}
