"""An integer network as the nodes and edges of a NIR graph, still without the package ``nir``.

Residual sums are several edges into one neuron; a concatenation becomes slices of the weights that read it; gains and
biases go into the layers before a neuron; a transposed convolution becomes a matrix. What NIR cannot say is collected
as problems, so that the writer can refuse all of it in one error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bitspike.formats.nir.channels import channel_pads
from bitspike.formats.nir.entries import Entry, Floats, neuron_entry, spread
from bitspike.formats.nir.facts import Units, facts, input_facts, real_unit, weight_facts
from bitspike.formats.nir.fit import for_reader
from bitspike.formats.nir.layers import LayerEntries
from bitspike.formats.nir.readers import READERS, Form, Manner, Reader
from bitspike.formats.nir.scale import equal_thresholds
from bitspike.formats.nir.support import LARGEST_MATRIX, reasons
from bitspike.formats.nir.terms import (
    Piece,
    Synapse,
    Term,
    merged,
    merged_synapses,
    moved,
    scaled,
    sliced,
    squared,
    whole,
)
from bitspike.integer import nodes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, Reals, Shape


@dataclass(frozen=True)
class GraphEntries:
    """The nodes of the file by name, the edges between them, and what NIR or the reader cannot say."""

    nodes: dict[str, Entry] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    problems: list[tuple[Node, str]] = field(default_factory=list)


def graph_entries(net: IntegerNetwork, *, units: Units = "integer", reader: Reader | None = None) -> GraphEntries:
    """Return the NIR graph of a network, and everything that it cannot say.

    In integer units the channels of a neuron get one threshold wherever scaling by powers of two makes them equal. With
    a reader, the neurons are rewritten until that reader runs them.
    """
    if reader is None:
        return _Writer(equal_thresholds(net) if units == "integer" else net, units).run()
    fitted, manner = for_reader(net, reader), READERS[reader]
    graph = _Writer(fitted.net, units, fitted.forms, manner).run()
    graph.problems.extend(fitted.problems)
    _prune(graph)
    if not manner.branches:
        meets = Counter(target for _, target in graph.edges)
        for name in (name for name, count in meets.items() if count > 1):
            node = next((n for n in net.nodes if n.id == name), net.nodes[-1])
            graph.problems.append((node, f"{meets[name]} branches meet in it, and {manner.title} takes one of them"))
    return graph


def _prune(graph: GraphEntries) -> None:
    """Leave out what leads to no output: nirtorch takes no node that nobody reads."""
    read = {name for name, entry in graph.nodes.items() if entry.kind in ("Input", "Output")}
    for source, target in reversed(graph.edges):
        read |= {source} if target in read else set()
    graph.edges[:] = [edge for edge in graph.edges if edge[1] in read]
    for name in graph.nodes.keys() - read:
        del graph.nodes[name]


class _Writer:
    """Follow the data from node to node.

    ``wires`` holds by node what its wire is in the file: a sum of terms, or None after a problem. ``known`` holds what
    has been written already, so that a layer that several nodes read is written once.
    """

    def __init__(
        self, net: IntegerNetwork, units: Units, forms: Mapping[str, Form] | None = None, manner: Manner | None = None
    ) -> None:
        self.net, self.units = net, units
        self.forms, self.dt = forms or {}, 1.0 if manner is None else manner.dt
        self.manner, self.lines = manner, manner is None or manner.lines
        self.result = GraphEntries()
        self.wires: dict[str, list[Term] | None] = {}
        self.known: dict[tuple[Any, ...], Piece] = {}
        self.ids = {node.id for node in net.nodes}
        self.pads = channel_pads(net)
        self.layers = LayerEntries(manner, self.refuse)

    def run(self) -> GraphEntries:
        """Write all nodes."""
        for node in self.net.nodes:
            self._write(node)
        return self.result

    def _write(self, node: Node) -> None:
        self.node = node
        problems = [] if node.id in self.pads else reasons(node)
        for reason in problems:
            self.refuse(reason)
        terms = [self.wires[s] for s in node.sources]
        self.wires[node.id] = None
        if not problems and all(t is not None for t in terms):
            self.wires[node.id] = self._wire(node, [t for t in terms if t is not None])

    def refuse(self, reason: str) -> None:
        """Remember why the current node cannot be written."""
        self.result.problems.append((self.node, reason))

    def _wire(self, node: Node, terms: list[list[Term]]) -> list[Term] | None:
        inside = self.net[node.sources[0]].shape if node.sources else ()
        match node:
            case nodes.Input():
                return [self._entry(node.id, Entry("Input", node.shape, node.shape, facts=input_facts(node)))]
            case nodes.Convolution() | nodes.TransposedConvolution() | nodes.Linear():
                pieces = self._pieces(terms[0])
                if not isinstance(node, nodes.Convolution) or self._as_matrix(node) or any(p.flat for p in pieces):
                    pieces = [self._flat(p) for p in pieces]
                return [Synapse(node, inside, tuple(pieces), np.ones(node.shape[0], np.int64))]
            case nodes.SumPool():
                return self._pool(node, self._pieces(terms[0]))
            case nodes.Reshape() | nodes.Pad() if node.id in self.pads:
                return self._zeros(node, terms[0])
            case nodes.Reshape():
                return self._reshape(node, inside, terms[0])
            case nodes.Add():
                return self._sum(node, terms)
            case nodes.Concat():
                return self._concat(node, terms)
            case nodes.Slice():
                cuts = [sliced(p, node.start, node.stop, inside[1:]) for p in self._pieces(terms[0])]
                return [p for p in cuts if p is not None]
        assert isinstance(node, nodes.Neuron | nodes.Readout)
        return self._end(node, self._sum(node, terms))

    def _as_matrix(self, node: nodes.Convolution) -> bool:
        """Tell whether a reader needs a convolution as a matrix: it has one dimension, or nir misreads its kernel."""
        if len(node.shape) == 2:
            return not self.lines
        return self.manner is not None and squared(node.weight.codes, node.padding, node.dilation) is None

    # -- linear layers -------------------------------------------------------------------------------------------

    def _sum(self, node: nodes.Add | nodes.Neuron | nodes.Readout, terms: list[list[Term]]) -> list[Term]:
        pairs = zip(node.gains, terms, strict=True)
        return [scaled(term, gain[0], node.shape[1:]) for gain, some in pairs for term in some]

    def _concat(self, node: nodes.Concat, terms: list[list[Term]]) -> list[Term]:
        start, pieces = 0, []
        for source, some in zip(node.sources, terms, strict=True):
            pieces += [moved(p, start, node.shape[1:]) for p in self._pieces(some)]
            start += self.net[source].shape[0]
        return list(pieces)

    def _zeros(self, node: nodes.Reshape | nodes.Pad, terms: list[Term]) -> list[Term]:
        """Pad channels: every piece moves up by the channels of zeros before it, and nothing is written."""
        if not isinstance(node, nodes.Pad):  # one of the two reshapes around it, see channel_pads
            return terms
        places = self.net[self.net[node.sources[0]].sources[0]].shape[1:]
        return [moved(p, self.pads[node.id], places) for p in self._pieces(terms)]

    def _pool(self, node: nodes.SumPool, pieces: list[Piece]) -> list[Term] | None:
        if any(p.flat for p in pieces):
            self.refuse("it reads a vector that stands for an image")
            return None
        pooled: list[Term] = []
        for p in pieces:
            key = ("pool", p.node, node.kernel, node.stride, node.padding)
            if key not in self.known:
                shape = (p.shape[0], *node.shape[1:])
                entry = self.layers.pool(node, p.shape, shape)
                entry.facts.update(facts(node))
                self.known[key] = self._entry(self._name(node.id), entry, p)
            pool = self.known[key]
            pooled.append(Piece(pool.node, pool.shape, p.start, p.stop, p.offset, p.gain))
        return pooled

    def _reshape(self, node: nodes.Reshape, inside: Shape, terms: list[Term]) -> list[Term] | None:
        if node.shape == inside:
            return terms
        if len(node.shape) > 1:
            self.refuse(f"NIR flattens, and makes no {list(node.shape)} of {list(inside)}")
            return None
        return [self._flat(p, node) for p in self._pieces(terms)]

    def _flat(self, piece: Piece, node: nodes.Reshape | None = None) -> Piece:
        """Return a piece of an image as a piece of a vector; ``node`` is the network's own flattening, if it is one."""
        if piece.flat:
            return piece
        features = math.prod(piece.shape)
        key = ("flat", piece.node)
        if key not in self.known:
            fields = {"start_dim": 0, "end_dim": -1}
            entry = Entry("Flatten", piece.shape, (features,), fields, facts(node) if node else {})
            self.known[key] = self._entry(self._name(node.id if node else f"{piece.node}_flat"), entry, piece)
        places = math.prod(piece.shape[1:])
        start, stop, offset = (n * places for n in (piece.start, piece.stop, piece.offset))
        return Piece(self.known[key].node, (features,), start, stop, offset, np.repeat(piece.gain, places))

    # -- synapses ------------------------------------------------------------------------------------------------

    def _pieces(self, terms: list[Term]) -> list[Piece]:
        """Write the synapses among the terms without a bias, as a layer reads them."""
        pieces = [t for t in terms if isinstance(t, Piece)]
        return merged(pieces + [p for s in merged_synapses(terms) for p in self._synapse(s, None, ends=False)])

    def _synapse(
        self, synapse: Synapse, bias: Integers | None, *, ends: bool, unit: Reals | None = None
    ) -> list[Piece]:
        """Write a layer, once for every piece that it reads; the first one carries the bias [C].

        ``unit`` is the real value [C] of one count of what reads it, None for integers.
        """
        layer, gain = synapse.layer, synapse.gain
        key = (layer.id, ends, *(None if v is None else v.tobytes() for v in (gain, bias, unit)))
        written = []
        for k, piece in enumerate(synapse.pieces):
            if (*key, k) not in self.known:
                some = bias if k == 0 and bias is not None else np.zeros(layer.shape[0], np.int64)
                form = self.layers.affine if synapse.flat else self.layers.image
                entry = form(synapse, piece, some, unit)
                if entry is None:
                    return []
                entry.facts.update(weight_facts(layer, gain if ends else np.ones_like(gain)))
                self.known[(*key, k)] = self._entry(self._name(layer.id), entry, piece)
            written.append(self.known[(*key, k)])
        return written

    # -- neurons and outputs -------------------------------------------------------------------------------------

    def _end(self, node: nodes.Neuron | nodes.Readout, terms: list[Term]) -> list[Term] | None:
        """Write a neuron or an output, and the edges into it."""
        pieces = merged(t for t in terms if isinstance(t, Piece))
        bias: Integers | None = np.broadcast_to(node.bias[0], (node.shape[0],)) if node.bias.any() else None
        unit = np.broadcast_to(real_unit(node), (node.shape[0],)) if self.units == "real" else None
        ends: list[Piece] = []
        for synapse in merged_synapses(terms):
            ends += self._synapse(synapse, bias, ends=True, unit=unit)
            bias = None
        for piece in pieces:
            if piece.is_wire(node.shape) and bias is None and (unit is None or (unit == 1).all()):
                ends.append(piece)
            elif (relay := self._relay(node, piece, bias, unit)) is not None:
                ends.append(relay)
                bias = None
        flat = any(p.flat for p in ends)
        ends = [self._flat(p) for p in ends] if flat else ends
        shape = (math.prod(node.shape),) if flat else node.shape
        return [self._entry(node.id, self._neuron(node, shape), *ends)]

    def _relay(
        self, node: nodes.Neuron | nodes.Readout, piece: Piece, bias: Integers | None, unit: Reals | None
    ) -> Piece | None:
        """Write a gain, a shift of channels or a bias that no layer can absorb, as a matrix or a kernel of size one."""
        piece = self._flat(piece) if len(piece.shape) == 2 and not self.lines else piece
        bias = np.zeros(node.shape[0], np.int64) if bias is None else bias
        rows = math.prod(node.shape) if piece.flat else node.shape[0]
        if rows * piece.shape[0] > LARGEST_MATRIX or len(piece.shape) > 3:
            self.refuse(
                f"the gain or bias on {piece.node} of shape {list(piece.shape)} has no layer of NIR that says it"
            )
            return None
        weight = np.zeros((rows, piece.shape[0]), np.int64)
        count = np.arange(piece.stop - piece.start)
        weight[piece.offset + count, piece.start + count] = piece.gain
        name = self._name(f"{piece.node}_to_{node.id}")
        if piece.flat:
            places = rows // node.shape[0]
            spread = None if unit is None else np.repeat(unit, places)
            return self._entry(name, self.layers.matrix(weight, np.repeat(bias, places), spread), piece)
        dims = len(piece.shape) - 1
        weight = weight.reshape(*weight.shape, *[1] * dims)
        one, none = (1,) * dims, (0,) * dims
        entry = self.layers.convolution(weight, piece.shape, node.shape, one, none, one, bias, unit)
        return self._entry(name, entry, piece)

    def _neuron(self, node: nodes.Neuron | nodes.Readout, shape: Shape) -> Entry:
        if isinstance(node, nodes.Readout):
            return Entry("Output", shape, shape, facts=facts(node))
        unit = real_unit(node) if self.units == "real" else None

        def full(values: Integers, what: str) -> Floats:
            rows = values if unit is None else np.broadcast_to(values, np.broadcast_shapes(values.shape, unit.shape))
            floats = self.layers.floats(rows, what, None if unit is None else np.broadcast_to(unit, rows.shape))
            return spread(floats, node.shape, shape)

        return neuron_entry(node, shape, full, self.forms.get(node.id), self.dt)

    # -- the file's nodes ----------------------------------------------------------------------------------------

    def _entry(self, name: str, entry: Entry, *sources: Piece) -> Piece:
        entry.facts["snn.index"] = len(self.result.nodes)
        self.result.nodes[name] = entry
        self.result.edges.extend((source.node, name) for source in sources)
        return whole(name, entry.gives)

    def _name(self, wanted: str) -> str:
        """Return a free name: the wanted one for the first node that stands for a layer, numbered ones for more."""
        name, k = wanted, 1
        while name in self.result.nodes or (name in self.ids and name != self.node.id and not self._stands(name)):
            name, k = f"{wanted}_{k}", k + 1
        return name

    def _stands(self, name: str) -> bool:
        """Tell whether a name belongs to a layer that is written where it is read."""
        return isinstance(self.net[name], nodes.Convolution | nodes.TransposedConvolution | nodes.Linear)
