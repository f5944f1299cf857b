"""The definition: an integer network run in NumPy int64, with nothing but integers.

Every other way to run the network must agree with this one, spike for spike. Sums of products go through NumPy's
matrix product in float64 or float32 only where the sum of magnitudes proves that every partial sum is an integer
that this format holds exactly (below 2**53 or 2**24); then no rounding can happen in any order of summation.
Otherwise they are summed in int64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
        steps: run only the first so many steps; None runs all.

    Returns:
        the spikes and potentials of every neuron, and the outputs.

    Raises:
        ConstraintError: the codes have another shape or leave the input's grid.
    """
    steps = net.steps if steps is None else steps
    (source,) = net.inputs
    check_codes(source, codes, steps)
    spikes: dict[str, npt.NDArray[np.int8]] = {}
    potentials: dict[str, Integers] = {}
    outputs: dict[str, Integers] = {}
    wires: dict[str, Integers] = {source.id: np.asarray(codes, np.int64)}
    last_reader = {s: node.id for node in net.nodes for s in node.sources}
    for node in net.nodes:
        inputs = [wires[s] for s in node.sources]
        match node:
            case Input():
                continue
            case Neuron():
                sent, potentials[node.id] = run_neuron(node, inputs, steps)
                spikes[node.id], wires[node.id] = sent, sent.astype(np.int64)
            case Readout():
                outputs[node.id] = _readout(node, inputs, steps)
            case _:
                wires[node.id] = run_stateless(node, inputs)
        for s in node.sources:
            if last_reader[s] == node.id:
                wires.pop(s, None)
    return Trace(spikes, potentials, outputs)


def check_codes(source: Input, codes: Integers, steps: int) -> None:
    """Refuse input codes of another shape, dtype or range than the input declares."""
    wanted = ("1" if source.constant else str(steps), "N", *map(str, source.shape))
    found = codes.shape
    if (
        len(found) != len(wanted)
        or found[2:] != source.shape
        or (found[0] != 1 if source.constant else found[0] != steps)
    ):
        raise ConstraintError(f"input codes have the shape {list(found)}, needed is [{', '.join(wanted)}]")
    if not np.issubdtype(codes.dtype, np.integer):
        raise ConstraintError(f"input codes are {codes.dtype}, needed are integers", fix="net.encode(images)")
    if codes.size and (codes.min() < source.grid.low or codes.max() > source.grid.high):
        raise ConstraintError(
            f"input codes reach from {codes.min()} to {codes.max()}, the grid from {source.grid.low} to {source.grid.high}"
        )


def run_stateless(node: Node, inputs: list[Integers]) -> Integers:
    """Run a node that has no memory: [T or 1, N, ...] to [T or 1, N, ...]."""
    match node:
        case Add():
            return combine(node.gains, inputs, len(node.shape))
        case Reshape():
            return inputs[0].reshape(*inputs[0].shape[:2], *node.shape)
        case Linear():
            return _fold(inputs[0], lambda x: _product(x, node.weight.codes.T))
        case Convolution():
            return _fold(inputs[0], lambda x: _convolve(x, node))
        case SumPool():
            return _fold(
                inputs[0], lambda x: _windows(x, node.kernel, node.stride, node.padding, 0).sum(_last(node.kernel))
            )
        case MaxPool():
            least = np.iinfo(np.int64).min
            return _fold(
                inputs[0], lambda x: _windows(x, node.kernel, node.stride, node.padding, least).max(_last(node.kernel))
            )
    raise ConstraintError(f"node {node.id!r}: this version cannot run a {type(node).__name__}")


def combine(gains: tuple[Integers, ...], inputs: list[Integers], dims: int) -> Integers:
    """Return the sum of gain * input over all inputs."""
    total = per_channel(gains[0], dims) * inputs[0]
    for gain, x in zip(gains[1:], inputs[1:], strict=True):
        total = total + per_channel(gain, dims) * x
    return total


def run_neuron(node: Neuron, inputs: list[Integers], steps: int) -> tuple[npt.NDArray[np.int8], Integers]:
    """Run one neuron over all steps; returns spikes int8 and potentials before reset int64, [T, N, ...]."""
    dims = len(node.shape)
    current = combine(tuple(g[:steps] for g in node.gains), inputs, dims) >> node.right_shift
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
        s = (h >= theta if node.fire == "ge" else h > theta).astype(np.int64)
        if node.signed:
            s -= (h <= -retract) & (emitted > 0) & (s == 0)
            emitted += s
        v = h - theta * s if node.reset == "soft" else np.where(s == 1, v_reset, h)
        spikes[t], potentials[t] = s, h
    return spikes, potentials


def _readout(node: Readout, inputs: list[Integers], steps: int) -> Integers:
    dims = len(node.shape)
    value = combine(tuple(g[:steps] for g in node.gains), inputs, dims) + per_channel(node.bias[:steps], dims)
    total: Integers = value.sum(0) if len(value) == steps else value[0] * steps
    return total


def _fold(x: Integers, layer: Callable[[Integers], Integers]) -> Integers:
    out = layer(x.reshape(-1, *x.shape[2:]))
    return out.reshape(*x.shape[:2], *out.shape[1:])


def _last(kernel: Shape) -> Shape:
    return tuple(range(-len(kernel), 0))


def _windows(
    x: Integers, kernel: Shape, stride: Shape, padding: Shape, fill: int, dilation: Shape | None = None
) -> Integers:
    """Return the view [N, C, *out, *kernel] of all windows of [N, C, *in]."""
    dilation = dilation or (1,) * len(kernel)
    if any(padding):
        x = np.pad(x, [(0, 0), (0, 0), *[(p, p) for p in padding]], constant_values=fill)
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axis=tuple(range(2, x.ndim)))
    steps = tuple(slice(None, None, s) for s in stride)
    inside = tuple(slice(None, None, d) for d in dilation)
    return view[(slice(None), slice(None), *steps, *inside)]


def _convolve(x: Integers, node: Convolution) -> Integers:
    codes, groups = node.weight.codes, node.groups
    kernel = codes.shape[2:]
    n, dims = x.shape[0], len(kernel)
    windows = _windows(x, kernel, node.stride, node.padding, 0, node.dilation)
    out = windows.shape[2 : 2 + dims]
    results = []
    for x_g, w_g in zip(np.split(windows, groups, axis=1), np.split(codes, groups, axis=0), strict=True):
        columns = np.moveaxis(x_g, 1, 1 + dims).reshape(n * int(np.prod(out)), -1)
        results.append(_product(columns, w_g.reshape(len(w_g), -1).T))
    return np.moveaxis(np.concatenate(results, axis=1).reshape(n, *out, -1), -1, 1)


def _product(x: Integers, w: Integers) -> Integers:
    """Multiply [M, K] by [K, F] exactly."""
    if not x.size:
        return np.zeros((len(x), w.shape[1]), np.int64)
    # No partial sum can be larger than the sum of magnitudes; Python's integers cannot overflow.
    bound = int(np.abs(x).max()) * int(np.abs(w).sum(0).max())
    for dtype, limit in ((np.float32, 2**24), (np.float64, 2**53)):
        if bound <= limit:
            return np.asarray(x.astype(dtype) @ w.astype(dtype)).astype(np.int64)
    if bound >= 2**63:
        raise ConstraintError(f"a sum of products may reach {bound}, more than 64 bits hold")
    return x @ w
