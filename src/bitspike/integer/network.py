"""The integer network: what remains when every float is gone.

A network is a list of nodes in the order of data flow. A wire carries integers [T, N, ...], or [1, N, ...] where
nothing changes over time. Each node says what one of its integers is worth (``scale``), so real values can be read
back; nothing that decides a spike uses it. The nodes and their equations are in :mod:`bitspike.integer.nodes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from bitspike.errors import ConstraintError
from bitspike.integer.limits import check_node, check_steps
from bitspike.integer.nodes import (
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Gained,
    Input,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weighted,
    window_shape,
)
from bitspike.ops.grids import Grid


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A spiking network in integers only.

    Args:
        steps: T.
        nodes: in the order of data flow.
        notes: what lowering had to round, in plain words.
        source: where it came from (model class, versions, settings); no meaning for the arithmetic.

    Raises:
        ConstraintError: an id is used twice or is not a plain word, a source does not stand before its reader, shapes
            do not fit, or a number lies outside its limits (:mod:`bitspike.integer.limits`).
    """

    steps: int
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_steps(self.steps)
        seen: dict[str, Node] = {}
        for node in self.nodes:
            if not node.id.replace("_", "a").isalnum() or not node.id.isascii():
                raise ConstraintError(f"node id {node.id!r}: letters, digits and underscores are allowed")
            if node.id in seen:
                raise ConstraintError(f"two nodes are called {node.id!r}")
            for source in node.sources:
                if source not in seen:
                    raise ConstraintError(f"node {node.id!r} reads {source!r}, which does not stand before it")
                if isinstance(seen[source], Readout):
                    raise ConstraintError(f"node {node.id!r} reads {source!r}, which leaves the network")
            check_node(node)
            _check(node, [seen[s].shape for s in node.sources], self.steps)
            seen[node.id] = node
        if not self.inputs or not self.outputs:
            raise ConstraintError("an integer network needs at least one Input and one Readout")

    @property
    def input(self) -> Input:
        """The one input, for all that run a network on a single tensor of codes."""
        if len(self.inputs) != 1:
            raise ConstraintError(
                f"the network has {len(self.inputs)} inputs; only networks of one input can be run yet"
            )
        return self.inputs[0]

    @property
    def input_grid(self) -> Grid:
        """The integer grid of the one input."""
        return self.input.grid

    def __getitem__(self, id: str) -> Node:
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The nodes where codes enter."""
        return tuple(n for n in self.nodes if isinstance(n, Input))

    @property
    def outputs(self) -> tuple[Readout, ...]:
        """The nodes that leave the network."""
        return tuple(n for n in self.nodes if isinstance(n, Readout))

    @property
    def neurons(self) -> tuple[Neuron, ...]:
        """The spiking nodes, in the order of data flow."""
        return tuple(n for n in self.nodes if isinstance(n, Neuron))

    @property
    def weighted(self) -> tuple[Weighted, ...]:
        """The nodes that hold weight codes."""
        return tuple(n for n in self.nodes if isinstance(n, Weighted))

    def weight_bits(self) -> dict[str, int]:
        """Return the bits of one weight code by layer."""
        return {n.path: n.weight.bits for n in self.weighted}

    def weight_bytes(self) -> int:
        """Return the bytes of all weight codes, packed."""
        return sum(math.ceil(n.weight.codes.size * n.weight.bits / 8) for n in self.weighted)

    def weight_count(self) -> int:
        """Return how many weights there are."""
        return sum(n.weight.codes.size for n in self.weighted)


def _check(node: Node, inputs: list[Shape], steps: int) -> None:
    """Refuse a node whose parameters or output shape do not fit what it reads."""

    def need(fits: bool, what: str) -> None:
        if not fits:
            raise ConstraintError(f"{type(node).__name__} {node.id!r} of shape {list(node.shape)}: {what}")

    need(len(node.shape) > 0 and all(n > 0 for n in node.shape), "a shape needs at least one channel and no empty axis")
    if isinstance(node, Input):
        need(not inputs, "an input reads nothing")
    elif isinstance(node, Gained):
        need(len(node.gains) == len(inputs) > 0, f"{len(inputs)} sources and {len(node.gains)} gains")
        need(all(shape == node.shape for shape in inputs), f"its sources have the shapes {[list(s) for s in inputs]}")
        for name, value, timed in _parameters(node):
            allowed = [(1, steps), (1, node.shape[0])] if timed else [(1, node.shape[0])]
            fits = value.ndim == len(allowed) and all(n in a for n, a in zip(value.shape, allowed, strict=True))
            need(
                fits,
                f"its {name} has the shape {list(value.shape)}; 1 or all of the {'steps and ' * timed}channels fit",
            )
    elif isinstance(node, Concat):
        need(len(inputs) > 0, "a concatenation needs a source")
        fits = all(shape[1:] == node.shape[1:] for shape in inputs) and sum(s[0] for s in inputs) == node.shape[0]
        need(fits, f"its sources have the shapes {[list(s) for s in inputs]}")
    else:
        need(len(inputs) == 1, f"it reads {len(inputs)} sources and takes one")
        made = _shape_made(node, inputs[0])
        need(node.shape == made, f"it makes {list(made) if made else 'nothing'} of {list(inputs[0])}")


def _parameters(node: Gained) -> Iterator[tuple[str, Integers, bool]]:
    """Yield name and value of a node's parameters, and whether they may change over time."""
    yield from ((f"gain {i}", gain, True) for i, gain in enumerate(node.gains))
    if isinstance(node, Neuron | Readout):
        yield "bias", node.bias, True
    if isinstance(node, Neuron):
        yield "threshold", node.threshold, True
        yield from ((name, getattr(node, name), False) for name in ("initial", "v_reset", "retract"))


def _shape_made(node: Node, shape: Shape) -> Shape | None:
    """Return what a node makes of one sample of ``shape``, or None if it cannot read it."""
    channels, inside = shape[0], shape[1:]
    match node:
        case Reshape():
            return node.shape if math.prod(shape) == math.prod(node.shape) else None
        case Linear():
            return node.weight.codes.shape[:1] if node.weight.codes.shape[1:] == shape else None
        case Convolution():
            out, per_group, *kernel = node.weight.codes.shape
            if len(kernel) != len(inside) or per_group * node.groups != channels or out % node.groups:
                return None
            return (out, *window_shape(inside, tuple(kernel), node.stride, node.padding, node.dilation))
        case TransposedConvolution():
            into, per_group, *kernel = node.weight.codes.shape
            if len(kernel) != len(inside) or into != channels or into % node.groups:
                return None
            axes = zip(inside, kernel, node.stride, node.padding, node.output_padding, node.dilation, strict=True)
            grown = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, o, d in axes)
            return (per_group * node.groups, *grown)
        case SumPool() | MaxPool() | CountMaxPool() if len(node.kernel) == len(inside):
            return (channels, *window_shape(inside, node.kernel, node.stride, node.padding, (1,) * len(inside)))
        case Burst():
            return shape
        case Slice() if 0 <= node.start < node.stop <= channels:
            return (node.stop - node.start, *inside)
        case Upsample() if len(node.factors) == len(inside) and min(node.factors, default=1) >= 1:
            return (channels, *(n * f for n, f in zip(inside, node.factors, strict=True)))
        case Pad() if len(node.before) == len(node.after) == len(inside):
            return (channels, *(n + a + b for n, a, b in zip(inside, node.before, node.after, strict=True)))
        case Transpose() if sorted(node.axes) == list(range(len(shape))):
            return tuple(shape[axis] for axis in node.axes)
    return None
