"""What one neuron reads: its branches, followed back from the potential to the spikes.

Every neuron of a layer reads the same kinds of synapses. A branch is one layer with weights, one pool, or spikes that
arrive with a gain; several branches of one neuron are a fused addition, and all of them together are its bundle. Where
sums are concatenated before the neuron, different channels read different branches, so there are several bundles.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from bitspike.hardware.chips.chip import VARIABLES, Chip, Kind
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Concat,
    Convolution,
    Integers,
    MaxPool,
    Move,
    Neuron,
    Node,
    Pad,
    Readout,
    Reshape,
    Slice,
    SumPool,
    TransposedConvolution,
    Weighted,
)


def _carries(node: Node) -> bool:
    """Tell whether a node moves the integers of one source and changes none (a burst moves them in time)."""
    return (isinstance(node, Move) and not isinstance(node, Concat)) or node.memory == "all"


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One branch of one neuron, in the numbers that a rule may use.

    Args:
        kind: what the neuron reads.
        node: the layer, pool, neuron or input at its end.
        bits: width of one weight; of a skip, of its gain; of a pool, 1.
        taps: inputs per input channel: the kernel's area; of a transposed convolution ceil(k / s) along each axis.
        inputs, groups, outputs: channels and groups.
        kernel, stride, dilation, padding: the largest along any axis.
        merged: pools that widened the window, by path.
    """

    kind: Kind
    node: Node
    bits: int
    taps: int = 1
    inputs: int = 1
    groups: int = 1
    outputs: int = 1
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    merged: tuple[str, ...] = ()

    def variables(self) -> dict[str, int]:
        """Return the variables of a rule ``per = "neuron"``."""
        return {name: getattr(self, name) for name in VARIABLES["neuron"]}

    def describe(self) -> str:
        """Return the branch in a few words."""
        if isinstance(self.node, Weighted):
            groups = f", {self.groups} groups" if self.groups > 1 else ""
            wide = f", with {', '.join(self.merged)} merged: {self.taps} taps" if self.merged else ""
            return f"{title(self.node)}, {self.inputs} inputs{groups}, {self.bits}-bit{wide}"
        skip = f"skip from {self.node.path}, {self.bits}-bit gain"
        return {"average_pool": title(self.node), "skip": skip}.get(self.kind, f"bias of {self.bits}-bit cells")


Bundle = tuple[Branch, ...]


def title(node: Node) -> str:
    """Return the kind of a node and its window, such as ``Convolution 3x3``."""
    window = node.weight.codes.shape[2:] if isinstance(node, Weighted) else getattr(node, "kernel", ())
    name = "average pool" if isinstance(node, SumPool) else type(node).__name__
    return f"{name} {'x'.join(map(str, window))}".rstrip()


def gain_bits(gain: Integers) -> int:
    """Return the width of the widest gain, with a sign where one is negative.

    Example:
        >>> gain_bits(np.array([[1, 12]])), gain_bits(np.array([[-1]]))
        (4, 2)
    """
    return max(1, int(np.abs(gain).max()).bit_length()) + int(gain.min() < 0)


def _worst(gain: Integers) -> Integers:
    """Return the gain of the largest magnitude, [1, 1]: where channels are moved, any of them may have had it."""
    flat = gain.reshape(-1)
    at = int(np.abs(flat).argmax())
    return flat[at : at + 1].reshape(1, 1)


def transposed_taps(kernel: int, stride: int, dilation: int = 1) -> int:
    """Return how many taps of a transposed convolution meet in one output along one axis: ceil(k / s) at dilation 1.

    Example:
        >>> transposed_taps(4, 2), transposed_taps(3, 2), transposed_taps(2, 2)
        (2, 2, 1)
    """
    phases = [(i * dilation) % stride for i in range(kernel)]
    return max(phases.count(r) for r in phases)


