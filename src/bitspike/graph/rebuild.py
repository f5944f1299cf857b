"""A graph as a network again: an ordinary real-valued module, or the values of its operations on a batch."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_unflatten

from bitspike.errors import ConversionError
from bitspike.graph.ir import Graph, Op
from bitspike.ops.activation import quant_relu
from bitspike.ops.precision import single

_AVG: dict[int, Callable[..., Any]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAX: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


class Affine(nn.Module):
    """Gain times x plus shift; each a number or one value per channel."""

    def __init__(self, gain: float | Tensor, shift: float | Tensor, dims: int) -> None:
        super().__init__()
        for name, value in (("gain", gain), ("shift", shift)):
            tensor = torch.as_tensor(value, dtype=torch.get_default_dtype() if isinstance(value, float) else None)
            self.register_buffer(name, tensor.detach().reshape(-1, *[1] * dims))

    def forward(self, x: Tensor) -> Tensor:
        """Return the value [N, C, ...] for x [N, C, ...]."""
        return x * self.get_buffer("gain").to(x.dtype) + self.get_buffer("shift").to(x.dtype)


class Border(nn.Module):
    """Puts one value per channel around every image, as far as ``before`` and ``after`` say."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...], value: Tensor) -> None:
        super().__init__()
        # F.pad counts axes from the last one on.
        self.sides = [n for pair in zip(reversed(before), reversed(after), strict=True) for n in pair]
        self.register_buffer("value", value.detach().reshape(-1, *[1] * len(before)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the image with its border, [N, C, ...]."""
        # 1 on the border and 0 inside, so that the product below fills the border alone.
        outside = F.pad(torch.zeros_like(x[:1]), self.sides, value=1.0)
        return F.pad(x, self.sides) + outside * self.get_buffer("value").to(x)


class Structure(nn.Module):
    """Puts results together as the network returned them."""

    def __init__(self, structure: TreeSpec) -> None:
        super().__init__()
        self.structure = structure

    def forward(self, *leaves: Any) -> Any:
        return tree_unflatten(list(leaves), self.structure)


def rebuild(graph: Graph, replace: Mapping[str, nn.Module] | None = None) -> fx.GraphModule:
    """Return a module that computes the graph; parameters stand at their original paths.

    Args:
        graph: from :func:`~bitspike.graph.capture.from_module.capture` or a later pass.
        replace: modules by operation id that take an operation's place; each is called with what the operation reads
            and stands at the path that is the operation's id.

    Example:
        >>> from bitspike.graph.capture.from_module import capture
        >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> sorted(rebuild(capture(model, torch.zeros(1, 2))).state_dict())
        ['0.bias', '0.weight', '2.bias', '2.weight']
    """
    replace = replace or {}
    if unknown := sorted(set(replace) - {op.id for op in graph}):
        raise ConversionError(
            f"there is no operation {unknown[0]!r} to replace", fix="an id of the graph: [op.id for op in graph]"
        )
    traced, modules = fx.Graph(), dict[str, nn.Module]()
    nodes: dict[str, Any] = {}
    for op in graph:
        sources = [nodes[source] for source in op.inputs]
        if op.kind == "input":
            nodes[op.id] = traced.placeholder(op.name)
        elif op.kind == "output":
            _finish(traced, modules, op.attrs["structure"], sources)
        elif op.id in replace:
            modules[op.id] = replace[op.id]
            nodes[op.id] = traced.call_module(op.id, tuple(sources))
        elif (module := _module_of(graph, op)) is not None:
            path, modules[path] = module[0], module[1]
            nodes[op.id] = traced.call_module(path, tuple(sources))
        else:
            function, args, kwargs = expression(op, sources)
            nodes[op.id] = traced.call_function(function, args, kwargs)
    built = fx.GraphModule(modules, traced, graph.model or "Rebuilt")
    built.eval()
    return built


def values(graph: Graph, inputs: Tensor | tuple[Tensor, ...], wanted: Collection[str] | None = None) -> dict[str, Any]:
    """Return by id what the operations of a graph give for a batch, one tensor [N, ...] for each input.

    Args:
        wanted: ids to keep; all of them, if not given. What nobody needs any more is freed on the way, and what
            comes after the last of them is not computed.

    Returns:
        Tensors [N, *shape]; of a ``host`` operation whatever it returns, of the output the network's result.
    """
    kept: dict[str, Any] = {}
    missing = {op.id for op in graph} if wanted is None else set(wanted)
    for op, value in evaluate(graph, inputs):
        if op.id in missing:
            kept[op.id] = value
            missing.remove(op.id)
        if not missing:
            break
    return kept


def evaluate(
    graph: Graph, inputs: Tensor | tuple[Tensor, ...], known: Mapping[str, Any] | None = None
) -> Iterator[tuple[Op, Any]]:
    """Yield operation after operation with its value for a batch [N, ...]; only what is still read stays in memory.

    Values that are ``known`` by id are taken as they are; what only they would need is then not computed.
    """
    batch = tuple(map(single, (inputs,) if isinstance(inputs, Tensor) else inputs))
    known = known or {}
    ops = _needed(graph, known) if known else graph.ops
    # A later reader replaces an earlier one, so the last reader stays.
    last = {source: op.id for op in ops if op.id not in known for source in op.inputs}
    alive: dict[str, Any] = {}
    for op in ops:
        if op.id in known:
            alive[op.id] = known[op.id]
            yield op, known[op.id]
            continue
        sources = [alive[source] for source in op.inputs]
        for source in op.inputs:
            if last[source] == op.id:
                alive.pop(source, None)
        if op.kind == "input":
            value = batch[op.attrs["index"]]
        elif op.kind == "output":
            value = tree_unflatten(sources, op.attrs["structure"])
        elif (module := _module_of(graph, op)) is not None:
            value = module[1](*sources)
        else:
            function, args, kwargs = expression(op, sources)
            value = function(*args, **kwargs)
        if op.id in last:
            alive[op.id] = value
        # Before the yield, or the sources would stay in memory while the caller works.
        del sources
        yield op, value


def _needed(graph: Graph, known: Mapping[str, Any]) -> list[Op]:
    """Return the operations that the network's result needs, those with known values at the ends."""
    wanted: set[str] = set()
    for op in reversed(graph.ops):
        if op.kind == "output" or op.id in wanted:
            wanted |= {op.id} | (set() if op.id in known else set(op.inputs))
    return [op for op in graph if op.id in wanted]


def expression(op: Op, sources: list[Any]) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return the function of torch that an operation without a module calls on its sources, and its arguments.

    Sources are tensors, or nodes of an fx graph that stand for them.
    """
    x, dims = sources[0], len(op.shape) - 1
    attrs = op.attrs
    window = {name: attrs[name] for name in ("kernel", "stride", "padding", "ceil_mode") if name in attrs}
    window = {"kernel_size" if name == "kernel" else name: value for name, value in window.items()}
    match op.kind:
        case "relu":
            if (levels := attrs.get("levels")) is not None:
                return quantized_relu, (x, attrs["clip"], levels), {}
            return (torch.relu, (x,), {}) if attrs["clip"] is None else (torch.clamp, (x, 0.0, attrs["clip"]), {})
        case "add":
            return (operator.add if attrs["signs"] == (1, 1) else operator.sub), tuple(sources), {}
        case "concat":
            return torch.cat, (list(sources), 1), {}
        case "reshape":
            return (torch.flatten, (x, 1), {}) if dims == 0 else (torch.reshape, (x, (-1, *op.shape)), {})
        case "transpose":
            return torch.permute, (x, (0, *(axis + 1 for axis in attrs["axes"]))), {}
        case "slice":
            return operator.getitem, (x, (slice(None), slice(attrs["start"], attrs["stop"]))), {}
        case "avg_pool":
            return _AVG[dims], (x,), {**window, "count_include_pad": attrs["count_include_pad"]}
        case "max_pool":
            return _MAX[dims], (x,), {**window, "dilation": attrs["dilation"]}
        case "upsample":
            corners = {"align_corners": attrs["align_corners"]} if attrs["mode"] == "bilinear" else {}
            factors = [float(factor) for factor in attrs["factors"]]
            return F.interpolate, (x,), {"scale_factor": factors, "mode": attrs["mode"], **corners}
        case "pad":
            pairs = zip(reversed(attrs["before"]), reversed(attrs["after"]), strict=True)
            return F.pad, (x, [n for pair in pairs for n in pair]), {}
    raise AssertionError(op.kind)


def quantized_relu(x: Tensor, clip: float, levels: int) -> Tensor:
    """Clip to [0, clip] and round to ``levels`` equal steps, as the module does whose clip this is."""
    return quant_relu(x, torch.full((), clip, dtype=single(x).dtype, device=x.device), levels)


def _module_of(graph: Graph, op: Op) -> tuple[str, nn.Module] | None:
    """Return path and module of an operation that calls one."""
    if op.kind == "affine":
        return op.id, Affine(op.attrs["gain"], op.attrs["shift"], len(op.shape) - 1)
    if op.kind == "pad" and "value" in op.attrs:
        return op.id, Border(op.attrs["before"], op.attrs["after"], op.attrs["value"])
    # A piece cut out of the trace is not the module at its path, so it stands at the operation's id.
    if op.kind == "host" and (op.module is None or graph.modules[op.module] is not op.attrs["call"]):
        call = op.attrs["call"]
        return op.id, call if isinstance(call, nn.Module) else _Called(call)
    return None if op.module is None else (op.module, graph.modules[op.module])


class _Called(nn.Module):
    """A function as a module."""

    def __init__(self, call: Callable[..., Any]) -> None:
        super().__init__()
        self.call = call

    def forward(self, *inputs: Any) -> Any:
        return self.call(*inputs)


def _finish(traced: fx.Graph, modules: dict[str, nn.Module], structure: TreeSpec, leaves: list[fx.Node]) -> None:
    """Return the results as the network did; plain tuples, lists and dicts need no module for it."""
    plain = tree_unflatten([*leaves], structure)
    if _is_plain(plain):
        traced.output(plain)
        return
    modules["structure"] = Structure(structure)
    traced.output(traced.call_module("structure", tuple(leaves)))


def _is_plain(value: Any) -> bool:
    if type(value) in (tuple, list):
        return all(_is_plain(v) for v in value)
    if type(value) is dict:
        return all(_is_plain(v) for v in value.values())
    return isinstance(value, fx.Node)
