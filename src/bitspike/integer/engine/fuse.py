"""An integer network as fused steps: a neuron together with the layers that it reads, a pool, a read-out.

What the native engine cannot hold is refused here with its reason, and the network then runs through torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bitspike.integer import nodes
from bitspike.integer.bounds.widths import magnitudes
from bitspike.integer.engine.moves import Piece, Places, image, places
from bitspike.integer.engine.pack import bit_planes, bounds, methods
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers, Node, Shape
from bitspike.kernels.engine.structs import Layout, Method

Pair = tuple[int, int]


class Unfit(Exception):
    """The native engine cannot run this network; the message says why. No error: the engine then runs through torch."""


@dataclass(frozen=True)
class Signal:
    """A wire that is kept in memory: an input, what a neuron sends, what a pool makes.

    Args:
        id: of its node.
        channels, inside: its shape, a missing axis counted as 1.
        timed: whether it changes over time.
        low, high: the range of its integers, at most 256 of them.
        layouts: in which it can be written.
        entry: whether it is the network's input.
    """

    id: str
    channels: int
    inside: Pair
    timed: bool
    low: int
    high: int
    layouts: frozenset[Layout]
    entry: bool = False

    @property
    def binary(self) -> bool:
        """Whether it carries nothing but 0 and 1."""
        return self.low >= 0 and self.high <= 1


@dataclass(frozen=True, eq=False)
class Window:
    """Where a layer or a pool looks: kernel, stride, padding, dilation, and what it makes."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)


@dataclass(frozen=True, eq=False)
class Layer:
    """A convolution or a linear layer as a convolution: codes int8 [C_out, C_in, kh, kw], dense over groups."""

    path: str
    signal: Signal
    codes: npt.NDArray[np.int8]
    window: Window

    # Millions of codes are read for each of these, and every choice of methods asks for them several times.

    @cached_property
    def exact(self) -> list[Method]:
        """The methods that compute it exactly."""
        return methods(self.codes, binary=self.signal.binary, largest=self.bounds)

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """The largest sum of magnitudes of an output, and that of the weights that meet one byte."""
        return bounds(self.codes)

    @cached_property
    def planes(self) -> int:
        """Bits that hold its codes for POPCOUNT."""
        return bit_planes(self.codes)[2]


@dataclass(frozen=True, eq=False)
class Term:
    """One thing that a current is made of: gain [1 or T, 1 or C] times a layer's sums or a signal itself."""

    source: Layer | Signal
    gain: Integers

    @property
    def signal(self) -> Signal:
        """What is read in the end: the signal itself, or that of the layer."""
        return self.source.signal if isinstance(self.source, Layer) else self.source


@dataclass(frozen=True, eq=False)
class Fire:
    """A neuron and everything it reads."""

    neuron: nodes.Neuron
    signal: Signal
    terms: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Pool:
    """A sum or the largest over windows, or the growth of the largest count."""

    source: Signal
    signal: Signal
    window: Window
    largest: bool
    counts: bool = False


@dataclass(frozen=True, eq=False)
class Out:
    """A read-out and everything it reads."""

    readout: nodes.Readout
    channels: int
    inside: Pair
    terms: tuple[Term, ...]


Step = Fire | Pool | Out


@dataclass(eq=False)
class Fused:
    """A whole network: the signal that enters, and the steps in order."""

    entry: Signal
    steps: list[Step] = field(default_factory=list)


