"""Spikes on every wire, and how many synapses each of them reaches.

A count is the sum over all steps of the magnitude of what a wire carries, averaged over samples. It has the wire's
shape. On a wire of several bits (behind a pool without a neuron) a value v counts as v single spikes, one accumulation
each; nothing is scaled by a fraction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError, DataError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Input,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Reals,
    Reshape,
    Shape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    Weighted,
)

Numbers = npt.NDArray[Any]
Reaching = Convolution | TransposedConvolution | Linear | SumPool


class HasSpikes(Protocol):
    """The result of a run: ``spikes`` by neuron id, [T, N, ...], as ``bs.simulate`` returns it."""

    @property
    def spikes(self) -> Mapping[str, Numbers]: ...


def is_spiking(node: Input) -> bool:
    """Tell whether an input carries spikes, or counts of them step by step: codes that are their own real values."""
    return max(abs(node.grid.low), abs(node.grid.high)) == 1 or (not node.constant and node.grid.scale == 1.0)


def counts(net: IntegerNetwork, trace: HasSpikes, *, codes: Numbers | None = None) -> dict[str, Reals]:
    """Return the mean count of spikes of every neuron, max pool and spiking input, by id.

    Average the results of several batches, weighted by their samples, to cover a data set.

    Args:
        net: the network that ran.
        trace: its spikes, [T, N, ...] each.
        codes: the input codes of the run, [T or 1, N, ...]; needed where the input carries spikes.

    Raises:
        ConstraintError: a neuron is missing in the trace, or has another shape. DataError: there is no sample.
    """
    found: dict[str, Reals] = {}
    wires: dict[str, Numbers] = {}
    steps = net.steps
    pooled = _upstream(net, (MaxPool, CountMaxPool))
    for node in net.nodes:
        full: Numbers | None = None
        if isinstance(node, Neuron):
            if node.id not in trace.spikes:
                raise ConstraintError(f"the activity has no spikes of {node.path} (node {node.id!r})")
            full = np.asarray(trace.spikes[node.id])
            if full.ndim < 2 or full.shape[2:] != node.shape:
                raise ConstraintError(f"spikes of {node.path} are {list(full.shape)}; needed is [T, N, {node.shape}]")
            steps = len(full)
        elif isinstance(node, Input) and codes is not None and is_spiking(node):
            full = np.asarray(codes)
            full = np.broadcast_to(full, (steps, *full.shape[1:])) if len(full) == 1 else full
        elif node.id in pooled and not isinstance(node, Input | Weighted) and all(s in wires for s in node.sources):
            full = _moved(node, [wires[s] for s in node.sources])
        if full is None:
            continue
        if full.shape[1] == 0:
            raise DataError(
                f"spikes of {node.path} are of no sample, so there is no activity to tell of",
                fix="bs.simulate(net, bs.encode(net, images)) of at least one image",
            )
        if node.id in pooled:
            wires[node.id] = full
        if isinstance(node, Neuron | MaxPool | CountMaxPool | Input):
            found[node.id] = np.abs(full).sum(0, dtype=np.int64).mean(0)
    return found


def _upstream(net: IntegerNetwork, kinds: tuple[type[Node], ...]) -> set[str]:
    """Return the ids of nodes of some kinds and of the wires that feed them, back to neurons and inputs."""
    nodes = {node.id: node for node in net.nodes}
    found: set[str] = set()
    waiting = [node.id for node in net.nodes if isinstance(node, kinds)]
    while waiting:
        id = waiting.pop()
        if id not in found:
            found.add(id)
            if not isinstance(nodes[id], Neuron | Input):
                waiting.extend(nodes[id].sources)
    return found


class Wires:
    """Counts on any wire, carried from where spikes are made through nodes that move, gather or copy them.

    Args:
        net: the network.
        counts: mean counts by node id, each of its node's shape: of all neurons, and of max pools and spiking inputs.

    Raises:
        ConstraintError: a count is missing where it is needed, or has the wrong shape.
    """

    def __init__(self, net: IntegerNetwork, counts: Mapping[str, Numbers]) -> None:
        self.nodes = {node.id: node for node in net.nodes}
        self.given: dict[str, Reals] = {}
        for id, value in counts.items():
            if id not in self.nodes:
                raise ConstraintError(f"activity of {id!r}: the network has no such node")
            values = np.asarray(value, np.float64)
            if values.shape != self.nodes[id].shape:
                raise ConstraintError(
                    f"activity of {id!r} is {list(values.shape)}; needed is {list(self.nodes[id].shape)}",
                    fix="mean spikes per sample, summed over the steps",
                )
            if not (np.isfinite(values) & (values >= 0)).all():
                raise ConstraintError(
                    f"activity of {id!r} holds NaN, infinity or a number below 0; a mean count of spikes is 0 or more",
                    fix="the mean over at least one sample",
                )
            self.given[id] = values

    def largest(self, id: str) -> int:
        """Return the largest count that an input may put on a wire at one step, through what only moves it; else 1."""
        node = self.nodes[id]
        while isinstance(node, Reshape | Transpose | Slice | Pad | Upsample):
            node = self.nodes[node.sources[0]]
        return max(abs(node.grid.low), abs(node.grid.high)) if isinstance(node, Input) and is_spiking(node) else 1

    def of(self, id: str) -> Reals | None:
        """Return the counts on a wire, or None where it carries codes of several bits, or sums."""
        if id in self.given:
            return self.given[id]
        node = self.nodes[id]
        match node:
            case Input():
                if is_spiking(node):
                    raise ConstraintError(
                        f"the input {node.path} carries spikes, and the activity does not say how many",
                        fix=f"activity[{id!r}], or energy(net, trace, codes=codes)",
                    )
                return None
            case MaxPool() | CountMaxPool() if self.of(node.sources[0]) is None:
                return None
            case Neuron() | MaxPool() | CountMaxPool():
                raise ConstraintError(
                    f"the activity has no counts of {node.path} (node {id!r})",
                    fix="energy(net, bs.simulate(net, codes)), or bitspike.hardware.energy.counts of such a run",
                )
            case Convolution() | TransposedConvolution() | Linear():
                return None
        sources = [self.of(s) for s in node.sources]
        if any(source is None for source in sources):
            return None
        return _moved(node, [s[None, None] for s in sources if s is not None])[0, 0]  # type: ignore[no-any-return]


def _moved(node: Node, inputs: list[Numbers]) -> Numbers:
    """Return what a node without weights makes of [T, N, ...]."""
    x = inputs[0]
    match node:
        case Reshape():
            return x.reshape(*x.shape[:2], *node.shape)
        case Transpose():
            return x.transpose(0, 1, *(axis + 2 for axis in node.axes))
        case Slice():
            return x[:, :, node.start : node.stop]
        case Pad():
            cut = [
                slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(x.shape[3:], node.before, node.after, strict=True)
            ]
            grown = [(max(0, b), max(0, a)) for b, a in zip(node.before, node.after, strict=True)]
            return np.pad(x[(slice(None),) * 3 + tuple(cut)], [(0, 0)] * 3 + grown)
        case Upsample():
            for axis, factor in enumerate(node.factors):
                x = np.repeat(x, factor, axis + 3)
            return x
        case Concat():
            return np.concatenate(inputs, axis=2)
        case Burst():
            return x
        case Add():
            return np.sum(inputs, axis=0)  # type: ignore[no-any-return]
        case SumPool():
            return _windows(x, node).sum(tuple(range(-len(node.kernel), 0)))  # type: ignore[no-any-return]
        case MaxPool():
            return _windows(x, node).max(tuple(range(-len(node.kernel), 0)))  # type: ignore[no-any-return]
        case CountMaxPool():
            running = np.cumsum(x, axis=0, dtype=np.int64)
            largest = _windows(running, node).max(tuple(range(-len(node.kernel), 0)))
            return np.diff(largest, axis=0, prepend=np.zeros_like(largest[:1]))
    raise ConstraintError(f"node {node.id!r}: spikes cannot be followed through a {type(node).__name__}")


def _windows(x: Numbers, node: SumPool | MaxPool | CountMaxPool) -> Numbers:
    padded = np.pad(x, [(0, 0)] * 3 + [(p, p) for p in node.padding])
    view = np.lib.stride_tricks.sliding_window_view(padded, node.kernel, axis=tuple(range(3, x.ndim)))
    return view[(slice(None),) * 3 + tuple(slice(None, None, s) for s in node.stride)]


def fan_out(node: Reaching, source: Shape) -> Numbers:
    """Return how many sums one spike at each place of the source reaches, an array that broadcasts against it.

    Padding, stride and dilation are taken into account: along an axis, place x reaches the outputs o and taps k with
    o * s - p + d * k = x (of a transposed convolution o = x * s - p + d * k), and the axes multiply. It is what the
    adjoint of the layer makes of ones.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> fan_out(one_convolution()["conv"], (1, 4, 4))[0].tolist()
        [[4, 6, 6, 4], [6, 9, 9, 6], [6, 9, 9, 6], [4, 6, 6, 4]]
    """
    match node:
        case Linear():
            return np.full(source, node.weight.codes.shape[0])
        case Convolution():
            kernel, each = node.weight.codes.shape[2:], node.shape[0] // node.groups
            axes = zip(source[1:], node.shape[1:], kernel, node.stride, node.padding, node.dilation, strict=True)
            reach = [_reach(n, out, k, s, p, d) for n, out, k, s, p, d in axes]
        case SumPool():
            each = 1
            ones = (1,) * len(node.kernel)
            axes = zip(source[1:], node.shape[1:], node.kernel, node.stride, node.padding, ones, strict=True)
            reach = [_reach(n, out, k, s, p, d) for n, out, k, s, p, d in axes]
        case TransposedConvolution():
            kernel, each = node.weight.codes.shape[2:], node.weight.codes.shape[1]
            axes = zip(source[1:], node.shape[1:], kernel, node.stride, node.padding, node.dilation, strict=True)
            reach = [
                np.array([sum(0 <= x * s - p + d * i < out for i in range(k)) for x in range(n)])
                for n, out, k, s, p, d in axes
            ]
    result: Numbers = np.array(each)
    for axis in reach:
        result = np.multiply.outer(result, axis)
    return result[None]


def _reach(inside: int, out: int, kernel: int, stride: int, padding: int, dilation: int) -> Numbers:
    """Count, for every place along an axis, the pairs of output and tap that read it."""
    places = (np.arange(out) * stride - padding)[:, None] + dilation * np.arange(kernel)[None]
    valid = places[(places >= 0) & (places < inside)]
    return np.bincount(valid, minlength=inside)


def dense_macs(node: Reaching, source: Shape) -> int:
    """Return the multiplications of a layer in one pass, padding included: every output times its whole window."""
    if isinstance(node, Linear):
        return node.weight.codes.size
    if isinstance(node, Convolution):
        return node.weight.codes.size * math.prod(node.shape[1:])
    if isinstance(node, TransposedConvolution):
        return node.weight.codes.size * math.prod(source[1:])
    return math.prod(node.shape) * math.prod(node.kernel)
