"""What runs on the wires of a graph: real values, rectified ones that can be spikes, or signed currents."""

from __future__ import annotations

from typing import Literal

from bitspike.graph.ir import WEIGHTED, Graph, Op

Wire = Literal["real", "rectified", "current"]


def wires(graph: Graph) -> dict[str, Wire]:
    """Return by id what an operation sends out.

    ``rectified`` comes from a relu and is never below 0, whatever pools, sums and joins lie between; ``current`` comes
    from a weighted operation and may be negative; ``real`` comes from an input or from code that runs as it is.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> list(wires(capture(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.zeros(1, 2))).values())
        ['real', 'current', 'rectified', 'rectified']
    """
    kinds: dict[str, Wire] = {}
    for op in graph:
        kinds[op.id] = _wire(op, [kinds[source] for source in op.inputs])
    return kinds


def _wire(op: Op, sources: list[Wire]) -> Wire:
    if op.kind in ("input", "host"):
        return "real"
    if op.kind in WEIGHTED:
        return "current"
    if op.kind == "relu":
        return "rectified"
    if "current" in sources:
        return "current"
    if "real" in sources:
        return "real"
    signed = op.kind in ("norm", "affine") or (op.kind == "add" and op.attrs["signs"] != (1, 1))
    return "current" if signed else "rectified"
