"""Which module of the library computes each node, with what parameters, and in what order they run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from bitspike.formats.verilog.tables import Parameters, gain_words, neuron_parameters, readout_parameters, weight_words
from bitspike.formats.verilog.wires import Wire, address_bits, plane, shared_lanes, wire
from bitspike.integer import nodes
from bitspike.integer.bounds.widths import Bounds, Range, bits_of, bounds
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Gained, Input, Integers, Neuron, Node, Readout, Reshape, Shape, Weighted

Numbers = dict[str, int]


@dataclass(frozen=True, eq=False)
class Weights:
    """A ``bs_weighted``: the sums of products of a layer.

    Args:
        node: whose sums they are: the layer with the weights, or what reads its source as it is.
        source: the memory that it reads.
        numbers: its parameters.
        words: of its ROM, the channels of a word in ascending bits [words, P].
        bits: of a weight.
    """

    node: Node
    source: Wire
    numbers: Numbers
    words: Integers
    bits: int


@dataclass(frozen=True, eq=False)
class Stage:
    """What runs from one start to its end: a layer with the neurons after it, a layer whose sums are kept, or a pool.

    Args:
        node: what it computes.
        target: the memory that it writes; of a read-out none.
        numbers: parameters of its module besides those of the sums.
        weights: the sums of a layer; None of a pool.
        parameters: of neurons and read-outs.
        dense: cycles of a step at most, were no integer zero.
    """

    node: Node
    target: Wire | None
    numbers: Numbers
    dense: int
    weights: Weights | None = None
    parameters: Parameters | None = None

    @property
    def sources(self) -> tuple[Wire, ...]:
        """The memories that it reads."""
        assert self.weights is not None
        return (self.weights.source,)


@dataclass(frozen=True, eq=False)
class Pooled(Stage):
    """A stage that reads ``read`` and makes one integer of each window."""

    read: Wire = field(kw_only=True)

    @property
    def sources(self) -> tuple[Wire, ...]:
        return (self.read,)


@dataclass(frozen=True, eq=False)
class Added(Stage):
    """A stage that reads several wires at once and adds them; ``gains`` are the words of its table."""

    reads: tuple[Wire, ...] = field(kw_only=True)
    gains: Integers = field(kw_only=True)

    @property
    def sources(self) -> tuple[Wire, ...]:
        return self.reads


@dataclass(frozen=True, eq=False)
class Plan:
    """All memories and stages of a network, in the order in which they run.

    Args:
        net: the network.
        known: the bounds of its nodes by id.
        input: the memory that the host fills.
        stages: in the order of a step.
    """

    net: IntegerNetwork
    known: Mapping[str, Bounds]
    input: Wire
    stages: tuple[Stage, ...]

    @property
    def memories(self) -> tuple[Wire, ...]:
        """Every memory of a wire."""
        return (self.input, *(s.target for s in self.stages if s.target is not None))

    @property
    def seen(self) -> tuple[Stage, ...]:
        """The stages whose neurons send spikes."""
        return tuple(s for s in self.stages if s.parameters is not None and isinstance(s.node, Neuron))

    @property
    def outputs(self) -> tuple[Stage, ...]:
        """The stages that leave the network."""
        return tuple(s for s in self.stages if s.parameters is not None and isinstance(s.node, Readout))

    @property
    def dense(self) -> int:
        """Cycles of a step, were no integer zero; no step takes more."""
        return sum(s.dense for s in self.stages)


def plan(net: IntegerNetwork, lanes: int) -> Plan:
    """Return what computes a network that :func:`bitspike.formats.verilog.support.check` lets pass.

    Raises:
        ConstraintError: numbers of some nodes may leave 63 bits.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> [type(s.node).__name__ for s in plan(one_convolution(), lanes=16).stages]
        ['Neuron', 'Readout']
    """
    return _Planner(net, lanes).plan()


class _Planner:
    """A plan while it is made."""

    def __init__(self, net: IntegerNetwork, lanes: int) -> None:
        self.net, self.lanes, self.known = net, lanes, bounds(net)
        self.by_id = {node.id: node for node in net.nodes}
        self.readers = {node.id: [n for n in net.nodes if node.id in n.sources] for node in net.nodes}
        self.wires: dict[str, Wire] = {}
        self.stages: list[Stage] = []

    def plan(self) -> Plan:
        for node in self.net.nodes:
            match node:
                case Input():
                    self.wires[node.id] = self._wire(node, "m_input")
                case Reshape():
                    self.wires[node.id] = self.wires[node.sources[0]]
                case nodes.Add():
                    self._added(node, self.known[node.id].wire.span)
                case Gained():
                    self._neurons(node)
                case Weighted():
                    if not self._fused(node):
                        self._stored(node)
                case nodes.Pool():
                    self._pooled(node)
        return Plan(self.net, self.known, self.wires[self.net.input.id], tuple(self.stages))

    def _wire(self, node: Node, name: str) -> Wire:
        memory = wire(name, node.shape, self.known[node.id].wire.span, self.lanes)
        self.wires[node.id] = memory
        return memory

    def _fused(self, node: Node) -> bool:
        """Tell whether one neuron or read-out reads the sums, and nothing else does: then no memory holds them."""
        readers = self.readers[node.id]
        return len(readers) == 1 and isinstance(readers[0], Neuron | Readout) and len(readers[0].sources) == 1

    def _neurons(self, node: Gained) -> None:
        source = self.by_id[node.sources[0]]
        if len(node.sources) > 1:
            sums = self.known[node.id].sums.span
            self._added(node, sums)
            weights = self._weights(node, node.id, _identity(node.shape[0]), sums)
            node = replace(node, gains=(np.ones((1, 1), np.int64),))
        elif isinstance(source, Weighted) and self._fused(source):
            weights = self._weights(source, source.sources[0], _kernel(source), self.known[source.id].wire.span)
        else:
            weights = self._weights(node, source.id, _identity(node.shape[0]), self.known[source.id].wire.span)
        sum_bits, known = weights.numbers["SB"], self.known[node.id]
        lanes, groups = weights.numbers["P"], weights.numbers["G"]
        if isinstance(node, Neuron):
            parameters = neuron_parameters(node, known, self.net.steps, channels=lanes * groups)
            target = self._wire(node, f"m_{node.id}")
        else:
            assert isinstance(node, Readout)
            parameters, target = readout_parameters(node, known, self.net.steps, channels=lanes * groups), None
        height, width = plane(node.shape)
        neurons = lanes * groups * height * width
        numbers: Numbers = {
            "P": lanes, "G": groups, "N": neurons, "REST": node.shape[0] - lanes * (groups - 1),
            "NA": address_bits(neurons), "OA": 1 if target is None else target.address_bits,
            "CA": address_bits(len(parameters.rows)), "ROWS": len(parameters.rows), "SB": sum_bits,
            "OB": 1 if target is None else target.bits, **parameters.numbers,
        }  # fmt: skip
        self._add(node, target, numbers, weights, parameters, gap=lanes)

    def _added(self, node: Gained, span: Range) -> None:
        """Add a stage that adds the sources of a node to a memory of their shape."""
        reads = tuple(self.wires[source] for source in node.sources)
        one = reads[0]
        shape = (one.channels, one.height, one.width)
        target = wire(f"m_{node.id}_sum", shape, span, self.lanes)
        self.wires[node.id] = target
        gains = gain_words(node.gains, self.net.steps, one)
        numbers: Numbers = {
            "S": len(reads), "L": one.lanes, "PITCH": one.groups, "WORDS": one.words, "A": one.address_bits,
            "XB": max(w.bits + (not w.signed) for w in reads), "GB": bits_of(int(gains.min()), int(gains.max())),
            "OB": target.bits, "ROWS": len(gains), "CA": address_bits(len(gains)),
            "TIMED": int(len(gains) > one.groups),
        }  # fmt: skip
        self.stages.append(Added(node, target, numbers, one.words + 8, reads=reads, gains=gains))

    def _stored(self, node: Weighted) -> None:
        weights = self._weights(node, node.sources[0], _kernel(node), self.known[node.id].wire.span)
        target = self._wire(node, f"m_{node.id}")
        numbers = {"P": weights.numbers["P"], "SB": weights.numbers["SB"], "OA": target.address_bits}
        self._add(node, target, numbers, weights, None, gap=1)

    def _add(
        self,
        node: Node,
        target: Wire | None,
        numbers: Numbers,
        weights: Weights,
        parameters: Parameters | None,
        gap: int,
    ) -> None:
        weights.numbers["GAP"] = gap
        walk = weights.numbers
        taps = walk["KH"] * walk["KW"] * walk["PITCH"] * walk["L"]
        dense = walk["OH"] * walk["OW"] * walk["G"] * (max(taps, gap) + 2) + gap + 20
        self.stages.append(Stage(node, target, numbers, dense, weights, parameters))

    def _pooled(self, node: nodes.Pool) -> None:
        source = self.wires[node.sources[0]]
        target = self._wire(node, f"m_{node.id}")
        numbers: Numbers = {
            **_windows(source, node.shape, _two(node.kernel), _two(node.stride), _two(node.padding, 0)),
            "PITCH": source.groups, "A": source.address_bits, "OA": target.address_bits, "L": source.lanes,
            "B": source.bits, "OB": target.bits, "SIGNED": int(source.signed),
            "LARGEST": int(isinstance(node, nodes.MaxPool)),
        }  # fmt: skip
        dense = target.words * numbers["KH"] * numbers["KW"] + 8
        self.stages.append(Pooled(node, target, numbers, dense, read=source))

    def _weights(self, node: Node, source_id: str, kernel: _Kernel, span: Range) -> Weights:
        """Return the sums of a layer, which lie in ``span``; with a kernel of ones they hand on a wire as it is."""
        source = self.wires[source_id]
        codes = kernel.codes
        flat = isinstance(self.by_id[source_id], Reshape) or isinstance(node, nodes.Linear)
        if flat and len(codes.shape) == 4:
            codes = codes[..., 0, 0]
        if flat:  # flattened as [C, H, W]: a kernel as large as the source
            codes = codes.reshape(len(codes), source.channels, source.height, source.width)
        out = (len(codes), 1, 1) if flat else node.shape
        lanes = shared_lanes(len(codes), self.lanes)
        words = weight_words(codes, lanes, source.lanes)
        bits = bits_of(int(codes.min()), int(codes.max()))
        numbers: Numbers = {
            **_windows(source, out, codes.shape[2:], kernel.stride, kernel.padding), "DH": kernel.dilation[0],
            "DW": kernel.dilation[1], "PITCH": source.groups, "G": -(-len(codes) // lanes), "A": source.address_bits,
            "L": source.lanes, "B": source.bits, "SIGNED": int(source.signed), "P": lanes, "WB": bits,
            "SB": bits_of(*span), "D": len(words), "WA": address_bits(len(words)),
        }  # fmt: skip
        return Weights(node, source, numbers, words, bits)


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Weight codes [C_out, C_in, KH, KW], without groups, and how the kernel moves."""

    codes: Integers
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)