def fuse(net: IntegerNetwork) -> Fused:
    """Return the fused steps of a network.

    A layer that reads a concatenation becomes a sum of layers: ``conv(cat(a, b)) = conv_a(a) + conv_b(b)``. Slices,
    channel shuffles and zeros around are folded into its codes; :mod:`bitspike.integer.engine.moves` follows them.

    Raises:
        Unfit: a number may leave 32 bits, a weight or a signal does not fit a byte, or nodes stand in an order that
            has no fused step.

    Example:
        >>> from bitspike.integer.examples import convolution_and_pool
        >>> [type(step).__name__ for step in fuse(convolution_and_pool()).steps]
        ['Fire', 'Pool', 'Fire', 'Out']
    """
    # Sums, potentials and everything between them are int32 there; a bound that no input leaves proves that they fit.
    for id, bound in magnitudes(net).items():
        if bound > 2**31 - 1:
            raise Unfit(f"{net[id].path}: a number may reach {bound:.3g}, more than 32 bits hold")
    source = net.input
    fused = Fused(_signal(source, not source.constant, source.grid.low, source.grid.high, _BYTES))
    signals = {source.id: fused.entry}
    # Only what neurons, pools and the input send is kept in memory. Layers, additions and moves between them make no
    # step of their own: whoever needs their result (_terms) walks back to the signals and takes them along.
    for node in net.nodes:
        if not isinstance(node, _KNOWN):
            raise Unfit(f"{node.path}: a {type(node).__name__} has no fused step")
        if isinstance(node, nodes.Neuron):
            signals[node.id] = _signal(node, True, -1 if node.signed else 0, 1, _BYTES if node.signed else _ANY)
            fused.steps.append(Fire(_checked(node), signals[node.id], _terms(net, node, signals)))
        elif isinstance(node, nodes.SumPool | nodes.MaxPool | nodes.CountMaxPool):
            step = _pool(net, node, signals)
            signals[node.id] = step.signal
            fused.steps.append(step)
        elif isinstance(node, nodes.Readout):
            channels, inside = _extent(node, node.shape)
            terms = _terms(net, node, signals)
            if isinstance(direct := terms[0].source, Signal):
                # A flattened signal is counted in its own shape: the sums lie in memory in the same order.
                channels, inside = direct.channels, direct.inside
            fused.steps.append(Out(node, channels, inside, terms))
    return fused


_KNOWN = (
    nodes.Add,
    nodes.Convolution,
    nodes.CountMaxPool,
    nodes.Input,
    nodes.Linear,
    nodes.MaxPool,
    nodes.Neuron,
    nodes.Readout,
    nodes.SumPool,
    nodes.Move,
)
_BYTES = frozenset({Layout.BYTES})
_BITS = frozenset({Layout.BITS})
_ANY = frozenset({Layout.BYTES, Layout.BITS, Layout.PLANES})


def _signal(node: Node, timed: bool, low: int, high: int, layouts: frozenset[Layout]) -> Signal:
    low, high = min(low, 0), max(high, 0)  # padding adds zeros
    if high - low > 255:
        raise Unfit(f"{node.path}: its integers reach from {low} to {high}, more than a byte holds")
    channels, inside = _extent(node, node.shape)
    return Signal(node.id, channels, inside, timed, low, high, layouts, entry=isinstance(node, nodes.Input))


def _extent(node: Node, shape: Shape) -> tuple[int, Pair]:
    """Return channels and the two spatial axes of a shape; the native loops know two, a missing one is 1 long."""
    if len(shape) > 3:
        raise Unfit(f"{node.path}: three spatial axes")
    inside = (1,) * (3 - len(shape)) + shape[1:]
    return shape[0], (inside[0], inside[1])


def _checked(node: nodes.Neuron) -> nodes.Neuron:
    if isinstance(node, nodes.FewBitNeuron):
        raise Unfit(f"{node.path}: it keeps its potential in {node.kept_bits} bits, which no fused step rounds to")
    if node.rounding != "floor" and node.leak.shift:
        raise Unfit(f"{node.path}: its leak rounds toward zero, and the fused steps round down")
    # The native clamp takes a lower and an upper end, in this order.
    ceiling = 2 ** (node.width - 1) - 1 if node.width is not None else 2**31 - 1
    if node.floor is not None and node.floor > ceiling:
        raise Unfit(f"{node.path}: its floor lies above its largest potential")
    return node