class Reader:
    """Follow the branches of a network's neurons; ``merge`` counts a pool without neurons to the layer after it."""

    def __init__(self, net: IntegerNetwork, *, merge: bool) -> None:
        self.nodes = {node.id: node for node in net.nodes}
        self.merge = merge

    def bundles(self, node: Neuron | Readout, *, chip: Chip | None = None) -> list[Bundle]:
        """Return the branches of one neuron, one bundle for each part of a concatenation that it may read."""
        bundles = self._added(node, 1, _Window())
        if chip is not None and chip.bias == "axon" and node.bias.any():
            bundles = [(*bundle, _bias_cells(bundle, node)) for bundle in bundles]
        return bundles

    def ends(self, node: Neuron | Readout) -> list[Node]:
        """Return the layers, pools, neurons and inputs that a neuron reads."""
        return list({b.node.id: b.node for bundle in self.bundles(node) for b in bundle}.values())

    def origins(self, id: str) -> list[Node]:
        """Return the nodes that compute the integers on a wire, seen through nodes that only move them."""
        node = self.nodes[id]
        if _carries(node):
            return self.origins(node.sources[0])
        if isinstance(node, Concat):
            return [origin for s in node.sources for origin in self.origins(s)]
        return [node]

    def _back(self, id: str, gain: Integers, window: _Window) -> list[Bundle]:
        """Return the bundles that arrive on a wire, which is read with a gain and through a window."""
        node = self.nodes[id]
        match node:
            case Weighted():
                return [(self._layer(node, window),)]
            case Add():
                return self._added(node, gain, window)
            case Concat():
                return [bundle for s in node.sources for bundle in self._back(s, _worst(gain), window)]
            case SumPool():
                ones = (1,) * len(node.kernel)
                wider = window.through(node.kernel, node.stride, ones)
                # A pool of sums is part of the layer before it; a pool of spikes is a branch of its own.
                if any(isinstance(origin, Weighted) for origin in self.origins(node.sources[0])):
                    return self._back(node.sources[0], gain, wider.noting(node.path))
                return [(_pool(node, bits=gain_bits(gain), taps=wider.taps),)]
            case MaxPool() if any(isinstance(origin, Weighted) for origin in self.origins(node.sources[0])):
                return self._back(node.sources[0], gain, window.flat())
        if _carries(node):
            return self._back(node.sources[0], gain if node.by_channel else _worst(gain), _moved(node, window))
        channels = node.shape[0]
        skip = Branch(
            kind="skip", node=node, bits=gain_bits(gain), taps=window.taps, inputs=channels, groups=channels,
            outputs=channels,
        )  # fmt: skip
        return [(skip,)]

    def _added(self, node: Add | Neuron | Readout, gain: Integers | int, window: _Window) -> list[Bundle]:
        """Return the bundles of a sum: every choice of one bundle from each of its sources."""
        parts = [self._back(s, gain * g, window) for s, g in zip(node.sources, node.gains, strict=True)]
        return [tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*parts)]

    def alone(self, node: Weighted | SumPool) -> Branch:
        """Return the branch of a layer or pool that no neuron reads as one, because it is merged or misplaced."""
        if isinstance(node, Weighted):
            return self._layer(node, _Window())
        return _pool(node, bits=1, taps=math.prod(node.kernel))

    def _layer(self, node: Weighted, window: _Window) -> Branch:
        """Return the branch of a layer, its window widened by the pools before it that have no neurons."""
        branch = Branch(
            kind=cast(Kind, node.operation), node=node, bits=node.weight.bits,
            inputs=self.nodes[node.sources[0]].shape[0], outputs=node.shape[0],
        )  # fmt: skip
        kernel = node.weight.codes.shape[2:]
        if isinstance(node, Convolution | TransposedConvolution):
            branch = replace(
                branch, groups=node.groups, kernel=max(kernel), stride=max(node.stride), dilation=max(node.dilation),
                padding=max(node.padding),
            )  # fmt: skip
        match node:
            case Convolution():
                window = window.through(kernel, node.stride, node.dilation)
            case TransposedConvolution():
                window = window.spread(node)
            case _:
                window = window.flat()
        if self.merge:
            window = max([window, *self._pools(node.sources[0], window)], key=lambda w: w.taps)
        return replace(branch, taps=window.taps, merged=window.pools)

    def _pools(self, id: str, window: _Window) -> list[_Window]:
        """Return the window that a layer reads of the spikes before the pools on its wire, one per origin."""
        node = self.nodes[id]
        if (unpadded := self._before_extra_channels(node)) is not None:
            return self._pools(unpadded, window)
        match node:
            case SumPool():
                wider = window.through(node.kernel, node.stride, (1,) * len(node.kernel)).noting(node.path)
                return self._pools(node.sources[0], wider)
            case Concat() | Add():
                return [w for s in node.sources for w in self._pools(s, window)]
        return self._pools(node.sources[0], _moved(node, window)) if _carries(node) else [window]

    def _before_extra_channels(self, node: Node) -> str | None:
        """Return the wire to which whole channels of zeros were added by reshape, pad, reshape; or None."""
        if isinstance(node, Reshape) and isinstance(pad := self.nodes[node.sources[0]], Pad):
            line = self.nodes[pad.sources[0]]
            if isinstance(line, Reshape) and len(line.shape) == 2 and line.shape[0] == 1:
                source = self.nodes[line.sources[0]]
                each = math.prod(node.shape[1:])
                if source.shape[1:] == node.shape[1:] and not any(n % each for n in (*pad.before, *pad.after)):
                    return source.id
        return None


