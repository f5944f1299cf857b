"""Turn a trained or converted network into integers.

The model's data flow is followed once. Layers with weights become integer codes; batch norms, pools and biases become
scales and offsets of a wire; a neuron turns them into an integer threshold, bias and gain on one grid. What the integer
form cannot hold is refused by name.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from bitspike.arguments import checked
from bitspike.conversion.result import conversion_of
from bitspike.errors import ConstraintError, LoweringError
from bitspike.graph.capture.guests import halves
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Concat, Readout
from bitspike.lowering.builder import Builder
from bitspike.lowering.entries import Entries, border_of
from bitspike.lowering.fit_neuron import Precision
from bitspike.lowering.membranes import prove_kept
from bitspike.lowering.modules import Modules
from bitspike.lowering.single_precision import rounded_in_float
from bitspike.lowering.wires import Summand, Wire
from bitspike.nn import QuantReLU, SpikeElementWise
from bitspike.nn.trace import evaluation, trace
from bitspike.ops.grids import Grid
from bitspike.ops.wrappers import bare, wrappers

_SUMS = (operator.add, operator.iadd, torch.add)


@checked
def lower(
    model: nn.Module,
    example: Tensor | tuple[Tensor, ...],
    *,
    grid: Grid | None = None,
    precision: Precision | None = None,
) -> IntegerNetwork:
    """Lower a network to integers.

    Args:
        model: a network of :mod:`bitspike.nn` modules and torch layers that ends in a read-out. It is lowered as it
            stands in evaluation mode; the model itself is not changed. Of a network that was converted in part the
            spiking part is lowered; it reads ``model.conversion.packed(images)``, or the images themselves where only a
            border is put around them.
        example: one or more inputs as the model takes them, [N, ...], or [T, N, ...] for a model without an encoder. Of
            a converted network of several inputs a tuple; its integers read all of them side by side,
            ``model.conversion.packed(a, b)``.
        grid: integer grid of the input. None is the grid that a conversion found. Of other networks it means 8-bit
            images in [0, 1], that is ``Grid(1/255, 0, 255)``, or, where the model has no encoder and the example holds
            0 and 1 only, spikes, ``Grid(1.0, 0, 1)``; any other input is refused.
        precision: tolerances and widths; see :class:`Precision`.

    Returns:
        the integer network. Its ``notes`` say everything that had to be rounded, and where float32 may round what
        integers hold; none means that the integers do exactly what the network does in evaluation.

    Raises:
        LoweringError: the model holds something that the integer form cannot express; the message names it.

    Example:
        >>> from bitspike.nn import LIF, RateReadout, Repeat, TimeDistributed
        >>> model = nn.Sequential(Repeat(steps=2), TimeDistributed(nn.Linear(4, 3)), LIF(0.5), RateReadout())
        >>> [type(n).__name__ for n in lower(model, torch.zeros(1, 4)).nodes]
        ['Input', 'Linear', 'Neuron', 'Readout']
    """
    around, host, border = wrappers(model), "", {}
    examples = example if isinstance(example, tuple) else (example,)
    if foreign := [type(x).__name__ for x in examples if not isinstance(x, Tensor)]:
        raise ConstraintError(
            f"lower(example=): allowed are a tensor [N, ...] and a tuple of them, found {', '.join(foreign)}",
            fix="bs.lower(model, images[:1])",
        )
    with bare(model) as network:
        grid = _event_grid(network) if grid is None else grid
        part = network.__dict__.get("spiking")
        if isinstance(part, nn.Module) and part is not network:
            conversion = conversion_of(network)
            network, examples, host = part, conversion.entries(*examples), "; ".join(conversion.host)
            border = border_of(conversion)
        _refuse_ordinary(network)
        with evaluation(network), torch.no_grad():
            net = _Lowering(network, examples, grid, precision or Precision()).run()
    if kinds := halves(model):
        name = str(kinds[0]).removeprefix("torch.")
        said = f"the network computes in {name}, which rounds its sums; the integers do what model.float() does"
        net = replace(net, notes=(said, *net.notes))
    more = {name: words for name, words in (("host", host), ("around", ", ".join(around))) if words}
    return replace(net, source={**net.source, **more, **border})


def _refuse_ordinary(model: nn.Module) -> None:
    """Refuse a network of torch's own layers alone, before the first of them is blamed for it."""
    leaves = [type(module) for module in model.modules() if not any(module.children())]
    own = ("torch.nn.", "bitspike.weights.")
    if all(kind.__module__.startswith(own) or issubclass(kind, QuantReLU) for kind in leaves):
        raise LoweringError(
            f"{type(model).__name__} is an ordinary network: it has no neurons, no encoder and no read-out",
            fix="lower what bs.convert(model, example, calibrate=images) returns; a spiking network of your own begins "
            "with bs.Repeat(steps=T), carries its layers in bs.TimeDistributed and ends in bs.RateReadout()",
        )


def _event_grid(model: nn.Module) -> Grid | None:
    """Return the grid that a conversion found for spikes or counts that are given; no module holds it."""
    if "conversion" not in model.__dict__ or conversion_of(model).settings.coding != "events":
        return None
    grids = conversion_of(model).grids.values()
    return next(iter(grids)) if len(grids) == 1 else None