def _pool(
    net: IntegerNetwork, node: nodes.SumPool | nodes.MaxPool | nodes.CountMaxPool, signals: dict[str, Signal]
) -> Pool:
    if node.sources[0] not in signals:
        raise Unfit(f"{node.path}: {_reads(net, node)}")
    source = signals[node.sources[0]]
    counts, largest = isinstance(node, nodes.CountMaxPool), not isinstance(node, nodes.SumPool)
    # Counters have 16 bits, and each step adds one bit of a spike to them.
    if counts and not (source.timed and Layout.BITS in source.layouts and net.steps < 2**16):
        raise Unfit(f"{node.path}: it counts other things than the spikes 0 and 1 of up to 65535 steps")
    window = Window(_pair(node.kernel), _pair(node.stride), _pair(node.padding, 0))
    area = 1 if largest else int(np.prod(node.kernel))
    # The largest of spikes is a spike; sums take a byte.
    layouts = source.layouts - _BYTES if largest and source.layouts != _BYTES else _BYTES
    layouts = _BITS if counts else layouts
    signal = _signal(node, source.timed, source.low * area, source.high * area, layouts)
    return Pool(source, signal, window, largest, counts)


def _terms(
    net: IntegerNetwork, node: nodes.Neuron | nodes.Readout | nodes.Add, signals: dict[str, Signal]
) -> tuple[Term, ...]:
    terms: list[Term] = []
    for id, gain in zip(node.sources, node.gains, strict=True):
        source = net[id]
        if id in signals:
            terms.append(Term(signals[id], gain))
        elif isinstance(source, nodes.Convolution | nodes.Linear):
            terms += [Term(layer, gain) for layer in _layers(net, source, signals)]
        elif isinstance(source, nodes.Add):  # g * (a * x + b * y) = (g * a) * x + (g * b) * y
            terms += [Term(t.source, t.gain * gain) for t in _terms(net, source, signals)]
        elif isinstance(node, nodes.Readout) and _plain(node) and (flat := _flat(net, source)) in signals:
            # One gain and one bias for all channels: then a flattened signal may be read in its own shape.
            terms.append(Term(signals[flat], gain))
        elif skips := _moved_skip(net, source, signals):
            terms += [Term(skip, gain) for skip in skips]
        else:
            raise Unfit(f"{node.path}: it reads a {type(source).__name__}")
    return tuple(terms)


def _moved_skip(net: IntegerNetwork, node: Node, signals: dict[str, Signal]) -> list[Layer]:
    """Return moved channels of signals that a neuron reads without weights, as layers of weights 1; or nothing."""
    seen = image(net, node.id, signals) if isinstance(node, nodes.Move) else None
    if seen is None or any((*seen.before, *seen.after)):
        return []
    channels, _ = _extent(node, node.shape)
    # A layer whose only weight of each output is a 1 moves channels, and takes every way that a layer has.
    codes = np.eye(channels, dtype=np.int8)[:, :, None, None]
    return [_of_piece(node, codes, piece, signals, Window((1, 1))) for piece in seen.pieces]


def _plain(node: nodes.Readout) -> bool:
    return len(node.sources) == 1 and node.gains[0].shape[1] == node.bias.shape[1] == 1


def _flat(net: IntegerNetwork, node: Node) -> str:
    """Return the id of what a flattening node flattens, or of the node itself."""
    while isinstance(node, nodes.Reshape) and len(node.shape) == 1:
        node = net[node.sources[0]]
    return node.id


