"""The definition: an integer network run in NumPy int64, with nothing but integers.

Every other way to run the network must agree with this one, spike for spike. Sums of products go through NumPy's
matrix product in float64 or float32 only where the sum of magnitudes proves that every partial sum is an integer
that this format holds exactly (below 2**53 or 2**24); then no rounding can happen in any order of summation.
Otherwise they are summed in int64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bitspike.errors import ConstraintError
from bitspike.integer.network import (
    Add,
    Convolution,
    Input,
    IntegerNetwork,
    Integers,
    Linear,
    MaxPool,
    Neuron,
    Node,
    Readout,
    Reshape,
    Shape,
    SumPool,
    per_channel,
)

Whole = npt.NDArray[np.signedinteger[Any]]
"""A wire in any width: spikes stay int8, sums are int64."""
Numbers = npt.NDArray[Any]


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
                wires[node.id] = run_stateless(node, inputs, steps)
        for s in node.sources:
            if last_reader[s] == node.id:
                wires.pop(s, None)
    return Trace(spikes, potentials, outputs)


def check_run(net: IntegerNetwork, codes: Whole, steps: int | None) -> int:
    """Return the number of steps to run; refuse codes of another shape, dtype or range than the input declares."""
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


def run_stateless(node: Node, inputs: list[Whole], steps: int) -> Integers:
    """Run a node that has no memory: [T or 1, N, ...] to [T or 1, N, ...]."""
    match node:
        case Add():
            return combine(node.gains, inputs, len(node.shape), steps)
        case Reshape():
            return inputs[0].reshape(*inputs[0].shape[:2], *node.shape)
        case Linear():
            return _fold(inputs[0], lambda x: _multiply(x, node.weight.codes.T))
        case Convolution():
            return _fold(inputs[0], lambda x: _convolve(x, node))
        case SumPool():
            return _fold(inputs[0], lambda x: _over_windows(np.add, x, node, fill=0))
        case MaxPool():
            return _fold(inputs[0], lambda x: _over_windows(np.maximum, x, node, fill=np.iinfo(np.int64).min))
    raise ConstraintError(f"node {node.id!r}: this version cannot run a {type(node).__name__}")


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
    value = combine(node.gains, inputs, dims, steps) + per_channel(node.bias[:steps], dims)
    total: Integers = value.sum(0) if len(value) == steps else value[0] * steps
    return total


def _fold(x: Whole, layer: Callable[[Whole], Integers]) -> Integers:
    out = layer(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]))
    return out.reshape(*x.shape[:2], *out.shape[1:])


def _pad(x: Numbers, padding: Shape, fill: int) -> Numbers:
    widths = [(0, 0), (0, 0), *[(p, p) for p in padding]]
    return np.pad(x, widths, constant_values=fill) if any(padding) else x


def _over_windows(combine_two: np.ufunc, x: Whole, node: SumPool | MaxPool, *, fill: int) -> Integers:
    """Combine the values of every window, one place of the window after the other."""
    places = _windows(_pad(x.astype(np.int64), node.padding, fill), node.kernel, node.stride)
    result = np.full(places.shape[: x.ndim], fill, np.int64)
    for place in np.ndindex(*node.kernel):
        combine_two(result, places[(..., *place)], out=result)
    return result


def _windows(x: Numbers, kernel: Shape, stride: Shape, dilation: Shape | None = None) -> Numbers:
    """Return the view [N, C, *out, *kernel] of all windows of [N, C, *in]."""
    dilation = dilation or (1,) * len(kernel)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *steps, *inside)]


def _convolve(x: Whole, node: Convolution) -> Integers:
    codes, groups = node.weight.codes, node.groups
    kernel = codes.shape[2:]
    n, dims = x.shape[0], len(kernel)
    numbers = exact_format(x, codes.reshape(len(codes), -1).T)
    windows = _windows(_pad(x.astype(numbers), node.padding, 0), kernel, node.stride, node.dilation)
    out = windows.shape[2 : 2 + dims]
    results = []
    for x_g, w_g in zip(np.split(windows, groups, axis=1), np.split(codes, groups, axis=0), strict=True):
        columns = np.moveaxis(x_g, 1, 1 + dims).reshape(n * math.prod(out), math.prod(w_g.shape[1:]))
        results.append(columns @ w_g.reshape(len(w_g), -1).T.astype(numbers))
    by_channel = np.moveaxis(np.concatenate(results, axis=1).reshape(n, *out, len(codes)), -1, 1)
    return np.ascontiguousarray(by_channel, dtype=np.int64)


def _multiply(x: Whole, w: Integers) -> Integers:
    """Multiply [M, K] by [K, F] exactly."""
    numbers = exact_format(x, w)
    return np.asarray(x.astype(numbers) @ w.astype(numbers)).astype(np.int64)


def exact_format(x: Whole, w: Integers) -> type[np.float32 | np.float64 | np.int64]:
    """Return the fastest number format in which ``x @ w`` is exact in any order of summation.

    No partial sum can be larger than max|x| times the largest sum of magnitudes of a column of ``w`` [K, F].

    Raises:
        ConstraintError: not even int64 is wide enough.

    Example:
        >>> exact_format(np.array([[255]]), np.array([[2**16]])).__name__
        'float32'
    """
    if not x.size:
        return np.int64
    # Python's integers cannot overflow.
    bound = max(int(x.max()), -int(x.min())) * int(np.abs(w).sum(0).max())
    if bound <= 2**24:
        return np.float32
    if bound <= 2**53:
        return np.float64
    if bound >= 2**63:
        raise ConstraintError(f"a sum of products may reach {bound}, more than 64 bits hold")
    return np.int64
