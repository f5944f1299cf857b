"""From the nodes of a trace to the operations of the canonical graph: one walk, shared by both front ends.

:mod:`bitspike.graph.capture.handlers` knows what a call means. What no handler takes becomes a ``host`` operation: a
piece of the trace that runs as it is.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from bitspike.graph.capture.handlers.layers import layer_handler_of
from bitspike.graph.capture.handlers.table import handler_of
from bitspike.graph.capture.live import live
from bitspike.graph.capture.observe import Seen, name_of, observe
from bitspike.graph.capture.site import NotUnderstood, Ref, Scalar, Site, Split, Trace
from bitspike.graph.ir import Graph, Op


def canonical(trace: Trace, example: Sequence[Tensor], *, keep_live: bool = False) -> Graph:
    """Return the canonical graph of a trace, with the shapes of an example [N, ...] for each input.

    With ``keep_live`` what acts in training alone stays; see :mod:`bitspike.graph.capture.live`.

    Raises:
        ConversionError: the model does not run on the example.
    """
    return _Builder(trace, observe(trace.graph, trace.root, example), keep_live=keep_live).build()


class _Builder:
    """The walk over the trace."""

    def __init__(self, trace: Trace, seen: Mapping[fx.Node, Seen], *, keep_live: bool) -> None:
        self.trace, self.keep_live = trace, keep_live
        self.seen = seen
        self.results: dict[fx.Node, Any] = {}  # Ref, Split or a tuple of such
        self.ops: list[Op] = []
        self.modules: dict[str, nn.Module] = {}
        self.weights: dict[tuple[int, str], str] = {}  # key of the layer that holds a weight
        self.calls: Counter[str] = Counter()
        self.ids: set[str] = set()
        self.paths = {path for path, _ in trace.root.named_modules()}
        self.names = {id(value): name for name, value in (*trace.root.named_buffers(), *trace.root.named_parameters())}

    def build(self) -> Graph:
        inputs = 0
        for node in self.trace.graph.nodes:
            if node.op == "placeholder":
                op = Op(id=f"input{inputs or ''}", kind="input", path="", attrs={"index": inputs})
                shape = self.seen[node].shape
                assert shape is not None
                self.results[node] = self.add(replace(op, shape=shape[1:]), of_module=False)
                inputs += 1
            elif node.op == "output":
                self._output(node)
            elif self.seen[node].what == "data" and (node.users or self._overwrites(node)):
                self._step(node)
        ops = _read(self.ops)
        used = dict.fromkeys(op.module for op in ops if op.module is not None)
        return Graph(ops, {key: self.modules[key] for key in used}, self.trace.model)

    def add(self, op: Op, *, of_module: bool) -> Ref:
        """Append an operation under an id that is not taken yet."""
        base = op.id
        if not of_module and base in self.paths and not self.calls[base]:
            self.calls[base] = 1  # the plain word is a module's path
        while True:
            call = self.calls[base]
            self.calls[base] += 1
            name = f"{base}#{call}" if call else base
            if name not in self.ids:
                break
        self.ids.add(name)
        self.ops.append(replace(op, id=name, call=call))
        return Ref(name, op.shape)

    def layer(self, site: Site, weight: Tensor, make: Callable[[], nn.Module]) -> str:
        layer = make()
        if not isinstance(weight, nn.Parameter):
            layer.requires_grad_(self._trains(site.node))
        # The repr has stride, padding and the like: one weight in two such calls is two layers.
        known = (id(weight), repr(layer))
        if known not in self.weights:
            owner, _, _ = self.names.get(id(weight), "").rpartition(".")
            # The path of the module that owns the weight, so that state_dict keys stay; else that of the call.
            free = owner and owner not in self.modules
            called = site.place.path if site.place.is_module else f"{site.place.path}.{site.name}".strip(".")
            key = owner if free else called
            while key in self.modules:
                key += "_"
            self.modules[key] = layer
            self.weights[known] = key
        return self.weights[known]

    def _trains(self, node: fx.Node) -> bool:
        """Tell whether the constants that a call reads are computed from a parameter that trains."""
        if node.op == "get_attr":
            return isinstance(value := self.seen[node].value, nn.Parameter) and value.requires_grad
        return any(self._trains(n) for n in node.all_input_nodes if self.seen[n].what == "constant")

    def _step(self, node: fx.Node) -> None:
        seen = self.seen[node]
        site = Site(self, node, seen)
        try:
            args, kwargs = self._resolve(node.args), self._resolve(node.kwargs)
            result = self._understand(site, seen, args, kwargs)
        except NotUnderstood as why:
            result = self._host(site, seen, str(why), why.code)
        self.results[node] = result
        # Whoever reads an overwritten tensor later reads what the call left in it.
        if self._overwrites(node) and isinstance(node.args[0], fx.Node):
            self.results[node.args[0]] = result

    def _understand(self, site: Site, seen: Seen, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        node = site.node
        if node.op == "call_module" and str(node.target) in self.trace.kept:
            raise NotUnderstood("it is kept real, as asked")
        if site.name == "getitem" and isinstance(args[0], Split | tuple):
            return _part(site, args[0], args[1])
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Ref)]
        if any(ref.shape is None for ref in read):
            raise NotUnderstood("it reads a value that has no row per sample")
        if seen.breaks:
            raise NotUnderstood("it works for the example's batch only: a size of the batch is written into it", "E109")
        if seen.shape is not None and not seen.rows:
            raise NotUnderstood("it mixes or moves the batch: its result has no row per sample", "E109")
        if self.keep_live and (result := live(site, args, kwargs)) is not None:
            return result
        # A call that returned its very input computes nothing.
        if seen.same is not None and not self._overwrites(node):
            return self.results[seen.same]
        return _handle(site, args, kwargs)

    def _overwrites(self, node: fx.Node) -> bool:
        """Tell whether a call changes the tensor it reads."""
        if node.op == "call_module":
            return str(node.target) in self.trace.inplace
        if node.op == "get_attr" or not node.args:
            return False
        name = str(node.target if isinstance(node.target, str) else getattr(node.target, "__name__", ""))
        return (name.endswith("_") and not name.endswith("__")) or node.kwargs.get("inplace") is True

    def _resolve(self, value: Any) -> Any:
        """Replace the nodes in a call's arguments by what they stand for; lists stay lists, tuples tuples."""
        if isinstance(value, fx.Node):
            seen = self.seen[value]
            if seen.what == "data":
                return self.results[value]
            return seen.value if seen.what == "constant" else Scalar(seen.value)
        if isinstance(value, tuple):
            return tuple(self._resolve(v) for v in value)
        if isinstance(value, list):
            return [self._resolve(v) for v in value]
        if isinstance(value, dict):
            return {k: self._resolve(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(*(self._resolve(v) for v in (value.start, value.stop, value.step)))
        return value

    def _host(self, site: Site, seen: Seen, cause: str, code: str) -> Ref:
        node = site.node
        read = [self.results.get(n) for n in node.args if isinstance(n, fx.Node)]
        refs = [ref for ref in read if isinstance(ref, Ref)]
        # A module that reads tensors alone is kept as it is; any other call is cut out with its arguments.
        if node.op == "call_module" and not node.kwargs and len(refs) == len(node.args):
            call, key = site.module, site.own()
        else:
            (call, refs), key = self._piece(node), None
        what = type(site.module).__name__ if node.op == "call_module" else site.name
        result = site.emit("host", *refs, module=key, call=call, what=what, cause=cause, code=code)
        # Without a row per sample no shape is known, and `_understand` refuses whatever reads it.
        return result if seen.rows else Ref(result.id, None)

    def _piece(self, node: fx.Node) -> tuple[nn.Module, list[Ref]]:
        """Cut one call out of the trace, with all that leads to its arguments from operations that exist."""
        graph = fx.Graph()
        copies: dict[fx.Node, Any] = {}
        inputs: dict[Ref, fx.Node] = {}

        def need(source: fx.Node) -> Any:
            # An operation becomes an input of the piece, a plain constant is written in, all else is replayed.
            seen, result = self.seen[source], self.results.get(source)
            if seen.what == "data" and isinstance(result, Ref):
                if result not in inputs:
                    inputs[result] = graph.placeholder(f"input{len(inputs)}")
                return inputs[result]
            if seen.what == "constant" and isinstance(seen.value, int | float | bool | str | None):
                return seen.value
            return replay(source)

        def replay(source: fx.Node) -> Any:
            if source not in copies:
                fx.node.map_arg((source.args, source.kwargs), need)  # placeholders come first
                copied = graph.node_copy(source, need)
                if self._overwrites(source):  # the operation must not change what others read
                    with graph.inserting_before(copied):
                        copied.args = (graph.call_method("clone", (copied.args[0],)), *copied.args[1:])
                copies[source] = copied
            return copies[source]

        graph.output(replay(node))
        # fx wants placeholders before all calls; some were added between them.
        first = next(n for n in graph.nodes if n.op != "placeholder")
        for placeholder in inputs.values():
            first.prepend(placeholder)
        return fx.GraphModule(_modules_of(self.trace.root, graph), graph, _class_name(node)), list(inputs)

    def _output(self, node: fx.Node) -> None:
        leaves = node.args[0]
        assert isinstance(leaves, list | tuple)
        refs = [self._leaf(leaf, index) for index, leaf in enumerate(leaves)]
        op = Op(id="output", kind="output", path="", attrs={"structure": self.trace.structure})
        self.add(replace(op, inputs=tuple(r.id for r in refs)), of_module=False)

    def _leaf(self, leaf: Any, index: int) -> Ref:
        """Return one result of the model; what is no operation yet becomes one."""
        result = self.results.get(leaf) if isinstance(leaf, fx.Node) else None
        if isinstance(result, Ref):
            return result
        graph = fx.Graph()
        if isinstance(leaf, fx.Node):
            call, refs = self._piece(leaf)
        else:
            graph.output(leaf)
            call, refs = fx.GraphModule(nn.Module(), graph), []
        seen = self.seen.get(leaf) if isinstance(leaf, fx.Node) else None
        attrs = {"call": call, "what": "result", "cause": "a part of the result that no layer makes", "code": "E106"}
        shape = seen.shape[1:] if seen is not None and seen.shape and seen.rows else ()
        op = Op(id=f"result{index or ''}", kind="host", path="", shape=shape, attrs=attrs)
        return self.add(replace(op, inputs=tuple(r.id for r in refs)), of_module=False)


def _class_name(node: fx.Node) -> str:
    """Return a class name for the piece of a trace that ends in a node."""
    return "".join(word.capitalize() for word in name_of(node).replace(".", "_").split("_")) or "Piece"


def _handle(site: Site, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if site.node.op == "call_module":
        handler, args = layer_handler_of(site.module), (site.module, *args)
    else:
        handler = handler_of(site.node)
    try:
        # Bound before the call: a TypeError inside of a handler is not taken for a call of another form.
        bound = inspect.signature(handler).bind(site, *args, **kwargs)
    except TypeError as error:
        raise NotUnderstood(f"it is called in a way that is not understood ({error})") from None
    return handler(*bound.args, **bound.kwargs)


def _part(site: Site, whole: Split | tuple[Any, ...], index: Any) -> Any:
    """Return one result of a call that has several."""
    count = len(whole) if isinstance(whole, tuple) else len(whole.spans)
    if isinstance(index, slice):
        return tuple(_part(site, whole, i) for i in range(count)[index])
    if not isinstance(index, int):
        raise NotUnderstood("which part it reads is no constant")
    if isinstance(whole, tuple):
        if not isinstance(whole[index], Ref):
            raise NotUnderstood("this result of the call is not understood")
        return whole[index]
    start, stop = whole.spans[index]
    if stop - start == whole.source.inside[0]:
        return whole.source
    shape = (stop - start, *whole.source.inside[1:])
    return site.emit("slice", whole.source, shape=shape, name="slice", start=start, stop=stop)


def _modules_of(root: nn.Module, graph: fx.Graph) -> dict[str, Any]:
    """Return the modules and tensors that a piece of a trace refers to."""
    return {str(n.target): attrgetter(str(n.target))(root) for n in graph.nodes if n.op in ("call_module", "get_attr")}


def _read(ops: list[Op]) -> tuple[Op, ...]:
    """Drop what nobody reads, the inputs excepted."""
    needed: set[str] = set()
    kept = []
    for op in reversed(ops):
        if op.kind in ("input", "output") or op.id in needed:
            needed.update(op.inputs)
            kept.append(op)
    return tuple(reversed(kept))
