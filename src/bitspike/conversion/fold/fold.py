"""Norms and constants folded into weights, exactly, and every relu moved in front of what it commutes with.

    gain * (W x + b) + shift = (gain W) x + (gain b + shift)        behind a weighted operation
    W (gain * x + shift) + b = (W gain) x + (b + W shift)           in front of one that pads nothing
    zeros around gain * x + shift = -shift / gain around x          in front of one that pads, for values that stay real
    relu(max(x)) = max(relu(x)), relu(join(x, y)) = join(relu(x), relu(y))
    max over a part of a window = max over the whole with zeros outside, for values from 0 up

with gain = weight / sqrt(var + eps) and shift = bias - mean * gain for a norm in evaluation. A norm that can go neither
way becomes a depthwise convolution of width 1 where it may stand: it must read no signed value, and a relu must come
before the next weights. Products are taken in double precision and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from bitspike.conversion.fold.upsampling import spell_out
from bitspike.graph.ir import WEIGHTED, Graph, Op
from bitspike.graph.plain import CONVOLUTIONS, is_transposed, layer_of, like, trains
from bitspike.graph.wires import Wire, wires
from bitspike.nn.norms.base import affine


@dataclass(frozen=True, eq=False)
class _Share:
    """What a weighted operation or a padding takes up: a gain and a shift per channel [C], in double precision."""

    op: Op
    gain: Tensor
    shift: Tensor


def fold(graph: Graph) -> Graph:
    """Return the same function with norms and constants folded into weights.

    Weighted operations of the result have a bias. Their modules are new and take the paths of the old ones; the
    modules of the graph that is given are not changed. What cannot be folded stays, for the rules to name.

    Example:
        >>> from bitspike.graph.capture.from_module import capture
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.MaxPool2d(2), nn.ReLU())
        >>> [op.id for op in fold(capture(model, torch.zeros(1, 1, 6, 6)))]
        ['input', '0', '3', '2', 'output']
    """
    draft = _Draft(graph)
    with torch.no_grad():
        while draft.fold_one():
            pass
        draft.stand_alone()
        while draft.lift_one():
            pass
        draft.make_windows_whole()
        draft.give_biases()
    return spell_out(draft.graph())


def gain_and_shift(graph: Graph, op: Op) -> tuple[Tensor, Tensor]:
    """Return what a norm or an affine operation multiplies by and adds, each [C] in double precision."""
    return _gain_and_shift(op, graph.modules[op.module] if op.module else None)


def _gain_and_shift(op: Op, module: Any) -> tuple[Tensor, Tensor]:
    if op.kind == "affine":
        channels = op.shape[0]
        tensors = [op.attrs[name] for name in ("gain", "shift") if isinstance(op.attrs[name], Tensor)]
        device = tensors[0].device if tensors else None
        values = (torch.as_tensor(op.attrs[name], dtype=torch.float64, device=device) for name in ("gain", "shift"))
        gain, shift = (value.expand(channels) for value in values)
        return gain, shift
    return affine(module)


class _Draft:
    """A graph under change: operations in order, and the layer of each."""

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.ops = {op.id: op for op in graph}
        self.layers = {op.id: graph.modules[op.module] for op in graph if op.module is not None}
        self.folded: dict[Any, nn.Module] = {}
        self.borders: dict[Any, str] = {}
        self.ids = set(self.ops)

    def graph(self) -> Graph:
        """Return what was made; modules that are one object keep one key."""
        modules: dict[str, nn.Module] = {}
        keys: dict[int, str] = {}
        ops = []
        for op in self.ops.values():
            if (layer := self.layers.get(op.id)) is not None:
                if id(layer) not in keys:
                    key = op.module if op.module is not None and op.module not in modules else op.id
                    keys[id(layer)] = key
                    modules[key] = layer
                op = replace(op, module=keys[id(layer)])
            ops.append(op)
        return Graph(tuple(ops), modules, self.source.model)

    def readers(self, id: str) -> list[Op]:
        """Return the operations that read one, once for each time they do."""
        return [op for op in self.ops.values() for source in op.inputs if source == id]

    def _wires(self) -> dict[str, Wire]:
        return wires(Graph(tuple(self.ops.values()), {}))

    # Norms and constants into weights

    def fold_one(self) -> bool:
        """Fold the first norm or constant that can be; tell whether there was one."""
        for op in list(self.ops.values()):
            if op.kind not in ("norm", "affine"):
                continue
            gain, shift = _gain_and_shift(op, self.layers.get(op.id))
            shares, into = self._behind(op.inputs[0], gain, shift), _scale_outputs
            if shares is None:
                shares, into = self._ahead(op, gain, shift), _scale_inputs
            if not shares and bool((gain == 1).all()) and not bool(shift.any()):
                shares = []
            if shares is not None:
                for share in shares:
                    self._take(share, into, _shift_trains(self.layers.get(op.id)))
                self._remove(op)
                return True
            if self._merge(op, gain, shift):
                return True
        return False

    def _behind(self, id: str, gain: Tensor, shift: Tensor) -> list[_Share] | None:
        """Return the weighted operations whose outputs can take up a gain and a shift that follow them, or None."""
        op = self.ops[id]
        if len(self.readers(id)) != 1:
            return None
        if op.kind in WEIGHTED:
            return [_Share(op, gain, shift)]
        if op.kind == "concat":
            sizes = [self.ops[source].shape[0] for source in op.inputs]
            pieces = zip(op.inputs, torch.split(gain, sizes), torch.split(shift, sizes), strict=True)
            return _all(self._behind(source, g, s) for source, g, s in pieces)
        if op.kind == "add":  # one of the two takes the shift
            first, second = op.inputs
            return _all([self._behind(first, gain, shift), self._behind(second, gain, torch.zeros_like(shift))])
        return self._behind(op.inputs[0], gain, shift) if self._commutes(op, gain, shift) else None

    def _ahead(self, first: Op, gain: Tensor, shift: Tensor) -> list[_Share] | None:
        """Return the operations whose inputs can take up a gain and a shift in front of them, or None.

        A border of zeros behind a shift is a border of other values in front of it. Spikes cannot send these at every
        step, but the host that gives the image can.
        """
        real = self._wires()[first.inputs[0]] == "real" and bool((gain != 0).all())

        def ahead(id: str, gain: Tensor, shift: Tensor) -> list[_Share] | None:
            found = []
            for op in self.readers(id):
                if op.kind in WEIGHTED:
                    bordered = _is_padded(self.layers[op.id]) and bool(shift.any())
                    fits = not bordered or (real and not is_transposed(self.layers[op.id]))
                    found.append([_Share(op, gain, shift)] if fits else None)
                elif op.kind == "pad" and real and ("value" in op.attrs or bool(shift.any())):
                    around, behind = len(op.attrs["before"]) < len(op.shape), ahead(op.id, gain, shift)
                    found.append([_Share(op, gain, shift), *behind] if around and behind is not None else None)
                elif op.kind == "reshape" and len(op.shape) == 1:
                    each = op.shape[0] // len(gain)
                    found.append(ahead(op.id, gain.repeat_interleave(each), shift.repeat_interleave(each)))
                elif self._commutes(op, gain, shift):
                    found.append(ahead(op.id, gain, shift))
                else:
                    found.append(None)
            return _all(found) if found else None

        shares = ahead(first.id, gain, shift)
        return shares if shares is None or self._one_entry(shares) else None

    def _one_entry(self, shares: list[_Share]) -> bool:
        """Tell whether all layers that take up a shift read one value, with one border or with none."""
        borders = {
            (s.op.inputs[0], _padding(self.layers[s.op.id]))
            for s in shares
            if s.op.kind == "convolution" and bool(s.shift.any())
        }
        return len(borders) < 2 or not any(any(sides) for _, sides in borders)

    def _commutes(self, op: Op, gain: Tensor, shift: Tensor) -> bool:
        """Tell whether an operation may change places with a gain and a shift per channel."""
        if op.kind == "max_pool":
            return bool((gain > 0).all())
        if op.kind == "avg_pool":
            partial = any(op.attrs["padding"]) or op.attrs["ceil_mode"]
            return not partial or not bool(shift.any())
        if op.kind == "pad":
            return not bool(shift.any())
        if op.kind == "reshape":
            return self.ops[op.inputs[0]].shape[0] == op.shape[0]
        return op.kind == "upsample"

    def _take(
        self, share: _Share, into: Callable[[nn.Module, Tensor, Tensor], nn.Module], shift_trains: bool | None
    ) -> None:
        """Give a weighted operation the layer that has taken up a gain and a shift; equal ones stay one layer.

        A weight stays frozen. A bias trains if the layer's or the norm's did, as far as there was one.
        """
        if share.op.kind == "pad":
            attrs = share.op.attrs
            self.ops[share.op.id] = replace(
                share.op, attrs={**attrs, "value": (attrs.get("value", 0.0) - share.shift) / share.gain}
            )
            return
        layer = self.layers[share.op.id]
        if into is _scale_inputs and _is_padded(layer) and bool(share.shift.any()):
            self._surround(share.op, layer, -share.shift / share.gain)
            into = _scale_inputs_unpadded
        key = (id(layer), into, tuple(share.gain.tolist()), tuple(share.shift.tolist()), shift_trains)
        if key not in self.folded:
            made: Any = into(layer, share.gain, share.shift)
            if shift_trains is not None:
                made.bias.requires_grad_(shift_trains or (layer.bias is not None and trains(layer, "bias")))
            self.folded[key] = made
            self.folded[("kept", id(layer))] = layer  # its id must not be given to another
        self.layers[share.op.id] = self.folded[key]

    def _surround(self, op: Op, layer: Any, value: Tensor) -> None:
        """Put the border that a layer pads with in front of it, of one value per channel; equal ones are one."""
        source, sides = self.ops[op.inputs[0]], _padding(layer)
        key = ("border", source.id, sides, tuple(value.tolist()))
        if key not in self.borders:
            shape = (source.shape[0], *(n + 2 * p for n, p in zip(source.shape[1:], sides, strict=True)))
            attrs = {"before": sides, "after": sides, "value": value}
            made = replace(
                op, id=f"{op.id}.pad", kind="pad", inputs=(source.id,), shape=shape, attrs=attrs, module=None
            )
            self.borders[key] = made.id
            self.ops = {o.id: o for old in self.ops.values() for o in ([old, made] if old is source else [old])}
        self.ops[op.id] = replace(op, inputs=(self.borders[key],))

    def _merge(self, op: Op, gain: Tensor, shift: Tensor) -> bool:
        """Make one of two constants in a row; tell whether that was possible."""
        before = self.ops[op.inputs[0]]
        if before.kind not in ("norm", "affine") or len(self.readers(before.id)) != 1:
            return False
        first_gain, first_shift = _gain_and_shift(before, self.layers.pop(before.id, None))
        attrs = {"gain": gain * first_gain, "shift": gain * first_shift + shift}
        self.ops[op.id] = replace(op, kind="affine", attrs=attrs, module=None)
        self.layers.pop(op.id, None)
        self._remove(before)
        return True

    def _remove(self, op: Op) -> None:
        """Take an operation of one input out of the way."""
        del self.ops[op.id]
        self.layers.pop(op.id, None)
        for reader in {r.id: r for r in self.readers(op.id)}.values():
            inputs = tuple(op.inputs[0] if source == op.id else source for source in reader.inputs)
            self.ops[reader.id] = replace(reader, inputs=inputs)

    # Norms that stay where they stand

    def stand_alone(self) -> None:
        """Make a depthwise convolution of every norm or constant that is left and may stand in front of a relu."""
        kinds = self._wires()
        tensors = (t for layer in self.source.modules.values() for t in [*layer.parameters(), *layer.buffers()])
        dtype = next((t.dtype for t in tensors if t.is_floating_point()), None)
        if dtype is None:
            return  # a network without a single parameter has nothing to become spiking
        for op in list(self.ops.values()):
            if op.kind not in ("norm", "affine") or len(op.shape) - 1 not in CONVOLUTIONS:
                continue
            if kinds[op.inputs[0]] != "rectified" or not self._rectified_first(op.id):
                continue
            gain, shift = _gain_and_shift(op, self.layers.get(op.id))
            dims, channels = len(op.shape) - 1, op.shape[0]
            weight = gain.reshape(channels, 1, *[1] * dims).to(dtype)
            layer: Any = layer_of(CONVOLUTIONS[dims], weight, shift.to(dtype), channels, channels, 1, groups=channels)
            if (norm := self.layers.get(op.id)) is not None:
                layer.weight.requires_grad_(trains(norm, "weight"))
                layer.bias.requires_grad_(trains(norm, "bias"))
            self.layers[op.id] = layer
            self.ops[op.id] = replace(op, kind="convolution", attrs={}, module=op.module or op.id)

    def _rectified_first(self, id: str) -> bool:
        """Tell whether on every way a relu comes before the next weights."""
        return all(
            reader.kind == "relu"
            or (reader.kind not in (*WEIGHTED, "norm", "affine", "host") and self._rectified_first(reader.id))
            for reader in self.readers(id)
        )

    # Relus in front of what they commute with

    def lift_one(self) -> bool:
        """Move the first relu that can be in front of a pool or a join of signed values; tell whether there was one."""
        kinds = self._wires()
        for op in list(self.ops.values()):
            if op.kind != "relu" or kinds[op.inputs[0]] != "current":
                continue
            passed = self.ops[op.inputs[0]]
            if len(self.readers(passed.id)) != 1 or not self._lets_relu_through(passed):
                continue
            self._lift(op, passed, kinds)
            return True
        return False

    def _lets_relu_through(self, op: Op) -> bool:
        if op.kind == "upsample":
            return bool(op.attrs["mode"] == "nearest")
        if op.kind == "slice":
            return len(self.readers(op.inputs[0])) == 1
        return op.kind in ("max_pool", "reshape", "transpose", "pad", "concat")

    def _lift(self, relu: Op, passed: Op, kinds: dict[str, Wire]) -> None:
        """relu(passed(x, y)) becomes passed(relu(x), relu(y)); what cannot be negative needs none."""
        copies: dict[str, Op] = {}
        for source in passed.inputs:
            if source in copies or (kinds[source] == "rectified" and relu.attrs["clip"] is None):
                continue
            changed = {"inputs": (source,), "shape": self.ops[source].shape}
            copies[source] = replace(relu, **(changed if not copies else changed | self._another(relu)))
        moved: dict[str, Op] = {}
        for op in self.ops.values():
            if op.id == passed.id:
                moved.update({c.id: c for c in copies.values()})
                inputs = tuple(copies[source].id if source in copies else source for source in op.inputs)
                moved[op.id] = replace(op, inputs=inputs)
            elif op.id != relu.id:
                inputs = tuple(passed.id if source == relu.id else source for source in op.inputs)
                moved[op.id] = replace(op, inputs=inputs)
        self.ops = moved

    def _another(self, relu: Op) -> dict[str, Any]:
        """Return id and call of one more copy of a relu."""
        base, call = relu.id.partition("#")[0], relu.call + 1
        while f"{base}#{call}" in self.ids:
            call += 1
        self.ids.add(f"{base}#{call}")
        return {"id": f"{base}#{call}", "call": call}

    # Pools whose last windows lie partly outside

    def make_windows_whole(self) -> None:
        """Put the missing places of ``ceil_mode`` there as zeros, which change no maximum of values from 0 up."""
        kinds = self._wires()
        made: dict[str, Op] = {}
        for op in self.ops.values():
            if op.kind == "max_pool" and op.attrs["ceil_mode"] and kinds[op.inputs[0]] == "rectified":
                channels, *inside = self.ops[op.inputs[0]].shape
                names = ("kernel", "stride", "padding", "dilation")
                axes = zip(inside, op.shape[1:], *(op.attrs[name] for name in names), strict=True)
                after = tuple(max(0, (o - 1) * s + d * (k - 1) + 1 - n - 2 * p) for n, o, k, s, p, d in axes)
                shape = (channels, *(n + a for n, a in zip(inside, after, strict=True)))
                attrs = {"before": (0,) * len(after), "after": after}
                pad = replace(op, id=f"{op.id}.pad", kind="pad", shape=shape, attrs=attrs)
                made[pad.id] = pad
                op = replace(op, inputs=(pad.id,), attrs={**op.attrs, "ceil_mode": False})
            made[op.id] = op
        self.ops = made

    # Biases

    def give_biases(self) -> None:
        """Give every weighted operation without a bias one of zeros."""
        made: dict[int, nn.Module] = {}
        for op in self.ops.values():
            if op.kind not in WEIGHTED or self.layers[op.id].bias is not None:
                continue
            layer = self.layers[op.id]
            if id(layer) not in made:
                # A shallow copy: the weight, whatever path it has, stays the one tensor.
                other = copy(layer)
                other._parameters = dict(layer._parameters)
                zeros = torch.zeros(_outputs(layer), device=_weight(layer).device, dtype=_weight(layer).dtype)
                other._parameters["bias"] = nn.Parameter(zeros, trains(layer, "bias"))
                made[id(layer)] = other
            self.layers[op.id] = made[id(layer)]


def _shift_trains(norm: Any) -> bool | None:
    """Tell whether what a norm adds trains; None where it has no parameter for it."""
    return None if norm is None or norm.bias is None else bool(norm.bias.requires_grad)


def _all(found: Any) -> list[_Share] | None:
    """Join lists; None where one is."""
    joined: list[_Share] = []
    for shares in found:
        if shares is None:
            return None
        joined += shares
    return joined


def _weight(layer: Any) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach()


def _padding(layer: Any) -> tuple[int, ...]:
    return tuple(getattr(layer, "padding", ()))


def _is_padded(layer: nn.Module) -> bool:
    return any(_padding(layer)) or is_transposed(layer)


def _outputs(layer: Any) -> int:
    return int(layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)


def _scale_outputs(layer: nn.Module, gain: Tensor, shift: Tensor) -> nn.Module:
    """Return the layer followed by a gain and a shift, each [C_out]."""
    weight, bias = _weight(layer).double(), layer.bias
    axes = [1] * (weight.ndim - 2)
    if is_transposed(layer):  # [C_in, C_out / groups, *kernel]: output channels are axis 1 of each group
        groups = int(layer.groups)  # type: ignore[arg-type]
        apart = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (apart * gain.reshape(groups, 1, -1, *axes)).reshape(weight.shape)
    else:
        scaled = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    moved = shift if bias is None else bias.detach().double() * gain + shift  # type: ignore[operator]
    return like(layer, scaled, moved)


def _scale_inputs(layer: nn.Module, gain: Tensor, shift: Tensor, **changes: Any) -> nn.Module:
    """Return the layer with a gain and a shift in front of it, each [C_in]."""
    weight, bias = _weight(layer).double(), layer.bias
    axes = [1] * (weight.ndim - 2)
    offset: Tensor | float = 0.0
    if is_transposed(layer):
        scaled = weight * gain.reshape(-1, 1, *axes)  # a shift never comes here
    elif isinstance(layer, nn.Linear):
        scaled, offset = weight * gain, weight @ shift
    else:  # [C_out, C_in / groups, *kernel]: output channel o reads the inputs of its group
        groups = int(layer.groups)  # type: ignore[arg-type]
        apart = weight.reshape(groups, -1, *weight.shape[1:])
        scaled = (apart * gain.reshape(groups, 1, -1, *axes)).reshape(weight.shape)
        offset = (apart * shift.reshape(groups, 1, -1, *axes)).reshape(len(weight), -1).sum(1)
    before = torch.zeros(_outputs(layer), dtype=weight.dtype, device=weight.device)
    before = before if bias is None else bias.detach().double()  # type: ignore[operator]
    return like(layer, scaled, before + offset, **changes)


def _scale_inputs_unpadded(layer: nn.Module, gain: Tensor, shift: Tensor) -> nn.Module:
    """Return the same for a layer that gets its border from outside."""
    return _scale_inputs(layer, gain, shift, padding=0)
