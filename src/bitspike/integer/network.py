"""The integer network: what remains when every float is gone.

A network is a list of nodes in the order of data flow. A wire carries integers [T, N, ...], or [1, N, ...] where
nothing changes over time. Each node says what one of its integers is worth (``scale``), so real values can be read
back; nothing that decides a spike uses it. The nodes and their equations are in :mod:`bitspike.integer.nodes`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from bitspike.errors import ConstraintError
from bitspike.integer.border import Border, border_in
from bitspike.integer.limits import check_node, check_steps
from bitspike.integer.nodes import Input, Neuron, Node, Readout, Shape, Weighted
from bitspike.ops.grids import Grid
from bitspike.tables import Shown, Table, times


@dataclass(frozen=True, eq=False, repr=False)
class IntegerNetwork(Shown):
    """A spiking network in integers only.

    Args:
        steps: T.
        nodes: in the order of data flow.
        notes: what lowering had to round, in plain words.
        source: where it came from (model class, versions, settings) and what the host does; no meaning for the
            arithmetic.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> print(str(one_convolution()).splitlines()[0])
        IntegerNetwork: T = 4, 5 nodes, 9 weights in 3 bytes

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
                raise ConstraintError(
                    f"node id {node.id!r}: letters, digits and underscores are allowed", fix="an id such as layer1_conv"
                )
            if node.id in seen:
                raise ConstraintError(f"two nodes are called {node.id!r}", fix="an id of its own for each node")
            for source in node.sources:
                if source not in seen:
                    raise ConstraintError(
                        f"node {node.id!r} reads {source!r}, which does not stand before it",
                        fix="nodes in the order of data flow, sources first",
                    )
                if isinstance(seen[source], Readout):
                    raise ConstraintError(
                        f"node {node.id!r} reads {source!r}, which leaves the network",
                        fix="read what the read-out reads",
                    )
            check_node(node)
            _check(node, [seen[s].shape for s in node.sources], self.steps)
            seen[node.id] = node
        if not self.inputs or not self.outputs:
            raise ConstraintError(
                "an integer network needs at least one Input and one Readout", fix="add the one that is missing"
            )

    def table(self) -> Table:
        """Return a row for every node: what it is, shape, weights and their bits, neurons, and what it reads."""
        size = f"{self.weight_count():,} weights in {self.weight_bytes():,} bytes"
        columns = ("node", "layer", "kind", "shape", "weights", "bits", "neurons", "reads")
        rows = [
            (
                node.id,
                "" if node.path == node.id else node.path,
                type(node).__name__,
                times(node.shape),
                f"{node.weight.codes.size:,}" if isinstance(node, Weighted) else "",
                str(node.weight.bits) if isinstance(node, Weighted) else "",
                f"{math.prod(node.shape):,}" if isinstance(node, Neuron) else "",
                ", ".join(node.sources),
            )
            for node in self.nodes
        ]
        return Table(f"IntegerNetwork: T = {self.steps}, {len(self.nodes)} nodes, {size}", columns, rows)

    @property
    def input(self) -> Input:
        """The one input, for all that run a network on a single tensor of codes."""
        if len(self.inputs) != 1:
            raise ConstraintError(
                f"the network has {len(self.inputs)} inputs; only networks of one input can be run yet",
                fix="one input that holds all of them side by side, and a Slice for each; bs.lower makes it so",
            )
        return self.inputs[0]

    @property
    def input_grid(self) -> Grid:
        """The integer grid of the one input."""
        return self.input.grid

    @property
    def border(self) -> Border | None:
        """What the host puts around an image before the network reads it, or None where it puts nothing there."""
        return border_in(self.source, self.input.shape)

    def __getitem__(self, id: str) -> Node:
        for node in self.nodes:
            if node.id == id:
                return node
        raise KeyError(id)

    def steady(self) -> frozenset[str]:
        """Return the ids of the wires that carry the same integers at every step, with no memory on the way.

        They need to be computed once.

        Example:
            >>> from bitspike.integer.examples import one_convolution
            >>> sorted(one_convolution().steady())
            ['conv', 'input']
        """
        constant: set[str] = set()
        for node in self.nodes:
            if node.still and constant.issuperset(node.sources):
                constant.add(node.id)
        return frozenset(constant)

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
    if not node.shape or min(node.shape) < 1:
        problems = ["a shape needs at least one channel and no empty axis"]
    else:
        problems = list(node.problems(inputs, steps))
    if problems:
        raise ConstraintError(
            f"{type(node).__name__} {node.id!r} of shape {list(node.shape)}: {'; '.join(problems)}",
            fix="shapes and parameters as the docstring of its class states them",
        )


def need_integers(net: object, caller: str) -> None:
    """Refuse what is no integer network, such as the model that has not been lowered yet.

    Example:
        >>> need_integers("network/", "simulate")
        Traceback (most recent call last):
        bitspike.errors.ConstraintError: simulate(str): an integer network is needed
          fix: bs.lower(model, images[:1]) of a spiking model, or bs.load(folder) of a saved network
    """
    if not isinstance(net, IntegerNetwork):
        raise ConstraintError(
            f"{caller}({type(net).__name__}): an integer network is needed",
            fix="bs.lower(model, images[:1]) of a spiking model, or bs.load(folder) of a saved network",
        )
