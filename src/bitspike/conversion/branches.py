"""What a neuron or a read-out of a folded graph adds up: the one answer, for building and for fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bitspike.errors import ConversionError
from bitspike.graph.flow import moves
from bitspike.graph.ir import WEIGHTED, Op


@dataclass(frozen=True, eq=False)
class Branch:
    """One way into a neuron or read-out.

    Args:
        op: the weighted operation, or the one whose spikes are added without weights: a skip.
        sign: -1 where the branch is subtracted, else 1.
        after: what lies between ``op`` and the neuron apart from sums, in the order of data flow.
        weighted: whether ``op`` has weights.
        joins: the sum that reads a skip, and which of its inputs the skip is; None for a weighted branch.
    """

    op: Op
    sign: int
    after: tuple[Op, ...]
    weighted: bool
    joins: tuple[str, int] | None = None

    @property
    def area(self) -> int:
        """By how much the sums of windows that stand for average pools on the way are too large."""
        return math.prod(math.prod(op.attrs["kernel"]) for op in self.after if op.kind == "avg_pool")


def branches_of(
    ops: Mapping[str, Op],
    spikes: Collection[str],
    id: str,
    *,
    sign: int = 1,
    after: tuple[Op, ...] = (),
    joins: tuple[str, int] | None = None,
) -> list[Branch]:
    """Return all ways into what ``id`` computes, back to weighted operations and to spikes.

    Args:
        ops: of a folded graph, by id.
        spikes: ids of the operations whose results are spikes.
        id: the operation whose value a neuron rectifies or a read-out sums over time.
        sign, after, joins: of the way from there to the neuron.

    Raises:
        ConversionError: an operation on the way has no form on spikes.

    Example:
        >>> conv = Op(id="conv", kind="convolution", path="conv", inputs=("x",))
        >>> add = Op(id="add", kind="add", path="", inputs=("conv", "x"), attrs={"signs": (1, -1)})
        >>> reads = branches_of({"x": Op(id="x", kind="input", path=""), "conv": conv, "add": add}, {"x"}, "add")
        >>> [(b.op.id, b.sign, b.weighted, b.joins) for b in reads]
        [('conv', 1, True, None), ('x', -1, False, ('add', 1))]
    """
    op = ops[id]
    if id in spikes:
        return [Branch(op, sign, after, weighted=False, joins=joins)]
    if op.kind in WEIGHTED:
        if op.inputs[0] not in spikes:
            raise refused(
                op,
                f"E103: reads {op.inputs[0]}, a signed value, where spikes are needed",
                "a ReLU between the two layers, fine-tuned; or leave one of them out (exclude=...)",
            )
        return [Branch(op, sign, after, weighted=True)]
    if op.kind == "add":
        return [
            branch
            for n, (source, own) in enumerate(zip(op.inputs, op.attrs.get("signs", (1, 1)), strict=True))
            for branch in branches_of(ops, spikes, source, sign=sign * own, after=after, joins=(id, n))
        ]
    # A pool that pads has windows of fewer values at the border: one factor for all windows would be wrong.
    if moves(op) or (op.kind == "avg_pool" and not any(op.attrs["padding"])):
        return branches_of(ops, spikes, op.inputs[0], sign=sign, after=(op, *after), joins=joins)
    raise refused(op, f"E106: {op.kind} of a signed value has no form on spikes", "a ReLU before it")


def refused(op: Op, what: str, fix: str) -> ConversionError:
    """Return the error that an operation has no place in a spiking network."""
    return ConversionError(f"{op.where}: {what}", fix=fix)
