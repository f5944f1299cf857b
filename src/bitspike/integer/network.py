"""The integer network: what remains when every float is gone.

A network is a list of nodes in the order of data flow. A wire carries integers [T, N, ...], or [1, N, ...] where
nothing changes over time. Each node says what one of its integers is worth (``scale``), so real values can be read back;
nothing that decides a spike uses it.

The neuron, step by step, all integers (m / 2**k is the leak, >> an arithmetic shift, that is, rounding down):

    current   i = (sum over sources of gain * source) >> right_shift, plus bias
    leak      h = ((v * m) >> k) + i          leak "before" the input
              h = ((v + i) * m) >> k          leak "after" the input
    limits    h = max(h, floor) where there is one;  h saturates at ``width`` bits where there is one
    fire      s = 1 where h >= threshold ("ge") or h > threshold ("gt"), else 0
              signed: s = -1 where h <= -retract and the spikes sent so far add up to more than 0
    reset     v = h - threshold * s ("soft");  v = v_reset where s = 1, else h ("hard")

``gain``, ``bias`` and ``threshold`` may change per step and per channel: they are arrays [1 or T, 1 or C].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.ops.coding import Grid
from bitspike.ops.dynamics import Leak, Reset
from bitspike.ops.rounding import Dyadic
from bitspike.ops.surrogate import Fire

Integers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Node:
    """The base of all nodes.

    Args:
        id: unique, made of letters, digits and underscores; names the node's tensors in files.
        path: the module of the trained network that it came from.
        call: which call of that module, from 0.
        sources: ids of the nodes it reads.
        shape: of its output for one sample and one step.
        scale: real value of one output integer, [1] or [C].
    """

    id: str
    path: str
    call: int = 0
    sources: tuple[str, ...] = ()
    shape: Shape
    scale: Reals = field(default_factory=lambda: np.ones(1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Input(Node):
    """Where codes enter. ``coding`` says how the host makes them from real values: ``direct``, ``bernoulli``, ``rate``.

    Args:
        grid: the integer grid of the codes.
        constant: the same codes at every step, so the wire is [1, N, ...].
        divisor: of the Bernoulli coder.
    """

    grid: Grid
    constant: bool = True
    coding: str = "direct"
    divisor: float = 1.0


@dataclass(frozen=True, eq=False, kw_only=True)
class Weight:
    """Integer weight codes and what one of them is worth.

    Args:
        codes: int64; a convolution's [C_out, C_in/groups, *kernel], a linear layer's [C_out, C_in].
        step: real value of one code, [1] or [C_out].
        bits: width of one stored code.
        low, high: the range that the scheme allows.
        levels: the allowed codes where not every integer of the range is one.
        scheme: the name of the quantiser.
    """

    codes: Integers
    step: Reals
    bits: int
    low: int
    high: int
    levels: tuple[int, ...] | None = None
    scheme: str = ""

    def __post_init__(self) -> None:
        if self.codes.size and (self.codes.min() < self.low or self.codes.max() > self.high):
            raise ConstraintError(
                f"weight codes reach from {self.codes.min()} to {self.codes.max()}, "
                f"the grid {self.scheme!r} from {self.low} to {self.high}"
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class Convolution(Node):
    """A convolution of one, two or three dimensions; zero padding."""

    weight: Weight
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int = 1


@dataclass(frozen=True, eq=False, kw_only=True)
class Linear(Node):
    """A matrix product over the last axis."""

    weight: Weight


@dataclass(frozen=True, eq=False, kw_only=True)
class SumPool(Node):
    """The sum over a window; an average pool whose division went into ``scale``."""

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class MaxPool(Node):
    """The largest value of a window at each step."""

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Node):
    """The same integers in another shape; batch and time stay."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Node):
    """The sum of gain * source over all sources, on one grid. ``gains`` holds one [1 or T, 1 or C] per source."""

    gains: tuple[Integers, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Neuron(Node):
    """A spiking neuron; the module's docstring has its equations.

    Args:
        gains: one [1 or T, 1 or C] per source.
        bias: [1 or T, 1 or C], added at every step.
        threshold: [1 or T, 1 or C].
        initial: potential before the first step, [1 or C].
        unit: real value of one count of the potential, [1] or [C].
        fraction_bits: k, how many bits of the potential lie below one count of the synaptic sum.
        leak: m / 2**k.
        floor: lower clamp of the potential, or None.
        width: bits at which the potential saturates, or None.
    """

    gains: tuple[Integers, ...]
    bias: Integers
    threshold: Integers
    initial: Integers
    unit: Reals
    fraction_bits: int = 0
    right_shift: int = 0
    leak: Dyadic = Dyadic(1, 0)
    leak_order: Leak = "before"
    reset: Reset = "soft"
    v_reset: Integers = field(default_factory=lambda: np.zeros(1, np.int64))
    fire: Fire = "ge"
    signed: bool = False
    retract: Integers = field(default_factory=lambda: np.ones(1, np.int64))
    floor: int | None = None
    width: int | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Node):
    """What leaves the network: the sum over all steps of gain * source, plus bias. [N, ...], without a time axis."""

    gains: tuple[Integers, ...]
    bias: Integers


Weighted = (Convolution, Linear)
Gained = (Add, Neuron, Readout)


@dataclass(frozen=True, eq=False)
class IntegerNetwork:
    """A spiking network in integers only.

    Args:
        steps: T.
        nodes: in the order of data flow.
        notes: what lowering had to round, in plain words.
        source: where it came from (model class, versions, settings); no meaning for the arithmetic.

    Raises:
        ConstraintError: an id is used twice or is not a plain word, or a source does not stand before its reader.
    """

    steps: int
    nodes: tuple[Node, ...]
    notes: tuple[str, ...] = ()
    source: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for node in self.nodes:
            if not node.id.replace("_", "a").isalnum() or not node.id.isascii():
                raise ConstraintError(f"node id {node.id!r}: letters, digits and underscores are allowed")
            if node.id in seen:
                raise ConstraintError(f"two nodes are called {node.id!r}")
            for source in node.sources:
                if source not in seen:
                    raise ConstraintError(f"node {node.id!r} reads {source!r}, which does not stand before it")
            if isinstance(node, Gained) and len(node.gains) != len(node.sources):
                raise ConstraintError(f"node {node.id!r} has {len(node.sources)} sources and {len(node.gains)} gains")
            seen.add(node.id)
        if self.steps < 1:
            raise ConstraintError(f"steps={self.steps}: at least 1 is needed")
        if not self.inputs or not self.outputs:
            raise ConstraintError("an integer network needs at least one Input and one Readout")

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
    def weighted(self) -> tuple[Convolution | Linear, ...]:
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


def per_channel(values: Integers, dims: int) -> Integers:
    """Reshape [.., C] parameters so that they broadcast against [.., N, C, ...] with ``dims`` axes after the batch.

    [1 or T, 1 or C] becomes [1 or T, 1, 1 or C, 1, ...]; [1 or C] becomes [1, 1 or C, 1, ...].

    Example:
        >>> per_channel(np.zeros((1, 8), np.int64), dims=3).shape
        (1, 1, 8, 1, 1)
    """
    lead = values.shape[:-1]
    return values.reshape(*lead, 1, values.shape[-1], *[1] * (dims - 1))
