"""A network of integers under construction: its nodes, their ids, and the wires between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bitspike.errors import LoweringError
from bitspike.integer.bounds.intervals import Interval
from bitspike.integer.nodes import Add, Node, Readout, Reals, Shape, TransposedConvolution, Weight, Weighted
from bitspike.integer.nodes import Neuron as NeuronNode
from bitspike.lowering.wires import Summand, Wire, put_on_grid, smallest_scale


class Builder:
    """Collects the nodes of a network of T ``steps`` in the order of its data flow, and what had to be rounded."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.nodes: list[Node] = []
        self.notes: list[str] = []
        self.proven: dict[str, int] = {}
        """Bits of potentials, by node, that no input may leave."""
        self.exact: list[str] = []
        """Ids of neurons and synapses whose numbers were not rounded."""
        self._calls: Counter[str] = Counter()

    def id(self, path: str) -> str:
        """Return a fresh id for a module path; a second call of the same module gets a number."""
        call = self._calls[path]
        self._calls[path] += 1
        word = "".join(c if c.isalnum() and c.isascii() else "_" for c in path)
        word = word if call == 0 else f"{word}_call{call}"
        taken = {n.id for n in self.nodes}
        while word in taken:
            word += "_"
        return word

    def head(self, path: str, wire: Wire) -> dict[str, Any]:
        """Return what every node after a wire is made of: a fresh id, its module and call, its sources and shape."""
        id = self.id(path)
        return {
            "id": id, "path": path, "call": self._calls[path] - 1, "sources": wire.sources, "shape": wire.shape,
        }  # fmt: skip

    def add(self, node: Node) -> str:
        """Keep a node and return its id."""
        self.nodes.append(node)
        return node.id

    def wire(self, node: Node, scale: Reals, *, timed: bool) -> Wire:
        """Keep a node and return the wire that leaves it."""
        return Wire((Summand(self.add(node), np.asarray(scale)),), np.zeros(1), node.shape, timed)

    def is_binary(self, wire: Wire) -> bool:
        """Tell whether no input can make the integers of a wire anything but 0 and 1, each worth as much."""
        if not wire.plain or wire.summands[0].scale.flat[0] != 1:
            return False
        low, high = self._interval(wire.summands[0].node).span
        return low >= 0 and high <= 1

    def _interval(self, id: str) -> Interval:
        (node,) = [node for node in self.nodes if node.id == id]
        # What a neuron sends does not depend on what it reads.
        sources = () if isinstance(node, NeuronNode) else node.sources
        return node.interval([self._interval(source) for source in sources], self.steps)

    def each(
        self,
        kind: type[Node],
        path: str,
        wire: Wire,
        scaled: Callable[[Reals], Reals] = lambda scale: scale,
        *,
        shape: Shape = (1,),
        **fields: Any,
    ) -> Wire:
        """Put a node of its own after every summand of a wire, and return the wire that leaves them.

        Args:
            scaled: from the scale of a summand to the scale of what leaves its node.
            shape: of what they send, where it does not follow from what they read.

        Raises:
            LoweringError: nodes of this kind cannot read the wire.
        """
        self.need_one_scale(path, wire)
        shape = self.shape_after(kind, path, wire.shape, shape=shape, **fields)
        summands = []
        for summand in wire.summands:
            scale = scaled(summand.scale)
            node = kind(
                id=self.id(path), path=path, sources=(summand.node,), shape=shape, scale=np.abs(scale), **fields
            )
            summands.append(Summand(self.add(node), scale))
        return replace(wire, summands=tuple(summands), shape=shape)

    @staticmethod
    def need_one_scale(path: str, wire: Wire) -> None:
        """Refuse integers that are worth something else at every step, before a node that passes them on.

        Raises:
            LoweringError: a norm whose steps differ stands before it.
        """
        if wire.by_step:
            raise LoweringError(
                f"{path}: comes after a norm whose gain changes from step to step",
                fix="the norm as the last layer before the neuron: bs.TimeDistributed(layer, pool, norm)",
            )

    @staticmethod
    def shape_after(kind: type[Node], path: str, source: Shape, *, shape: Shape = (1,), **fields: Any) -> Shape:
        """Return the shape that a kind of node makes of one sample of its source.

        Raises:
            LoweringError: it cannot read it.
        """
        leaving = kind(id="", path=path, shape=shape, **fields).shape_of(source)
        if leaving is None:
            said = ", ".join(f"{name}={value}" for name, value in fields.items()) or f"shape={shape}"
            raise LoweringError(
                f"{path}: {kind.__name__}({said}) cannot take {list(source)} per sample",
                fix="one number for each axis after the channels, or a shape that holds as many integers",
            )
        return leaving

    def plain(self, path: str, wire: Wire) -> Wire:
        """Make a wire that layers can read: a sum of summands gets a node of its own."""
        if wire.plain:
            return wire
        if wire.offset.any():
            raise LoweringError(
                f"{path} reads real values with an offset (a bias or batch norm without a neuron after it)",
                fix="put a neuron between them, or drop the bias",
            )
        unit = np.full(1, smallest_scale(wire).min())
        on_grid = put_on_grid(wire, unit, 0, reference=unit)
        if on_grid.worst > 0:
            raise LoweringError(
                f"{path} reads channels, or terms of a sum, whose scales are no whole multiples of one another",
                fix="put a neuron between them; it brings every channel back to one scale",
            )
        node = Add(
            id=self.id(f"{path}.sum"), path=path, sources=wire.sources, shape=wire.shape, scale=unit,
            gains=on_grid.gains,
        )  # fmt: skip
        return self.wire(node, unit, timed=wire.timed)

    def rising(self, path: str, wire: Wire) -> Wire:
        """Make every integer grow with its real value, which is what a maximum needs; scales and offsets may stay."""
        self.need_one_scale(path, wire)
        if len(wire.summands) > 1:
            return replace(self.plain(path, replace(wire, offset=np.zeros(1))), offset=wire.offset)
        (summand,) = wire.summands
        if (summand.scale >= 0).all():
            return wire
        sign, scale = np.where(summand.scale < 0, -1, 1), np.abs(summand.scale)
        node = Add(
            id=self.id(f"{path}.sign"), path=path, sources=(summand.node,), shape=wire.shape, scale=scale,
            gains=(sign[None],),
        )  # fmt: skip
        return replace(wire, summands=(Summand(self.add(node), scale),))

    def finished(self) -> tuple[Node, ...]:
        """Return the nodes, with signs where they cost nothing."""
        return tuple(_orient(self.nodes))


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
