"""Borders as operations of their own: of other values than zeros, and of windows that lie partly outside."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from bitspike.conversion.fold.draft import Draft
from bitspike.graph.ir import Op


def surround(draft: Draft, op: Op, sides: tuple[int, ...], value: Tensor) -> None:
    """Make the padding of a layer an operation before it, of one value per channel; equal paddings are shared."""
    source = draft.ops[op.inputs[0]]
    key = (source.id, sides, tuple(value.tolist()))
    if key not in draft.borders:
        shape = (source.shape[0], *(n + 2 * p for n, p in zip(source.shape[1:], sides, strict=True)))
        attrs = {"before": sides, "after": sides, "value": value}
        pad = replace(op, id=f"{op.id}.pad", kind="pad", inputs=(source.id,), shape=shape, attrs=attrs, module=None)
        draft.borders[key] = pad.id
        # The dict is in the order of data flow, so the pad has to come right after what it reads.
        draft.ops = {o.id: o for old in draft.ops.values() for o in ([old, pad] if old is source else [old])}
    draft.ops[op.id] = replace(op, inputs=(draft.borders[key],))


def make_windows_whole(draft: Draft) -> None:
    """Add the missing places of ``ceil_mode`` as zeros, which change no maximum of values from 0 up."""
    kinds = draft.wires()
    ops: dict[str, Op] = {}
    for op in draft.ops.values():
        # Only values from 0 up: in a window of negative values a zero would be the maximum.
        if op.kind == "max_pool" and op.attrs["ceil_mode"] and kinds[op.inputs[0]] == "rectified":
            channels, *inside = draft.ops[op.inputs[0]].shape
            names = ("kernel", "stride", "padding", "dilation")
            axes = zip(inside, op.shape[1:], *(op.attrs[name] for name in names), strict=True)
            # How far the last window of o, which starts at (o - 1) s - p, reaches beyond n and the padding p.
            after = tuple(max(0, (o - 1) * s + d * (k - 1) + 1 - n - 2 * p) for n, o, k, s, p, d in axes)
            shape = (channels, *(n + a for n, a in zip(inside, after, strict=True)))
            attrs = {"before": (0,) * len(after), "after": after}
            pad = replace(op, id=f"{op.id}.pad", kind="pad", shape=shape, attrs=attrs)
            ops[pad.id] = pad
            op = replace(op, inputs=(pad.id,), attrs={**op.attrs, "ceil_mode": False})
        ops[op.id] = op
    draft.ops = ops
