"""A graph while it is folded: operations in the order of data flow, and the layer of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import nn

from bitspike.graph.ir import Graph, Op
from bitspike.graph.wires import Wire, wires


class Draft:
    """A graph under change.

    Attributes:
        ops: by id, in the order of data flow.
        layers: by operation; two operations that call one layer have one object.
        changed: the layers that took up a gain and a shift, by what they were made of: equal ones stay one layer.
        borders: ids of the paddings that came in, by what they surround and with which values.
        ids: all that were ever taken.
    """

    def __init__(self, graph: Graph) -> None:
        self.source = graph
        self.ops = {op.id: op for op in graph}
        self.layers: dict[str, Any] = {op.id: graph.modules[op.module] for op in graph if op.module is not None}
        self.changed: dict[Any, nn.Module] = {}
        self.borders: dict[Any, str] = {}
        self.ids = set(self.ops)

    def graph(self) -> Graph:
        """Return the graph as it stands; modules that are one object keep one key."""
        modules: dict[str, nn.Module] = {}
        keys: dict[int, str] = {}
        ops = []
        for op in self.ops.values():
            if (layer := self.layers.get(op.id)) is not None:
                if id(layer) not in keys:
                    # A layer keeps its path; where another layer has taken that, it gets the operation's id.
                    key = op.module if op.module is not None and op.module not in modules else op.id
                    keys[id(layer)] = key
                    modules[key] = layer
                op = replace(op, module=keys[id(layer)])
            ops.append(op)
        return Graph(tuple(ops), modules, self.source.model)

    def readers(self, id: str) -> list[Op]:
        """Return the operations that read one, once for each time they do."""
        return [op for op in self.ops.values() for source in op.inputs if source == id]

    def wires(self) -> dict[str, Wire]:
        """Return by id what an operation sends out, as it stands."""
        return wires(Graph(tuple(self.ops.values()), {}))

    def remove(self, op: Op) -> None:
        """Take an operation of one input out of the way."""
        del self.ops[op.id]
        self.layers.pop(op.id, None)
        # `readers` names an operation twice that reads one value twice; here each is rewritten once.
        for reader in {r.id: r for r in self.readers(op.id)}.values():
            inputs = tuple(op.inputs[0] if source == op.id else source for source in reader.inputs)
            self.ops[reader.id] = replace(reader, inputs=inputs)
