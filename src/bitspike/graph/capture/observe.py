"""What flows through a traced model: every value's shape, and whether it is data, a constant or depends on the batch.

The model runs twice, on the example and on the example with one sample more. What is equal both times and comes from
shapes alone is a constant; a tensor whose first axis grows with the batch has one row per sample; what fails the second
time was written for one size of batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from bitspike.errors import ConversionError

# Functions that read no more of a tensor than its shape and kind.
_OF_SHAPE = frozenset({
    "size", "dim", "ndimension", "numel", "nelement", "len", "getattr", "sym_size", "sym_numel", "sym_stride",
    "is_floating_point", "is_complex", "is_contiguous", "get_device", "stride", "element_size",
})  # fmt: skip
_RANDOM = ("rand", "bernoulli", "multinomial", "normal", "poisson", "dropout", "uniform")
_PLAIN = (int, float, bool, str, complex, torch.Size, torch.dtype, torch.device, torch.layout, slice, type(None), range)


@dataclass(frozen=True, eq=False, kw_only=True)
class Seen:
    """What one node of a trace gave.

    Args:
        what: ``data`` follows from the values of the inputs, ``constant`` is the same for every input,
            ``scalar`` is no tensor and depends on the batch, such as ``x.size(0)``.
        value: of a constant or scalar; of data that is a tuple of tensors, their shapes with the batch; else None.
        shape: of a single tensor, batch included; else None.
        rows: a single tensor with one row per sample.
        breaks: it ran with the example's batch only.
        same: the earlier node whose very tensor it returned, or None.
    """

    what: Literal["data", "constant", "scalar"]
    value: Any = None
    shape: tuple[int, ...] | None = None
    rows: bool = False
    breaks: bool = False
    same: fx.Node | None = None


def name_of(node: fx.Node) -> str:
    """Return the plain name of what a node calls: ``conv2d`` for F.conv2d and for ATen's, ``add`` for ``add_``."""
    target = node.target
    if not isinstance(target, str):
        packet = getattr(target, "overloadpacket", target)
        target = str(getattr(packet, "__name__", type(target).__name__))
    return target.strip("_") if node.op != "call_module" else target


def observe(graph: fx.Graph, root: nn.Module, example: Sequence[Tensor]) -> dict[fx.Node, Seen]:
    """Run a traced model on an example [N, ...] and on one sample more; return what every node gave.

    Raises:
        ConversionError: the model does not run on the example.
    """
    with torch.no_grad():
        return _Observer(root, example).run(graph)


class _Observer:
    """The two runs, node by node."""

    def __init__(self, root: nn.Module, example: Sequence[Tensor]) -> None:
        self.root = root
        self.rows = example[0].shape[0]
        self.first: dict[fx.Node, Any] = {}
        self.second: dict[fx.Node, Any] = {}
        self.fixed: set[fx.Node] = set()
        self.example = iter(example)

    def run(self, graph: fx.Graph) -> dict[fx.Node, Seen]:
        last = {source: node for node in graph.nodes for source in node.all_input_nodes}
        seen: dict[fx.Node, Seen] = {}
        for node in graph.nodes:
            if node.op == "output":
                continue
            seen[node] = self._step(node, seen)
            for done in [source for source in node.all_input_nodes if last[source] is node]:
                del self.first[done], self.second[done]  # nobody reads it any more
        return seen

    def _step(self, node: fx.Node, seen: dict[fx.Node, Seen]) -> Seen:
        if node.op == "placeholder":
            value = next(self.example)
            self.first[node], self.second[node] = value.clone(), torch.cat([value, value[:1]])
            return Seen(what="data", shape=tuple(value.shape), rows=True)
        try:
            self.first[node] = self._call(node, self.first)
        except Exception as error:  # the user's code may raise anything
            raise ConversionError(
                f"the model does not run on the example: {name_of(node)} ({node.name}) says {error}",
                fix="pass an example as the model takes it, batch first",
            ) from error
        breaks = self._second(node)  # the same call on one sample more
        value, other = self.first[node], self.second[node]
        what = self._kind(node, value, other, [seen[n] for n in node.all_input_nodes])
        if what != "data":
            return Seen(what=what, value=value)
        if not isinstance(value, Tensor):
            shapes = tuple(tuple(t.shape) if isinstance(t, Tensor) else None for t in tree_leaves(value))
            return Seen(what=what, value=shapes, breaks=breaks)
        same = next((n for n in node.all_input_nodes if seen[n].what == "data" and self.first[n] is value), None)
        return Seen(
            what=what, shape=tuple(value.shape), rows=self._has_rows(node, value, other), breaks=breaks, same=same
        )

    def _second(self, node: fx.Node) -> bool:
        """Run a node on the larger batch; tell whether it, and nothing before it, is bound to the example's batch."""
        inherited = any(n in self.fixed for n in node.all_input_nodes)
        if inherited:
            self.fixed.add(node)
        try:
            self.second[node] = self._call(node, self.second)
        except Exception:  # noqa: BLE001  the user's code may raise anything; the first run had no trouble
            self.second[node] = self.first[node]
            self.fixed.add(node)
            return not inherited
        return False

    def _call(self, node: fx.Node, values: dict[fx.Node, Any]) -> Any:
        args = fx.node.map_arg(node.args, values.__getitem__)
        kwargs = fx.node.map_arg(node.kwargs, values.__getitem__)
        if node.op == "get_attr":
            return attrgetter(str(node.target))(self.root)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "call_module":
            return self.root.get_submodule(str(node.target))(*args, **kwargs)
        assert callable(node.target), node.target
        return node.target(*args, **kwargs)

    def _kind(
        self, node: fx.Node, value: Any, other: Any, sources: list[Seen]
    ) -> Literal["data", "constant", "scalar"]:
        name = name_of(node)
        random = any(word in name for word in _RANDOM) and node.op != "get_attr"
        if all(s.what == "constant" for s in sources):
            return "data" if random else "constant"
        if not all(isinstance(leaf, _PLAIN) for leaf in tree_leaves(value)):
            return "data"
        of_shape = name in _OF_SHAPE or all(s.what != "data" for s in sources)
        return "constant" if of_shape and node not in self.fixed and bool(value == other) else "scalar"

    def _has_rows(self, node: fx.Node, value: Tensor, other: Tensor) -> bool:
        if not value.ndim or value.shape[0] != self.rows:
            return False
        # After a value that is bound to the example's batch the second run tells nothing.
        return node in self.fixed or (other.shape[0] == self.rows + 1 and value.shape[1:] == other.shape[1:])
