"""Norms and constants into the weights before or after them; what can go neither way becomes a layer of its own.

A gain and a shift go back to the weighted layers whose outputs they change, or on to those that read them, past
operations that commute with them. A norm that can go neither way becomes a depthwise convolution of width 1 where it
may stand: it must read no signed value, and a relu must come before the next weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn, split, zeros_like

from bitspike.conversion.fold.borders import surround
from bitspike.conversion.fold.draft import Draft
from bitspike.conversion.fold.layers import (
    gain_and_shift,
    padding_of,
    scale_inputs,
    scale_inputs_unpadded,
    scale_outputs,
)
from bitspike.graph.ir import WEIGHTED, Op
from bitspike.graph.plain import CONVOLUTIONS, is_transposed, layer_of, trains


@dataclass(frozen=True, eq=False)
class Share:
    """What a weighted operation or a padding takes up: a gain and a shift per channel [C], in double precision."""

    op: Op
    gain: Tensor
    shift: Tensor


def fold_one(draft: Draft) -> bool:
    """Fold the first norm or constant that can be; tell whether there was one."""
    for op in list(draft.ops.values()):
        if op.kind not in ("norm", "affine"):
            continue
        norm = draft.layers.get(op.id)
        gain, shift = gain_and_shift(op, norm)
        # Weights before the norm come first: it changes their outputs, so their own padding plays no part.
        shares, into = _before(draft, op.inputs[0], gain, shift), scale_outputs
        if shares is None:
            shares, into = _after(draft, op, gain, shift), scale_inputs
        if not shares and bool((gain == 1).all()) and not bool(shift.any()):
            shares = []  # it changes nothing, so nothing needs to take it up
        if shares is not None:
            # None: the norm had no bias, so whether the new bias trains is decided by the layer alone.
            shift_trains = None if norm is None or norm.bias is None else bool(norm.bias.requires_grad)
            for share in shares:
                _take(draft, share, into, shift_trains)
            draft.remove(op)
            return True
        if _merge(draft, op, gain, shift):
            return True
    return False


def _before(draft: Draft, id: str, gain: Tensor, shift: Tensor) -> list[Share] | None:
    """Return the weighted operations whose outputs can take up a gain and a shift that follow them, or None."""
    op = draft.ops[id]
    if len(draft.readers(id)) != 1:  # another reader wants the value without them
        return None
    if op.kind in WEIGHTED:
        return [Share(op, gain, shift)]
    if op.kind == "concat":
        sizes = [draft.ops[source].shape[0] for source in op.inputs]
        pieces = zip(op.inputs, split(gain, sizes), split(shift, sizes), strict=True)
        return _joined(_before(draft, source, g, s) for source, g, s in pieces)
    # gain (a +- b) + shift = (gain a + shift) +- gain b: only the second side may be subtracted.
    if op.kind == "add":  # one of the two takes the shift
        first, second = op.inputs
        return _joined([_before(draft, first, gain, shift), _before(draft, second, gain, zeros_like(shift))])
    return _before(draft, op.inputs[0], gain, shift) if _commutes(draft, op, gain, shift) else None


def _after(draft: Draft, first: Op, gain: Tensor, shift: Tensor) -> list[Share] | None:
    """Return the operations whose inputs can take up a gain and a shift before them, or None.

    A border of zeros after a shift is a border of other values before it. Spikes cannot send these at every step, but
    the host that gives the image can.
    """
    # The border becomes -shift / gain, so no gain may be 0.
    real = draft.wires()[first.inputs[0]] == "real" and bool((gain != 0).all())

    def readers_of(id: str, gain: Tensor, shift: Tensor) -> list[Share] | None:
        shares = []
        for op in draft.readers(id):
            if op.kind in WEIGHTED:
                # Outputs of a transposed convolution meet different numbers of taps: a shift is no constant there.
                layer = draft.layers[op.id]
                bordered = (any(padding_of(layer)) or is_transposed(layer)) and bool(shift.any())
                fits = not bordered or (real and not is_transposed(layer))
                shares.append([Share(op, gain, shift)] if fits else None)
            elif op.kind == "pad" and real and ("value" in op.attrs or bool(shift.any())):
                around = len(op.attrs["before"]) < len(op.shape)  # channels themselves are not padded
                rest = readers_of(op.id, gain, shift)
                shares.append([Share(op, gain, shift), *rest] if around and rest is not None else None)
            elif op.kind == "reshape" and len(op.shape) == 1:  # all places of a channel follow each other
                each = op.shape[0] // len(gain)
                shares.append(readers_of(op.id, gain.repeat_interleave(each), shift.repeat_interleave(each)))
            else:
                shares.append(readers_of(op.id, gain, shift) if _commutes(draft, op, gain, shift) else None)
        return _joined(shares) if shares else None

    shares = readers_of(first.id, gain, shift)
    return shares if shares is None or _padded_alike(draft, shares) else None


def _padded_alike(draft: Draft, shares: Iterable[Share]) -> bool:
    """Tell whether all convolutions that take up a shift read the same tensor with the same padding, or pad nothing."""
    borders = {
        (share.op.inputs[0], padding_of(draft.layers[share.op.id]))
        for share in shares
        if share.op.kind == "convolution" and bool(share.shift.any())
    }
    return len(borders) < 2 or not any(any(sides) for _, sides in borders)


def _commutes(draft: Draft, op: Op, gain: Tensor, shift: Tensor) -> bool:
    """Tell whether an operation may change places with a gain and a shift per channel."""
    if op.kind == "max_pool":
        # max(gain x + shift) = gain max(x) + shift holds for gain > 0 only.
        return bool((gain > 0).all())
    if op.kind == "avg_pool":
        # A window with padded places would get less than the whole shift; a gain may pass in any case.
        partial = any(op.attrs["padding"]) or op.attrs["ceil_mode"]
        return not partial or not bool(shift.any())
    if op.kind == "pad":
        return not bool(shift.any())
    if op.kind == "reshape":
        # A reshape keeps the order of values, so with as many channels each keeps its own values.
        return draft.ops[op.inputs[0]].shape[0] == op.shape[0]
    return op.kind == "upsample"


def _take(
    draft: Draft, share: Share, into: Callable[[nn.Module, Tensor, Tensor], nn.Module], shift_trains: bool | None
) -> None:
    """Give a weighted operation the layer that has taken up a gain and a shift; equal ones stay one layer.

    A weight stays frozen. A bias trains if the layer's or the norm's did, as far as there was one.
    """
    if share.op.kind == "pad":
        attrs = share.op.attrs
        # Before the norm the border is v' with gain * v' + shift = v, the border after it.
        value = (attrs.get("value", 0.0) - share.shift) / share.gain
        draft.ops[share.op.id] = replace(share.op, attrs={**attrs, "value": value})
        return
    layer = draft.layers[share.op.id]
    if into is scale_inputs and any(padding_of(layer)) and bool(share.shift.any()):
        # The layer's own zeros would lack the shift: its padding becomes an operation with the right border.
        surround(draft, share.op, padding_of(layer), -share.shift / share.gain)
        into = scale_inputs_unpadded
    key = (id(layer), into, tuple(share.gain.tolist()), tuple(share.shift.tolist()), shift_trains)
    if key not in draft.changed:
        scaled: Any = into(layer, share.gain, share.shift)
        if shift_trains is not None:
            scaled.bias.requires_grad_(shift_trains or (layer.bias is not None and trains(layer, "bias")))
        draft.changed[key] = scaled
        draft.changed[("kept", id(layer))] = layer  # its id must not be given to another
    draft.layers[share.op.id] = draft.changed[key]


def _merge(draft: Draft, op: Op, gain: Tensor, shift: Tensor) -> bool:
    """Join two constants in a row; tell whether that was possible."""
    before = draft.ops[op.inputs[0]]
    if before.kind not in ("norm", "affine") or len(draft.readers(before.id)) != 1:
        return False
    # g2 (g1 x + h1) + h2 = (g2 g1) x + (g2 h1 + h2).
    first_gain, first_shift = gain_and_shift(before, draft.layers.pop(before.id, None))
    attrs = {"gain": gain * first_gain, "shift": gain * first_shift + shift}
    draft.ops[op.id] = replace(op, kind="affine", attrs=attrs, module=None)
    draft.layers.pop(op.id, None)
    draft.remove(before)
    return True


def stand_alone(draft: Draft) -> None:
    """Make a depthwise convolution of every norm or constant that is left and may stand before a relu."""
    kinds = draft.wires()
    tensors = (t for layer in draft.source.modules.values() for t in [*layer.parameters(), *layer.buffers()])
    dtype = next((t.dtype for t in tensors if t.is_floating_point()), None)
    if dtype is None:
        return  # a network without a single parameter has nothing to become spiking
    for op in list(draft.ops.values()):
        if op.kind not in ("norm", "affine") or len(op.shape) - 1 not in CONVOLUTIONS:
            continue
        if kinds[op.inputs[0]] != "rectified" or not _relu_before_weights(draft, op.id):
            continue
        norm = draft.layers.get(op.id)
        gain, shift = gain_and_shift(op, norm)
        dims, channels = len(op.shape) - 1, op.shape[0]
        weight = gain.reshape(channels, 1, *[1] * dims).to(dtype)
        layer: Any = layer_of(CONVOLUTIONS[dims], weight, shift.to(dtype), channels, channels, 1, groups=channels)
        if norm is not None:
            layer.weight.requires_grad_(trains(norm, "weight"))
            layer.bias.requires_grad_(trains(norm, "bias"))
        draft.layers[op.id] = layer
        draft.ops[op.id] = replace(op, kind="convolution", attrs={}, module=op.module or op.id)


def _relu_before_weights(draft: Draft, id: str) -> bool:
    """Tell whether on every way a relu comes before the next weights."""
    return all(
        reader.kind == "relu"
        or (reader.kind not in (*WEIGHTED, "norm", "affine", "host") and _relu_before_weights(draft, reader.id))
        for reader in draft.readers(id)
    )


def _joined(lists: Iterable[list[Share] | None]) -> list[Share] | None:
    """Join lists; None where one of them is None."""
    joined: list[Share] = []
    for shares in lists:
        if shares is None:
            return None
        joined += shares
    return joined
