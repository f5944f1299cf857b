"""The definition: an integer network run in NumPy int64, with nothing but integers.

Every other way to run the network must agree with this one, spike for spike.
:mod:`bitspike.integer.arithmetic` holds the sums of products and why they are exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.integer.arithmetic import LEAST, Whole, convolve, convolve_transposed, multiply, over_windows
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import (
    Add,
    Burst,
    Concat,
    Convolution,
    CountMaxPool,
    Input,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Pad,
    Pool,
    Readout,
    Reshape,
    Slice,
    SumPool,
    Transpose,
    TransposedConvolution,
    Upsample,
    per_channel,
)


@dataclass(frozen=True, eq=False)
class Trace:
    """What one run did.

    Args:
        spikes: by neuron id, int8 [T, N, ...].
        potentials: by neuron id, int64 [T, N, ...], the potential h that is compared with the threshold.
        outputs: by read-out id, int64 [N, ...].
    """

    spikes: dict[str, npt.NDArray[np.int8]]
    potentials: dict[str, Integers]
    outputs: dict[str, Integers]


def simulate(net: IntegerNetwork, codes: Integers, *, steps: int | None = None) -> Trace:
    """Run a network on integer input codes.

    Args:
        net: the network; one input.
        codes: [1, N, ...] for an input that is constant in time, or [T, N, ...].
        steps: run only the first so many steps, 1 to T; None runs all.

    Returns:
        the spikes and potentials of every neuron, and the outputs.

    Raises:
        ConstraintError: the codes have another shape or leave the input's grid, or there are not so many steps.
    """
    source, steps = net.input, check_run(net, codes, steps)
    spikes: dict[str, npt.NDArray[np.int8]] = {}
    potentials: dict[str, Integers] = {}
    outputs: dict[str, Integers] = {}
    wires: dict[str, Whole] = {source.id: codes}
    last_reader = {s: node.id for node in net.nodes for s in node.sources}
    for node in net.nodes:
        inputs = [wires[s] for s in node.sources]
        match node:
            case Input():
                continue
            case Neuron():
                spikes[node.id], potentials[node.id] = run_neuron(node, inputs, steps)
                wires[node.id] = spikes[node.id]
            case Readout():
                outputs[node.id] = _readout(node, inputs, steps)
            case _:
                wires[node.id] = run_layer(node, inputs, steps)
        for s in node.sources:
            if last_reader[s] == node.id:
                wires.pop(s, None)
    return Trace(spikes, potentials, outputs)


def check_run(net: IntegerNetwork, codes: Whole, steps: int | None) -> int:
    """Return the number of steps to run; refuse codes of another shape, dtype or range than the input declares."""
    _need_array(codes)
    source, steps = net.input, net.steps if steps is None else steps
    if not 1 <= steps <= net.steps:
        raise ConstraintError(f"steps={steps}: the network has 1 to {net.steps}")
    wanted = ("1" if source.constant else str(steps), "N", *map(str, source.shape))
    found = codes.shape
    if len(found) != len(wanted) or found[2:] != source.shape or found[0] != (1 if source.constant else steps):
        raise ConstraintError(f"input codes have the shape {list(found)}, needed is [{', '.join(wanted)}]")
    if not np.issubdtype(codes.dtype, np.integer):
        raise ConstraintError(f"input codes are {codes.dtype}, needed are integers", fix="bs.encode(net, images)")
    if codes.size and (codes.min() < source.grid.low or codes.max() > source.grid.high):
        raise ConstraintError(
            f"input codes reach from {codes.min()} to {codes.max()}, "
            f"the grid from {source.grid.low} to {source.grid.high}"
        )
    return steps


def _need_array(codes: object) -> None:
    if not isinstance(codes, np.ndarray):
        kind = f"{type(codes).__module__}.{type(codes).__name__}"
        raise ConstraintError(f"input codes are a {kind}, needed is a NumPy array", fix="bs.encode(net, images)")


def run_layer(node: Node, inputs: list[Whole], steps: int) -> Whole:
    """Run a node that does not fire: [T or 1, N, ...] to [T or 1, N, ...].

    Args:
        node: anything but an input, a neuron or a read-out.
        inputs: the wires of its sources.
        steps: how many steps are run; only what looks over time asks for it.
    """
    match node:
        case Add():
            return combine(node.gains, inputs, len(node.shape), steps)
        case Linear():
            return _fold(inputs[0], lambda x: multiply(x, node.weight.codes.T))
        case Convolution():
            return _fold(
                inputs[0],
                lambda x: convolve(
                    x,
                    node.weight.codes,
                    stride=node.stride,
                    padding=node.padding,
                    dilation=node.dilation,
                    groups=node.groups,
                ),
            )
        case TransposedConvolution():
            return _fold(
                inputs[0],
                lambda x: convolve_transposed(
                    x,
                    node.weight.codes,
                    stride=node.stride,
                    padding=node.padding,
                    output_padding=node.output_padding,
                    dilation=node.dilation,
                    groups=node.groups,
                ),
            )
        case SumPool():
            return _fold(
                inputs[0],
                lambda x: over_windows(
                    np.add, x, kernel=node.kernel, stride=node.stride, padding=node.padding, start=0, padded=0
                ),
            )
        case MaxPool():
            return _fold(
                inputs[0],
                lambda x: over_windows(
                    np.maximum,
                    x,
                    kernel=node.kernel,
                    stride=node.stride,
                    padding=node.padding,
                    start=LEAST,
                    padded=LEAST,
                ),
            )
        case CountMaxPool():
            return _largest_count(inputs[0], node)
        case Burst():
            return _burst(inputs[0], steps)
        case Reshape() | Concat() | Slice() | Upsample() | Pad() | Transpose():
            return arrange(node, inputs)
    raise ConstraintError(f"node {node.id!r}: this version cannot run a {type(node).__name__}")


def _pool(combine: np.ufunc, x: Whole, node: Pool, *, start: int, padded: int) -> Integers:
    """Combine the values of every window of [N, C, ...]."""
    return over_windows(
        combine, x, kernel=node.kernel, stride=node.stride, padding=node.padding, start=start, padded=padded
    )


def _largest_count(x: Whole, node: CountMaxPool) -> Integers:
    """Emit what the largest count of each window grows by.

    Of a constant wire every count grows by the same integer at each step, and so does the largest: it stays constant.
    """
    counts = np.cumsum(x, axis=0, dtype=np.int64)
    largest = _fold(
        counts,
        lambda c: over_windows(
            np.maximum, c, kernel=node.kernel, stride=node.stride, padding=node.padding, start=LEAST, padded=0
        ),
    )
    return np.diff(largest, axis=0, prepend=0)


def _burst(x: Whole, steps: int) -> Integers:
    """Put the sum of the steps that are run into the first of them."""
    out = np.zeros((steps, *x.shape[1:]), np.int64)
    out[0] = over_time(x, steps)
    return out


def over_time(x: Whole, steps: int) -> Integers:
    """Return the sum of a wire [T or 1, N, ...] over all steps, int64 [N, ...].

    Example:
        >>> over_time(np.array([[7]]), steps=4), over_time(np.array([[1], [2]]), steps=2)
        (array([28]), array([3]))
    """
    total: Integers = x.sum(0, dtype=np.int64) if len(x) == steps else x[0].astype(np.int64) * steps
    return total


def arrange(node: Reshape | Concat | Slice | Upsample | Pad | Transpose, inputs: list[Whole]) -> Whole:
    """Run a node that moves integers and leaves them as they are."""
    x = inputs[0]
    match node:
        case Reshape():
            return x.reshape(*x.shape[:2], *node.shape)
        case Concat():
            longest = max(len(i) for i in inputs)
            return np.concatenate([np.broadcast_to(i, (longest, *i.shape[1:])) for i in inputs], axis=2)
        case Slice():
            return x[:, :, node.start : node.stop]
        case Upsample():
            for axis, factor in enumerate(node.factors, start=3):
                x = np.repeat(x, factor, axis)
            return x
        case Pad():
            sides = list(zip(node.before, node.after, strict=True))
            x = np.pad(x, [(0, 0)] * 3 + [(max(0, a), max(0, b)) for a, b in sides])
            kept = [slice(max(0, -a), n - max(0, -b)) for n, (a, b) in zip(x.shape[3:], sides, strict=True)]
            return x[(slice(None), slice(None), slice(None), *kept)]
        case Transpose():
            return x.transpose(0, 1, *(axis + 2 for axis in node.axes))


def combine(gains: tuple[Integers, ...], inputs: list[Whole], dims: int, steps: int) -> Integers:
    """Return the sum of gain * input over all inputs, int64 [1 or steps, N, ...]."""
    terms = [per_channel(gain[:steps], dims) * x for gain, x in zip(gains, inputs, strict=True)]
    return sum(terms[1:], terms[0])


def run_neuron(node: Neuron, inputs: list[Whole], steps: int) -> tuple[npt.NDArray[np.int8], Integers]:
    """Run one neuron over all steps; returns spikes int8 and potentials before reset int64, [T, N, ...]."""
    dims = len(node.shape)
    current = combine(node.gains, inputs, dims, steps) >> node.right_shift
    current = current + per_channel(node.bias[:steps], dims)
    threshold = per_channel(node.threshold[:steps], dims)
    samples = current.shape[1]
    v = np.broadcast_to(per_channel(node.initial, dims), (samples, *node.shape)).astype(np.int64)
    emitted = np.zeros((samples, *node.shape), np.int64)
    spikes = np.empty((steps, samples, *node.shape), np.int8)
    potentials = np.empty((steps, samples, *node.shape), np.int64)
    m, k = node.leak.numerator, node.leak.shift
    leaks = (m, k) != (1, 0)
    v_reset, retract = per_channel(node.v_reset, dims), per_channel(node.retract, dims)
    for t in range(steps):
        i = current[min(t, len(current) - 1)]
        theta = threshold[min(t, len(threshold) - 1)]
        if not leaks:
            h = v + i
        elif node.leak_order == "before":
            h = ((v * m) >> k) + i
        else:
            h = ((v + i) * m) >> k
        if node.floor is not None:
            h = np.maximum(h, node.floor)
        if node.width is not None:
            h = np.clip(h, -(1 << (node.width - 1)), (1 << (node.width - 1)) - 1)
        fired = h >= theta if node.fire == "ge" else h > theta
        spikes[t], potentials[t] = fired, h
        if node.signed:
            spikes[t] -= (h <= -retract) & (emitted > 0)
            emitted += spikes[t]
        v = h - theta * spikes[t] if node.reset == "soft" else np.where(fired, v_reset, h)
    return spikes, potentials


def _readout(node: Readout, inputs: list[Whole], steps: int) -> Integers:
    dims = len(node.shape)
    return over_time(combine(node.gains, inputs, dims, steps) + per_channel(node.bias[:steps], dims), steps)


def _fold(x: Whole, layer: Callable[[Whole], Integers]) -> Integers:
    out = layer(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))
    return out.reshape(*x.shape[:2], *out.shape[1:])
