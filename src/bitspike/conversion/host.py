"""What a conversion leaves to the host, in words: everything outside the spiking part, before it and after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

from bitspike.graph.ir import Graph, Op
from bitspike.ops.grids import Grid


def host_work(graph: Graph, region: Collection[str], grids: Mapping[str, Grid]) -> tuple[str, ...]:
    """Return a line for every operation that stays real, in the order of data flow.

    Args:
        graph: whole.
        region: ids of the operations that became spikes.
        grids: by id of what enters the region, the integer grid of its codes.

    Example:
        >>> from torch import nn, rand, zeros
        >>> from bitspike.graph.capture.from_module import capture
        >>> graph = capture(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2), nn.Softmax(1)), zeros(1, 2))
        >>> host_work(graph, {"0", "1", "2"}, {})
        ('after the spikes: 3 (Softmax)',)
    """
    after = graph.reach(region)
    return tuple(
        f"{'after' if op.id in after else 'before'} the spikes: {_words(op, grids.get(op.id))}"
        for op in graph
        if op.id not in region and op.kind not in ("input", "output")
    )


def _words(op: Op, grid: Grid | None) -> str:
    """Say what one operation computes."""
    value = op.attrs.get("value")
    if op.kind != "pad" or not isinstance(value, Tensor):
        return f"{op.id} ({op.attrs.get('what', op.kind)})"
    before, after = (", ".join(map(str, op.attrs[side])) for side in ("before", "after"))
    sides = before if before == after else f"{before} before and {after} after"
    channels = ", ".join(f"{v:.6g}" for v in value.tolist())
    codes = "" if grid is None else f", codes {', '.join(str(round(v / grid.scale)) for v in value.tolist())}"
    return f"{op.id} (a border of {sides} around the input: {channels}{codes})"