def _kernel(node: Weighted) -> _Kernel:
    codes = node.weight.codes
    if not isinstance(node, nodes.Convolution):
        return _Kernel(codes)
    codes = _without_groups(codes, node.groups)
    codes = codes.reshape(*codes.shape[:2], *[1] * (4 - codes.ndim), *codes.shape[2:])
    return _Kernel(codes, _two(node.stride), _two(node.padding, 0), _two(node.dilation))


def _without_groups(codes: Integers, groups: int) -> Integers:
    """Return the codes of all input channels: 0 for those of other groups."""
    out, per_group = codes.shape[:2]
    whole = np.zeros((out, per_group * groups, *codes.shape[2:]), np.int64)
    for group in range(groups):
        rows = slice(group * out // groups, (group + 1) * out // groups)
        whole[rows, group * per_group : (group + 1) * per_group] = codes[rows]
    return whole


def _identity(channels: int) -> _Kernel:
    return _Kernel(np.eye(channels, dtype=np.int64)[..., None, None])


def _two(sizes: Shape, missing: int = 1) -> tuple[int, int]:
    """Return the numbers of two axes; of one axis, it is the width."""
    return (missing, *sizes)[-2], sizes[-1]


def _windows(
    source: Wire, out: Shape, kernel: Shape, stride: tuple[int, int], padding: tuple[int, int]
) -> Mapping[str, int]:
    """Return the parameters of a walk over windows."""
    height, width = plane(out)
    return {
        "IH": source.height, "IW": source.width, "KH": kernel[0], "KW": kernel[1], "SH": stride[0], "SW": stride[1],
        "PH": padding[0], "PW": padding[1], "OH": height, "OW": width,
    }  # fmt: skip
