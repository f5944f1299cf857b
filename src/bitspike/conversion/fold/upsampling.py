"""Bilinear upsampling as sums of repeated values, exactly: what spikes can carry.

Growing linearly by a whole factor f, with corners that are not aligned, is repeating every value f times and averaging
over windows of f places (odd f), or over f places and then over 2 (even f). Along one axis, with u the repeated values
and 2 f steps between the centers of two values:

    f = 2    y[i] = (u[i-1] + 2 u[i] + u[i+1]) / 4        f = 3    y[i] = (u[i-1] + u[i] + u[i+1]) / 3

Beyond the border the outermost value goes on, which is one more repetition. So every weight is 1: the operation becomes
repetitions, slices, concatenations and average pools, whose sums are whole numbers of spikes and whose divisor the next
layer's unit carries. Nothing is rounded, there is no further neuron unless pools have neurons
(``average_pool="neuron"``), and what a chip counts is the pool's window.
"""

from __future__ import annotations

from dataclasses import replace

from bitspike.graph.flow import entries
from bitspike.graph.ir import Graph, Op
from bitspike.graph.wires import wires


def spell_out(graph: Graph) -> Graph:
    """Return the graph with the bilinear upsampling of inputs and of rectified values spelt out.

    What reads signed values, or has aligned corners, stays: outside of a region it is real, inside the rules refuse it.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from bitspike.graph.capture.from_module import capture
        >>> grow = nn.Upsample(scale_factor=2, mode="bilinear")
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), grow, nn.Conv2d(2, 1, 3))
        >>> [op.kind for op in spell_out(capture(model, torch.zeros(1, 1, 6, 6)))][3:8]
        ['upsample', 'transpose', 'slice', 'slice', 'concat']
    """
    kinds, entering = wires(graph), entries(graph)
    ops: list[Op] = []
    for op in graph:
        spelt = op.kind == "upsample" and op.attrs["mode"] == "bilinear" and not op.attrs["align_corners"]
        if spelt and (kinds[op.inputs[0]] == "rectified" or op.inputs[0] in entering):
            ops += _sums(op)
        else:
            ops.append(op)
    return Graph(tuple(ops), graph.modules, graph.model) if len(ops) > len(graph.ops) else graph


def _sums(op: Op) -> list[Op]:
    """Return the operations that an upsampling stands for; the last has its id."""
    factors, shape, ones = op.attrs["factors"], op.shape, (1,) * len(op.attrs["factors"])
    parts = [replace(op, id=f"{op.id}.repeat", attrs={"mode": "nearest", "factors": factors, "align_corners": False})]
    order = list(range(len(shape)))  # where the axes of a sample are: only the first can be sliced and concatenated

    def put(name: str, **changes: object) -> Op:
        inputs = changes.pop("inputs", (parts[-1].id,))
        parts.append(replace(op, id=f"{op.id}.{name}", inputs=inputs, **changes))  # type: ignore[arg-type]
        return parts[-1]

    def turn(wanted: list[int], name: str) -> None:
        axes = tuple(order.index(axis) for axis in wanted)
        put(name, kind="transpose", attrs={"axes": axes}, shape=tuple(parts[-1].shape[axis] for axis in axes))
        order[:] = wanted

    for axis, factor in enumerate(factors, 1):
        if factor == 1:
            continue
        turn([axis, *(a for a in order if a != axis)], f"turn{axis}")
        # f // 2 places more on either side: the first f // 2 repeat the first value, the last ones the last.
        inner, border = parts[-1], factor // 2
        size, *rest = inner.shape
        ends = {"first": (0, border), "last": (size - border, size)}
        first, last = (
            put(f"{name}{axis}", inputs=(inner.id,), kind="slice", attrs={"start": start, "stop": stop},
                shape=(border, *rest))
            for name, (start, stop) in ends.items()
        )  # fmt: skip
        put(f"wide{axis}", inputs=(first.id, inner.id, last.id), kind="concat", attrs={},
            shape=(size + 2 * border, *rest))  # fmt: skip
    turn(list(range(len(shape))), "back")
    # n values give n f + 2 (f // 2) places; windows of f leave n f, or n f + 1 where f is even.
    pools = [factors] + [tuple(2 if f % 2 == 0 else 1 for f in factors)] * any(f % 2 == 0 for f in factors)
    for number, kernel in enumerate(pools, 1):
        inside = tuple(n - k + 1 for n, k in zip(parts[-1].shape[1:], kernel, strict=True))
        attrs = {"kernel": kernel, "stride": ones, "padding": (0,) * len(ones), "ceil_mode": False}
        put("sum", kind="avg_pool", attrs=attrs | {"count_include_pad": True}, shape=(shape[0], *inside))
        if number == len(pools):
            parts[-1] = replace(parts[-1], id=op.id)
    assert parts[-1].shape == shape, (parts[-1].shape, shape)
    return parts