def _moved(node: Node, window: _Window) -> _Window:
    """Return the window before a node that moves integers; where places do not keep their distances, its size alone."""
    return window if isinstance(node, Slice | Pad) or not isinstance(node, Move) else window.flat()


@dataclass(frozen=True)
class _Window:
    """Which places of a wire one output reads, as offsets along each axis.

    ``factor`` counts the places that have no offsets any more, because a reshape comes between.
    """

    offsets: tuple[tuple[int, ...], ...] = ()
    factor: int = 1
    pools: tuple[str, ...] = ()

    @property
    def taps(self) -> int:
        return self.factor * math.prod(len(axis) for axis in self.offsets)

    def through(self, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> _Window:
        """Return the window before a convolution or pool: offsets s * o + d * i, each counted once."""
        known = self if len(self.offsets) == len(kernel) else self.flat()
        before = known.offsets or ((0,),) * len(kernel)
        axes = zip(before, kernel, stride, dilation, strict=True)
        offsets = tuple(tuple(sorted({s * o + d * i for o in places for i in range(k)})) for places, k, s, d in axes)
        return replace(known, offsets=offsets)

    def spread(self, node: TransposedConvolution) -> _Window:
        """Return the window before a transposed convolution."""
        kernel = node.weight.codes.shape[2:]
        taps = [transposed_taps(k, s, d) for k, s, d in zip(kernel, node.stride, node.dilation, strict=True)]
        return replace(self.flat(), offsets=tuple(tuple(range(n)) for n in taps))

    def flat(self) -> _Window:
        """Return the window without offsets: only the number of places is kept."""
        return _Window((), self.taps, self.pools)

    def noting(self, pool: str) -> _Window:
        """Return the window with the path of a pool that widened it."""
        return replace(self, pools=(*self.pools, pool))


def _pool(node: SumPool, *, bits: int, taps: int) -> Branch:
    """Return the branch of an average pool."""
    channels = node.shape[0]
    return Branch(
        kind="average_pool", node=node, bits=bits, taps=taps, inputs=channels, groups=channels, outputs=channels,
        kernel=max(node.kernel), stride=max(node.stride), padding=max(node.padding),
    )  # fmt: skip


def _bias_cells(bundle: Bundle, node: Neuron | Readout) -> Branch:
    """Return the cells of an input that is always on: ceil(max|bias| / largest code) weights of the layer's width."""
    layers = [b for b in bundle if isinstance(b.node, Weighted)]
    bits = max((b.bits for b in layers), default=1)
    largest = max((b.node.weight.high for b in layers if isinstance(b.node, Weighted)), default=1)
    cells = -(-int(np.abs(node.bias).max()) // max(1, largest))
    return Branch(kind="bias", node=node, bits=bits, inputs=cells)
