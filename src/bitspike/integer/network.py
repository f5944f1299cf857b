"""The integer network: what remains when every float is gone.

A network is a list of nodes in the order of data flow. A wire carries integers [T, N, ...], or [1, N, ...] where
nothing changes over time. Each node says what one of its integers is worth (``scale``), so real values can be read
back; nothing that decides a spike uses it.

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
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.integer.limits import check_node, check_steps
from bitspike.ops.grids import Dyadic, Fire, Grid, Leak, Reset

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
class TransposedConvolution(Node):
    """A transposed convolution of one, two or three dimensions; codes are [C_in, C_out/groups, *kernel].

    The weight's ``step`` is [1] or [C_out]. Every input integer is spread over the kernel with the given stride;
    ``padding`` cuts that much off every side and ``output_padding`` adds rows at the end.
    """

    weight: Weight
    stride: Shape
    padding: Shape
    output_padding: Shape
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
class CountMaxPool(Node):
    """The maximum of a window's running counts, as it grows: ``max_i N_i[t] - max_i N_i[t-1]``, N_i from 0.

    For spikes of 0 and 1 the output is 0 or 1 at every step, and its count is at the end the largest count of the
    window: max pooling of rates, exactly. A padded place counts 0.
    """

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Burst(Node):
    """All that arrives over time, at once: the sum over all steps at the first step, 0 at every other.

    In front of a neuron it makes the schedule layer by layer: the neuron fires when its whole input is there.
    """


@dataclass(frozen=True, eq=False, kw_only=True)
class Concat(Node):
    """Its sources side by side along the channels; other axes are equal."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Slice(Node):
    """Channels ``start`` to ``stop`` (not included) of its source."""

    start: int
    stop: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Upsample(Node):
    """Every integer repeated ``factors`` times along each axis behind the channels (nearest neighbour)."""

    factors: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Node):
    """Zeros around its source, ``before`` and ``after`` along each axis behind the channels; negative numbers cut."""

    before: Shape
    after: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Transpose(Node):
    """The axes of a sample in another order, channels counted as axis 0; batch and time stay.

    Args:
        axes: axis i of the output is axis ``axes[i]`` of the source.
    """

    axes: Shape


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

    def __post_init__(self) -> None:
        least = 1 if self.fire == "ge" else 0
        problems = {
            f"fire={self.fire!r}: allowed are {get_args(Fire)}": self.fire not in get_args(Fire),
            f"reset={self.reset!r}: allowed are {get_args(Reset)}": self.reset not in get_args(Reset),
            f"leak_order={self.leak_order!r}: allowed are {get_args(Leak)}": self.leak_order not in get_args(Leak),
            "a signed neuron resets by subtraction": self.signed and self.reset != "soft",
            f"a threshold below {least} for {self.fire!r}": bool((self.threshold < least).any()),
            "retract below 0": bool((self.retract < 0).any()),
            "a negative shift": min(self.right_shift, self.fraction_bits, self.leak.shift, self.leak.numerator) < 0,
            f"width={self.width}: at least 2 bits": self.width is not None and self.width < 2,
        }
        if found := [text for text, wrong in problems.items() if wrong]:
            raise ConstraintError(f"neuron {self.id!r}: {'; '.join(found)}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Readout(Node):
    """What leaves the network: the sum over all steps of gain * source, plus bias. [N, ...], without a time axis."""

    gains: tuple[Integers, ...]
    bias: Integers


Weighted = (Convolution, TransposedConvolution, Linear)
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
    def weighted(self) -> tuple[Convolution | TransposedConvolution | Linear, ...]:
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


def window_shape(inside: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    """Return how many windows fit along each axis: floor((n + 2 p - d (k - 1) - 1) / s) + 1.

    Example:
        >>> window_shape((28, 28), kernel=(5, 5), stride=(2, 2), padding=(2, 2), dilation=(1, 1))
        (14, 14)
    """
    axes = zip(inside, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in axes)


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


def _parameters(node: Add | Neuron | Readout) -> Iterator[tuple[str, Integers, bool]]:
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


def per_channel(values: Integers, dims: int) -> Integers:
    """Reshape [.., C] parameters so that they broadcast against [.., N, C, ...] with ``dims`` axes after the batch.

    [1 or T, 1 or C] becomes [1 or T, 1, 1 or C, 1, ...]; [1 or C] becomes [1, 1 or C, 1, ...].

    Example:
        >>> per_channel(np.zeros((1, 8), np.int64), dims=3).shape
        (1, 1, 8, 1, 1)
    """
    lead = values.shape[:-1]
    return values.reshape(*lead, 1, values.shape[-1], *[1] * (dims - 1))