class _Lowering:
    """One pass over one model."""

    def __init__(self, model: nn.Module, examples: tuple[Tensor, ...], grid: Grid | None, precision: Precision) -> None:
        self.model = model
        self.modules = dict(model.named_modules())
        self.entries = Entries(self.modules, examples, grid)
        self.steps = self.entries.steps
        self.builder = Builder(self.steps)
        self.module = Modules(self.builder, self.entries.grids, precision)

    def run(self) -> IntegerNetwork:
        graph = trace(self.model)
        wires = self.entries.enter([node for node in graph.nodes if node.op == "placeholder"], self.builder)
        for node in graph.nodes:
            if node not in wires:
                wires[node] = self._visit(node, wires)
        source = {"model": type(self.model).__name__, "torch": torch.__version__}
        net = IntegerNetwork(self.steps, self.builder.finished(), tuple(self.builder.notes), source)
        prove_kept(net, self.builder.proven)
        rounded = tuple(rounded_in_float(net, self.builder.exact))
        return replace(net, notes=net.notes + rounded)

    def _visit(self, node: fx.Node, wires: dict[fx.Node, Any]) -> Any:
        args = fx.node.map_arg(node.args, lambda n: wires[n])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: wires[n])
        if node.op == "output":
            return self._leave(args[0])
        if node.op == "call_module":
            module = self.modules[str(node.target)]
            joins = isinstance(module, SpikeElementWise)
            if kwargs or len(args) != 1 + joins:
                said, way = ("named tensors", "join(a, s)") if joins else ("more than one tensor", "module(x)")
                raise LoweringError(f"{node.target}: is called with {said}", fix=way)
            try:
                run = self.module.joined if joins else self.module
                return run(str(node.target), module, *args)
            except ConstraintError as error:
                raise LoweringError(f"{node.target}: {error.message}", fix=error.fix) from error
        if node.op == "get_attr":
            raise LoweringError(
                f"{node.target}: a tensor of the model enters the data flow outside any layer",
                fix="a layer that holds it: a bias, or a norm; bs.convert folds it, if the model has no neurons yet",
            )
        return self._function(node, args, kwargs)

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
                raise LoweringError(
                    f"{node.name}: adds {wires[0].shape} to {wires[1].shape}; equal shapes are needed",
                    fix="bring both to one shape first: a layer, bs.nn.Pad or bs.nn.Slice on one of them",
                )
            return wires[0].plus(wires[1])
        if (
            target in (torch.flatten, "flatten")
            and wires
            and tuple(args[1:]) == ((2,) if wires[0].timed else (1,))
            and not (kwargs or wires[0].last)
        ):
            return self.module.flatten(node.name, wires[0])
        moved = target in (torch.movedim, "movedim") and wires and wires[0].timed and not kwargs
        if moved and tuple(args[1:]) == ((-1, 0) if wires[0].last else (0, -1)):
            return replace(wires[0], last=not wires[0].last)
        if target in (torch.cat, torch.concat) and args and not isinstance(args[0], Wire):
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            return self._concat(node.name, list(args[0]), axis)
        name = target if isinstance(target, str) else getattr(target, "__name__", str(target))
        products = "bs.nn.SpikeElementWise('and') or ('iand') for a product of spikes; bs.nn.Gain for one with a number"
        usual = "a module of torch.nn inside bs.TimeDistributed, or + for a residual sum"
        raise LoweringError(
            f"{node.name}: the integer form has no {name!r}", fix=products if name in ("mul", "imul") else usual
        )

    def _concat(self, path: str, wires: list[Wire], axis: int) -> Wire:
        channels = 2 if wires[0].timed and not wires[0].last else 1
        dims = 1 + wires[0].timed + len(wires[0].shape)
        if axis % dims != channels or len({(w.shape[1:], w.timed, w.burst, w.last) for w in wires}) > 1:
            shapes = ", ".join(str(list(w.shape)) for w in wires)
            raise LoweringError(
                f"{path}: joins {shapes} along axis {axis}; channels, axis {channels}, can be joined",
                fix=f"torch.cat((a, b), dim={channels}) of wires that agree in all other axes",
            )
        for wire in wires:
            self.builder.need_one_scale(path, wire)
        last = wires[0].last
        wires = [w if len(w.summands) == 1 else self.builder.plain(path, w) for w in wires]

        def joined(parts: list[Any]) -> Any:
            return np.concatenate([np.broadcast_to(p, (w.shape[0],)) for p, w in zip(parts, wires, strict=True)])

        scale = joined([w.summands[0].scale for w in wires])
        node = Concat(
            id=self.builder.id(path), path=path, sources=tuple(w.summands[0].node for w in wires),
            shape=(sum(w.shape[0] for w in wires), *wires[0].shape[1:]), scale=np.abs(scale),
        )  # fmt: skip
        return replace(
            wires[0],
            summands=(Summand(self.builder.add(node), scale),),
            offset=joined([w.offset for w in wires]),
            shape=node.shape,
            last=last,
        )