def _layers(net: IntegerNetwork, node: nodes.Convolution | nodes.Linear, signals: dict[str, Signal]) -> list[Layer]:
    """Return a layer as one fused layer for each part of what it reads; their sums add up."""
    codes = node.weight.codes
    if codes.size and (codes.min() < -128 or codes.max() > 127):
        raise Unfit(f"{node.path}: weight codes from {codes.min()} to {codes.max()}, more than a byte holds")
    small = np.ascontiguousarray(codes, dtype=np.int8)
    if isinstance(node, nodes.Linear):
        return _linear(net, node, small, signals)
    seen = image(net, node.sources[0], signals)
    if seen is None:
        raise Unfit(f"{node.path}: {_reads(net, node)}")
    kernel, dilation = _pair(codes.shape[2:]), _pair(node.dilation)
    dense = _dense(small.reshape(*codes.shape[:2], *kernel), node.groups)
    # A window pads as much on both sides: where more zeros come after the image, taps of weight 0 come first.
    lead = [max(0, a - b) for a, b in zip(seen.after, seen.before, strict=True)]
    if any(n % d for n, d in zip(lead, dilation, strict=True)):
        raise Unfit(f"{node.path}: zeros on one side that its dilation does not divide")
    dense = np.pad(dense, [(0, 0), (0, 0), *((n // d, 0) for n, d in zip(lead, dilation, strict=True))])
    (ph, pw), (h, w) = _pair(node.padding, 0), seen.before
    # The layer's padding, the zeros before the image, and the places of the leading taps.
    padding = ph + h + lead[0], pw + w + lead[1]
    window = Window((dense.shape[2], dense.shape[3]), _pair(node.stride), padding, dilation)
    return [_of_piece(node, dense, piece, signals, window) for piece in seen.pieces]


def _linear(
    net: IntegerNetwork, node: nodes.Linear, codes: npt.NDArray[np.int8], signals: dict[str, Signal]
) -> list[Layer]:
    """Return a linear layer as convolutions whose kernel is a whole image, one for each signal it reads places of."""
    if len(node.shape) != 1:
        raise Unfit(f"{node.path}: a linear layer over several axes")
    seen = places(net, node.sources[0], signals)
    if seen is None:
        raise Unfit(f"{node.path}: {_reads(net, node)}")
    numbers, first = seen
    layers = []
    # Every input of the matrix is one place of one signal: its column goes to that place of a kernel as large as the
    # whole image, and a convolution with a single window multiplies by the matrix.
    for id, start in first.items():
        signal, size = signals[id], int(np.prod(net[id].shape))
        at = np.flatnonzero((numbers >= start) & (numbers < start + size))
        if not len(at):
            continue
        placed = _summed(node, codes, at, numbers[at] - start, size)
        kernel = placed.reshape(len(codes), signal.channels, *signal.inside)
        layers.append(Layer(node.path, signal, kernel, Window(signal.inside)))
    if not layers:
        raise Unfit(f"{node.path}: it reads nothing but zeros")
    return layers


def _of_piece(
    node: Node, codes: npt.NDArray[np.int8], piece: Piece, signals: dict[str, Signal], window: Window
) -> Layer:
    signal = signals[piece.id]
    return Layer(node.path, signal, _summed(node, codes, piece.at, piece.channels, signal.channels), window)


def _summed(node: Node, codes: npt.NDArray[np.int8], at: Places, to: Places, size: int) -> npt.NDArray[np.int8]:
    """Put columns of codes to their places [C_out, size, ...]; what is read twice has the sum of two codes."""
    # Copied only where some are left out or moved: a layer may have millions.
    some = codes if np.array_equal(at, np.arange(codes.shape[1])) else codes[:, at]
    if np.array_equal(to, np.arange(size)):
        return np.ascontiguousarray(some)
    placed = np.zeros((len(codes), size, *codes.shape[2:]), np.int16)  # room for a sum of two codes
    if len(np.unique(to)) == len(to):
        placed[:, to] = some
    else:
        # add.at adds where a place comes twice; `placed[:, to] += some` would add once.
        np.add.at(placed.swapaxes(0, 1), to, some.swapaxes(0, 1))
    if placed.size and (placed.min() < -128 or placed.max() > 127):
        raise Unfit(f"{node.path}: it reads a signal twice, with codes that add up to more than a byte holds")
    return placed.astype(np.int8)


def _reads(net: IntegerNetwork, node: Node) -> str:
    """Return in words what keeps a layer from being fused."""
    source = net[node.sources[0]]
    while isinstance(source, nodes.Reshape):
        source = net[source.sources[0]]
    return f"it reads a {type(source).__name__}, not spikes, a pool or the input"


def _dense(codes: npt.NDArray[np.int8], groups: int) -> npt.NDArray[np.int8]:
    """Fill a grouped kernel up with zeros: [C_out, C_in/groups, kh, kw] to [C_out, C_in, kh, kw]."""
    if groups == 1:
        return codes
    out, per_group, *kernel = codes.shape
    dense = np.zeros((groups, out // groups, groups, per_group, *kernel), np.int8)
    for g in range(groups):
        # Outputs of a group read inputs of the same group; all other codes stay 0.
        dense[g, :, g] = codes.reshape(groups, out // groups, per_group, *kernel)[g]
    return dense.reshape(out, groups * per_group, *kernel)


def _pair(values: Shape, fill: int = 1) -> Pair:
    if len(values) > 2:
        raise Unfit("a window of three axes")
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])
