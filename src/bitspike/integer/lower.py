"""Turn a trained or converted network into integers.

The model's data flow is followed once. Layers with weights become integer codes; batch norms, pools and biases become
scales and offsets of a wire; a neuron turns them into an integer threshold, bias and gain on one grid. What the integer
form cannot hold is refused by name.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from bitspike.errors import ConstraintError, LoweringError
from bitspike.graph.conversion import conversion_of
from bitspike.graph.trace import evaluation, trace
from bitspike.integer.arrangements import MODULES, arrangement, carried
from bitspike.integer.fit_neuron import Precision, fit_neuron, fit_readout
from bitspike.integer.layers import Window, convolution, linear, norm_affine, pool, transposed_convolution
from bitspike.integer.network import (
    Add,
    Burst,
    Concat,
    CountMaxPool,
    Input,
    IntegerNetwork,
    MaxPool,
    Node,
    Pad,
    Readout,
    Reshape,
    SumPool,
    TransposedConvolution,
    Weight,
    Weighted,
    window_shape,
)
from bitspike.integer.network import Neuron as NeuronNode
from bitspike.integer.wires import Branch, Wire, finite, put_on_grid, smallest_scale
from bitspike.nn import (
    BernoulliCoder,
    Codes,
    Encoder,
    Gain,
    Neuron,
    OverTime,
    RateCoder,
    RateReadout,
    Repeat,
    ShiftBatchNorm,
    SumReadout,
    ThresholdBatchNorm,
    TimeDistributed,
)
from bitspike.nn import Burst as BurstModule
from bitspike.nn import CountMaxPool as CountMaxPoolModule
from bitspike.nn import SumPool as SumPoolModule
from bitspike.ops.grids import Grid
from bitspike.weights.path import path_of

_NORMS = (nn.modules.batchnorm._BatchNorm, ThresholdBatchNorm, ShiftBatchNorm)
_IGNORED = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.Identity)
_TIMED = (Gain, BurstModule, SumPoolModule, CountMaxPoolModule, OverTime, *MODULES)
_SUMS = (operator.add, operator.iadd, torch.add)


def lower(
    model: nn.Module, example: Tensor, *, grid: Grid | None = None, precision: Precision | None = None
) -> IntegerNetwork:
    """Lower a network to integers.

    Args:
        model: a network of :mod:`bitspike.nn` modules and torch layers that ends in a read-out. It is lowered as it
            stands in evaluation mode; the model itself is not changed. Of a network that was converted in part the
            spiking part is lowered; its inputs are ``model.conversion.entries(images)``.
        example: one or more inputs as the model takes them, [N, ...], or [T, N, ...] for a model without an encoder.
        grid: integer grid of the input. None means 8-bit images in [0, 1], that is ``Grid(1/255, 0, 255)``, and is
            refused for any other input.
        precision: tolerances and widths; see :class:`Precision`.

    Returns:
        the integer network. Its ``notes`` say everything that had to be rounded; none means that the integers do
        exactly what the network does in evaluation.

    Raises:
        LoweringError: the model holds something that the integer form cannot express; the message names it.

    Example:
        >>> from bitspike.nn import LIF
        >>> model = nn.Sequential(Repeat(steps=2), TimeDistributed(nn.Linear(4, 3)), LIF(0.5), RateReadout())
        >>> [type(n).__name__ for n in lower(model, torch.zeros(1, 4)).nodes]
        ['Input', 'Linear', 'Neuron', 'Readout']
    """
    part = model.__dict__.get("spiking")
    if isinstance(part, nn.Module) and part is not model:
        entries = conversion_of(model).entries(example)
        if len(entries) != 1:
            raise LoweringError(
                f"the spiking part has {len(entries)} inputs; the integer form holds one",
                fix="one tensor that holds them side by side, cut inside the network: a, b = x[:, :3], x[:, 3:]",
            )
        model, example = part, entries[0]
    with evaluation(model), torch.no_grad():
        return _Lowering(model, example, grid, precision or Precision()).run()


class _Lowering:
    """One pass over one model."""

    def __init__(self, model: nn.Module, example: Tensor, grid: Grid | None, precision: Precision) -> None:
        self.model, self.example, self.precision = model, example, precision
        self.modules = dict(model.named_modules())
        encoders = [m for m in self.modules.values() if isinstance(m, Encoder)]
        if len(encoders) > 1:
            raise LoweringError(
                f"the model has {len(encoders)} encoders; the integer form holds one input",
                fix="one tensor that holds the inputs side by side, cut inside the network: a, b = x[:, :3], x[:, 3:]",
            )
        self.encoder = encoders[0] if encoders else None
        self.steps = self.encoder.steps if self.encoder else int(example.shape[0])
        coded = [m.grid for m in self.modules.values() if isinstance(m, Codes)]
        self.grid = self._input_grid(coded[0] if coded and grid is None else grid)
        self.nodes: list[Node] = []
        self.notes: list[str] = []
        self.calls: Counter[str] = Counter()

    def run(self) -> IntegerNetwork:
        wires: dict[fx.Node, Any] = {}
        for node in trace(self.model).nodes:
            wires[node] = self._visit(node, wires)
        nodes = _orient(self.nodes)
        source = {"model": type(self.model).__name__, "torch": torch.__version__}
        return IntegerNetwork(self.steps, tuple(nodes), tuple(self.notes), source)

    # ---- graph -----------------------------------------------------------------------------------------------------

    def _visit(self, node: fx.Node, wires: dict[fx.Node, Any]) -> Any:
        args = fx.node.map_arg(node.args, lambda n: wires[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: wires[n])
        if node.op == "placeholder":
            return self._enter(node)
        if node.op == "output":
            return self._leave(args[0])
        if node.op == "call_module":
            if len(args) != 1 or kwargs:
                raise LoweringError(f"{node.target}: is called with more than one tensor", fix="module(x)")
            try:
                return self._module(str(node.target), self.modules[str(node.target)], args[0])
            except ConstraintError as error:
                raise LoweringError(f"{node.target}: {error.message}", fix=error.fix) from error
        if node.op == "get_attr":
            raise LoweringError(f"{node.target}: a tensor of the model enters the data flow outside any layer")
        return self._function(node, args, kwargs)

    def _enter(self, node: fx.Node) -> Wire:
        if any(isinstance(n, Input) for n in self.nodes):
            raise LoweringError(f"{node.target}: the model has more than one input; lowering takes one")
        untimed = self.encoder is not None
        shape = tuple(self.example.shape[1:] if untimed else self.example.shape[2:])
        coding, divisor = "direct", 1.0
        if isinstance(self.encoder, BernoulliCoder):
            coding, divisor = "bernoulli", self.encoder.divisor
        elif isinstance(self.encoder, RateCoder):
            coding = "rate"
        scale = np.full(1, self.grid.scale)
        constant = isinstance(self.encoder, Repeat)
        entry = Input(
            id="input", path="input", shape=shape, scale=scale, grid=self.grid, constant=constant, coding=coding,
            divisor=divisor,
        )  # fmt: skip
        return self._wire(entry, scale, timed=not untimed)

    def _leave(self, result: Any) -> None:
        results = result if isinstance(result, tuple | list) else [result]
        for r in results:
            if isinstance(r, Wire):
                raise LoweringError(
                    f"the model's output is no read-out: {list(r.shape)} per sample{' and step' * r.timed}",
                    fix="end it with bs.RateReadout() or bs.SumReadout()",
                )
        if not any(isinstance(r, Readout) for r in results):
            raise LoweringError(
                f"the model returns a {type(result).__name__}; a read-out or a tuple of them is needed",
                fix="end it with bs.RateReadout() or bs.SumReadout()",
            )

    def _function(self, node: fx.Node, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        target = node.target
        wires = [a for a in args if isinstance(a, Wire)]
        if target in _SUMS and len(wires) == 2 and len(args) == 2 and not kwargs:
            if wires[0].shape != wires[1].shape:
                raise LoweringError(f"{node.name}: adds {wires[0].shape} to {wires[1].shape}; equal shapes are needed")
            return wires[0].plus(wires[1])
        if (
            target in (torch.flatten, "flatten")
            and wires
            and tuple(args[1:]) == ((2,) if wires[0].timed else (1,))
            and not kwargs
        ):
            return self._flatten(node.name, wires[0])
        if target in (torch.cat, torch.concat) and args and not isinstance(args[0], Wire):
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            return self._concat(node.name, list(args[0]), axis)
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        raise LoweringError(
            f"{node.name}: the integer form has no {name!r}",
            fix="a module of torch.nn inside bs.TimeDistributed, or + for a residual sum",
        )

    def _concat(self, path: str, wires: list[Wire], axis: int) -> Wire:
        channels = 2 if wires[0].timed else 1
        dims = channels + len(wires[0].shape)
        if axis % dims != channels or len({(w.shape[1:], w.timed, w.burst) for w in wires}) > 1:
            shapes = ", ".join(str(list(w.shape)) for w in wires)
            raise LoweringError(f"{path}: joins {shapes} along axis {axis}; channels, axis {channels}, can be joined")
        wires = [w if len(w.branches) == 1 else self._plain(path, w) for w in wires]

        def joined(parts: list[Any]) -> Any:
            return np.concatenate([np.broadcast_to(p, (w.shape[0],)) for p, w in zip(parts, wires, strict=True)])

        scale = joined([w.branches[0].scale for w in wires])
        node = Concat(
            id=self._id(path), path=path, sources=tuple(w.branches[0].node for w in wires),
            shape=(sum(w.shape[0] for w in wires), *wires[0].shape[1:]), scale=np.abs(scale),
        )  # fmt: skip
        return replace(
            wires[0],
            branches=(Branch(self._add(node), scale),),
            offset=joined([w.offset for w in wires]),
            shape=node.shape,
        )

    # ---- modules ---------------------------------------------------------------------------------------------------

    def _module(self, path: str, module: nn.Module, wire: Any) -> Any:
        if isinstance(module, _IGNORED):
            return wire
        if not isinstance(wire, Wire):
            raise LoweringError(
                f"{path}: {type(module).__name__} stands behind the read-out; the integer form ends there",
                fix="keep it outside the model that is lowered",
            )
        if isinstance(module, Codes):
            return self._codes(path, module, wire)
        if isinstance(module, Encoder):
            return self._encoder(path, module, wire)
        if isinstance(module, Neuron):
            return self._neuron(path, module, wire)
        if isinstance(module, RateReadout | SumReadout):
            return self._readout(path, module, wire)
        if isinstance(module, TimeDistributed):
            return self._distributed(path, module, wire)
        if (
            isinstance(module, Gain | BurstModule | SumPoolModule | CountMaxPoolModule | OverTime)
            or type(module) in MODULES
        ):
            _need_time(path, module, wire)
            return self._timed(path, module, wire)
        if wire.timed and isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) == (2, -1):
            return self._flatten(path, wire)
        if wire.timed:
            raise LoweringError(
                f"{path}: {type(module).__name__} gets a tensor with a time axis",
                fix=f"bs.TimeDistributed({type(module).__name__}(...)) carries it over time",
            )
        return self._layer(path, module, wire)

    def _timed(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        """Take a module that is made for [T, N, ...]."""
        if isinstance(module, OverTime):
            return self._layer(path, module, wire)
        if isinstance(module, Gain):
            gain = torch.as_tensor(module.gain, dtype=torch.float64).reshape(-1).cpu().numpy()
            return wire.affine(gain, np.zeros(1))
        if isinstance(module, BurstModule):
            return self._burst(path, wire)
        if isinstance(module, SumPoolModule | CountMaxPoolModule):
            return self._window(path, module, wire)
        return self._arranged(path, module, wire)

    def _burst(self, path: str, wire: Wire) -> Wire:
        branches = [
            Branch(
                self._add(
                    Burst(id=self._id(path), path=path, sources=(b.node,), shape=wire.shape, scale=np.abs(b.scale))
                ),
                b.scale,
            )
            for b in wire.branches
        ]
        return replace(wire, branches=tuple(branches), burst=True)

    def _window(self, path: str, module: SumPoolModule | CountMaxPoolModule, wire: Wire) -> Wire:
        inside, dims = wire.shape[1:], len(module.kernel)
        if len(inside) != dims:
            raise LoweringError(f"{path}: {type(module).__name__} of {dims} axes gets {list(wire.shape)} per sample")
        shape = (wire.shape[0], *window_shape(inside, module.kernel, module.stride, module.padding, (1,) * dims))
        window = Window(module.kernel, module.stride, module.padding, shape, largest=False)
        if isinstance(module, SumPoolModule):
            made = self._pool(path, wire, window, divided=False)
            return replace(made, offset=wire.offset * window.area)
        if wire.offset.any() or len(wire.branches) > 1 or not (wire.branches[0].scale > 0).all():
            raise LoweringError(
                f"{path}: counts of spikes are compared, and what arrives is no plain spike wire",
                fix="put the pool behind a neuron",
            )
        (branch,) = wire.branches
        node = CountMaxPool(
            id=self._id(path), path=path, sources=(branch.node,), shape=shape, scale=branch.scale,
            kernel=module.kernel, stride=module.stride, padding=module.padding,
        )  # fmt: skip
        return replace(wire, branches=(Branch(self._add(node), branch.scale),), shape=shape)

    def _arranged(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        kind, shape, more = arrangement(module, wire.shape, path)

        def along(values: Any) -> Any:
            found = carried(values, module, wire.shape, shape)
            if found is None:
                raise LoweringError(f"{path}: {module!r} mixes channels of different scales", fix="one scale for all")
            return found

        offset = along(wire.offset)
        if kind is Pad and offset.any():
            raise LoweringError(f"{path}: pads real values with an offset", fix="put a neuron in front of it")
        branches = []
        for branch in wire.branches:
            scale = along(branch.scale)
            node = kind(id=self._id(path), path=path, sources=(branch.node,), shape=shape, scale=np.abs(scale), **more)
            branches.append(Branch(self._add(node), scale))
        return replace(wire, branches=tuple(branches), offset=offset, shape=shape)

    def _codes(self, path: str, module: Codes, wire: Wire) -> Wire:
        entry = wire.branches[0].node
        if len(wire.branches) > 1 or entry not in {n.id for n in self.nodes if isinstance(n, Input)} or not wire.plain:
            raise LoweringError(f"{path}: only the model's input can be put on a grid", fix="bs.nn.Codes in front")
        if module.grid != self.grid:
            raise LoweringError(f"{path}: has the grid {module.grid}, and the input the grid {self.grid}")
        return replace(wire, branches=(Branch(entry, np.ones(1)),))

    def _encoder(self, path: str, module: Encoder, wire: Wire) -> Wire:
        if wire.timed:
            raise LoweringError(f"{path}: {type(module).__name__} gets a tensor that has a time axis already")
        if not isinstance(module, Repeat) and (wire.branches[0].node != "input" or not wire.plain):
            raise LoweringError(
                f"{path}: {type(module).__name__} stands behind other layers; only the model's input can be coded",
                fix=f"{type(module).__name__} in front, or bs.Repeat(steps={self.steps}) in its place",
            )
        return replace(wire, timed=True)

    def _distributed(self, path: str, module: nn.Sequential, wire: Wire) -> Wire:
        _need_time(path, module, wire)
        for name, layer in module.named_children():
            inner = f"{path}.{name}"
            wire = (
                self._distributed(inner, layer, wire)
                if type(layer) is nn.Sequential
                else self._layer(inner, layer, wire)
            )
        return wire

    def _layer(self, path: str, module: nn.Module, wire: Wire) -> Wire:
        if isinstance(module, _IGNORED):
            return wire
        if isinstance(module, _NORMS):
            gain, shift = norm_affine(module, path)
            if len(gain) not in (1, wire.shape[0]):
                raise LoweringError(f"{path}: norms {len(gain)} channels and gets {list(wire.shape)} per sample")
            return wire.affine(gain, shift)
        if isinstance(module, nn.Flatten):
            if (module.start_dim, module.end_dim) != (1, -1):
                raise LoweringError(
                    f"{path}: Flatten({module.start_dim}, {module.end_dim}) mixes samples; (1, -1) is needed"
                )
            return self._flatten(path, wire)
        if isinstance(module, nn.modules.conv._ConvTransposeNd):
            return self._weighted(path, module, wire, transposed_convolution)
        if isinstance(module, nn.modules.conv._ConvNd):
            return self._weighted(path, module, wire, convolution)
        if isinstance(module, nn.Linear):
            return self._weighted(path, module, wire, linear)
        window = pool(module, wire.shape, path)
        if window is None:
            raise LoweringError(
                f"{path}: the integer form has no {type(module).__name__}",
                fix="layers it holds: Conv1d/2d/3d, Linear, batch norms, AvgPool, AdaptiveAvgPool, MaxPool, Flatten, "
                "Dropout, and the neurons and read-outs of bitspike",
            )
        return self._pool(path, self._rising(path, wire) if window.largest else wire, window)

    def _pool(self, path: str, wire: Wire, window: Window, *, divided: bool = True) -> Wire:
        branches, area = [], window.area if divided else 1
        for branch in wire.branches:
            kind = MaxPool if window.largest else SumPool
            scale = branch.scale if window.largest else branch.scale / area
            node = kind(
                id=self._id(path), path=path, sources=(branch.node,), shape=window.shape, scale=np.abs(scale),
                kernel=window.kernel, stride=window.stride, padding=window.padding,
            )  # fmt: skip
            branches.append(Branch(self._add(node), scale))
        if any(window.padding) and wire.offset.any():
            raise LoweringError(
                f"{path}: a padded pool behind a batch norm or bias; pool without padding, or before it"
            )
        return replace(wire, branches=tuple(branches), shape=window.shape)

    def _weighted(self, path: str, module: nn.Module, wire: Wire, build: Callable[..., Any]) -> Wire:
        wire = self._plain(path, wire)
        (branch,) = wire.branches
        node = build(
            module, id=self._id(path), path=path, call=self.calls[path] - 1, source=branch.node,
            shape=wire.shape, scale=float(branch.scale.flat[0]), float_bits=self.precision.float_bits,
        )  # fmt: skip
        if node.weight.scheme == "float":
            self.notes.append(f"{path}: weights without a scheme became codes of {node.weight.bits} bits")
        found = path_of(module)
        if found is not None and found[0].vary is not None:
            self.notes.append(f"{path}: the variation of its devices was left out")
        bias = getattr(module, "bias", None)
        offset = np.zeros(1) if bias is None else finite(bias.detach().double().cpu().numpy(), f"{path}: the bias")
        return replace(self._wire(node, node.scale, timed=wire.timed), offset=offset)

    def _flatten(self, path: str, wire: Wire) -> Wire:
        size = int(np.prod(wire.shape))
        each = size // wire.shape[0]

        def spread(values: Any) -> Any:
            return values if len(values) == 1 else np.repeat(values, each)

        if len(wire.shape) == 1:
            return wire
        branches = []
        for branch in wire.branches:
            node = Reshape(
                id=self._id(path), path=path, sources=(branch.node,), shape=(size,), scale=np.abs(spread(branch.scale))
            )
            branches.append(Branch(self._add(node), spread(branch.scale)))
        return replace(wire, branches=tuple(branches), offset=spread(wire.offset), shape=(size,))

    def _neuron(self, path: str, module: Neuron, wire: Wire) -> Wire:
        _need_time(path, module, wire)
        fitted = fit_neuron(wire, module, steps=self.steps, precision=self.precision, path=path)
        self.notes.extend(fitted.notes)
        node = NeuronNode(
            id=self._id(path), path=path, call=self.calls[path] - 1, sources=tuple(b.node for b in wire.branches),
            shape=wire.shape, **fitted.arguments,
        )  # fmt: skip
        return self._wire(node, np.ones(1), timed=True)

    def _readout(self, path: str, module: nn.Module, wire: Wire) -> Readout:
        _need_time(path, module, wire)
        rates = not any(isinstance(n, Weighted) for n in self.nodes if n.id in {b.node for b in wire.branches})
        gains, bias, unit, notes = fit_readout(wire, precision=self.precision, path=path, rates=rates)
        self.notes.extend(notes)
        scale = unit / self.steps if isinstance(module, RateReadout) else unit
        node = Readout(
            id=self._id(path), path=path, call=self.calls[path] - 1, sources=tuple(b.node for b in wire.branches),
            shape=wire.shape, scale=scale, gains=gains, bias=bias,
        )  # fmt: skip
        self._add(node)
        return node

    # ---- wires and ids ---------------------------------------------------------------------------------------------

    def _rising(self, path: str, wire: Wire) -> Wire:
        """Make every integer grow with its real value, which is what a maximum needs; scales and offsets may stay."""
        if len(wire.branches) > 1:
            return replace(self._plain(path, replace(wire, offset=np.zeros(1))), offset=wire.offset)
        (branch,) = wire.branches
        if (branch.scale >= 0).all():
            return wire
        sign, scale = np.where(branch.scale < 0, -1, 1), np.abs(branch.scale)
        node = Add(
            id=self._id(f"{path}.sign"), path=path, sources=(branch.node,), shape=wire.shape, scale=scale,
            gains=(sign[None],),
        )  # fmt: skip
        return replace(wire, branches=(Branch(self._add(node), scale),))

    def _plain(self, path: str, wire: Wire) -> Wire:
        """Make a wire that layers can read: a sum of branches gets a node of its own."""
        if wire.plain:
            return wire
        if wire.offset.any():
            raise LoweringError(
                f"{path} reads real values with an offset (a bias or batch norm without a neuron behind it)",
                fix="put a neuron between them, or drop the bias",
            )
        unit = np.full(1, smallest_scale(wire).min())
        on_grid = put_on_grid(wire, unit, 0, reference=unit)
        if on_grid.worst > 0:
            raise LoweringError(
                f"{path} reads channels or branches whose scales are no whole multiples of one another",
                fix="put a neuron between them; it brings every channel back to one scale",
            )
        sources = tuple(b.node for b in wire.branches)
        node = Add(
            id=self._id(f"{path}.sum"), path=path, sources=sources, shape=wire.shape, scale=unit, gains=on_grid.gains
        )
        return self._wire(node, unit, timed=wire.timed)

    def _wire(self, node: Node, scale: Any, *, timed: bool) -> Wire:
        return Wire((Branch(self._add(node), np.asarray(scale)),), np.zeros(1), node.shape, timed)

    def _add(self, node: Node) -> str:
        self.nodes.append(node)
        return node.id

    def _id(self, path: str) -> str:
        """Return a fresh id for a module path; a second call of the same module gets a number."""
        call = self.calls[path]
        self.calls[path] += 1
        word = "".join(c if c.isalnum() and c.isascii() else "_" for c in path)
        word = word if call == 0 else f"{word}_call{call}"
        taken = {n.id for n in self.nodes}
        while word in taken:
            word += "_"
        return word

    def _input_grid(self, grid: Grid | None) -> Grid:
        x = self.example.detach().double().cpu()
        if isinstance(self.encoder, BernoulliCoder | RateCoder):
            return Grid(1.0, -1 if isinstance(self.encoder, BernoulliCoder) else 0, 1)
        if grid is not None:
            return grid
        low, high = (float(x.min()), float(x.max())) if x.numel() else (0.0, 1.0)
        if low >= 0 and high <= 1:  # false for NaN
            return Grid(1 / 255, 0, 255)
        bound = max(abs(low), abs(high))
        raise LoweringError(
            f"the example reaches from {low:.4g} to {high:.4g}; without a declared grid only 8-bit images "
            "in [0, 1] are taken",
            fix=f"bs.lower(model, example, grid=bs.Grid(scale={bound / 127:.6g}, low=-127, high=127)), "
            "or the grid on which your inputs lie",
        )


def _need_time(path: str, module: nn.Module, wire: Wire) -> None:
    if not wire.timed:
        raise LoweringError(
            f"{path}: {type(module).__name__} gets a tensor without a time axis",
            fix="bs.Repeat(steps=...) in front of it",
        )


def _orient(nodes: list[Node]) -> list[Node]:
    """Turn negative gains into negated weight codes where the codes have no other reader."""
    readers = Counter(s for n in nodes for s in n.sources)
    by_id = {n.id: i for i, n in enumerate(nodes)}
    nodes = list(nodes)
    for i, reader in enumerate(nodes):
        if not isinstance(reader, NeuronNode | Readout):
            continue
        gains = list(reader.gains)
        for g, (gain, source) in enumerate(zip(reader.gains, reader.sources, strict=True)):
            node = nodes[by_id[source]]
            if not isinstance(node, Weighted) or readers[source] > 1 or not _mirrored(node.weight):
                continue
            sign = np.where((gain < 0).all(0), -1, 1)
            if (sign > 0).all() or isinstance(node, TransposedConvolution):
                continue
            gains[g] = gain * sign
            channels = np.broadcast_to(sign, (len(node.weight.codes),)).reshape(-1, *[1] * (node.weight.codes.ndim - 1))
            weight = replace(node.weight, codes=node.weight.codes * channels)
            nodes[by_id[source]] = replace(node, weight=weight)
        nodes[i] = replace(reader, gains=tuple(gains))
    return nodes


def _mirrored(weight: Weight) -> bool:
    """Tell whether a grid of codes holds the negative of each of its codes."""
    levels = weight.levels or (weight.low, weight.high)
    return set(levels) == {-level for level in levels}
