"""An interpreter of NIR files that knows nothing of Bitspike: NumPy, the package ``nir``, and the file's metadata.

Neurons integrate with a time step of 1 and reset as ``snn.reset`` says; everything else is NIR's own text. Edges that
meet are added. In real units, what the metadata count (first potential, limits) is multiplied by ``snn.unit``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def run_file(path: Path, codes: npt.NDArray[np.integer]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Return the spikes [T, N, ...] of every neuron and the summed outputs [N, ...] of a file.

    Args:
        path: of the file.
        codes: [1 or T, N, ...].
    """
    graph = nir.read(path, type_check=False)
    steps = int(graph.metadata["snn.T"])
    real = graph.metadata["snn.units"] == "real"
    order = ordered(graph)
    states: dict[str, Floats] = {}
    spikes: dict[str, list[Floats]] = {}
    outputs: dict[str, Floats] = {}
    for t in range(steps):
        values: dict[str, Floats] = {}
        for name in order:
            node, kind = graph.nodes[name], type(graph.nodes[name]).__name__
            if kind == "Input":
                values[name] = codes[min(t, len(codes) - 1)].astype(np.float64)
                continue
            x = sum(values[a] for a, b in graph.edges if b == name)
            if kind in ("IF", "LIF"):
                values[name], states[name] = neuron(node, kind, np.asarray(x), states.get(name), real)
                spikes.setdefault(name, []).append(values[name])
            elif kind == "Output":
                outputs[name] = outputs.get(name, 0) + np.asarray(x)
            else:
                values[name] = layer(node, kind, np.asarray(x))
    return {name: np.stack(rows) for name, rows in spikes.items()}, outputs


def ordered(graph: Any) -> list[str]:
    """Return the nodes so that sources come first."""
    left, found = set(graph.nodes), []
    while left:
        ready = sorted(n for n in left if all(a in found for a, b in graph.edges if b == n))
        assert ready, "a loop"
        found += ready
        left -= set(ready)
    return found


def neuron(node: Any, kind: str, i: Floats, v: Floats | None, real: bool) -> tuple[Floats, Floats]:
    facts, shape = node.metadata, node.v_threshold.shape

    def full(values: Any) -> Floats:
        """One value for all, or one for each channel, whose places a matrix makes a vector of."""
        values = np.atleast_1d(values).astype(np.float64)
        return np.broadcast_to(np.repeat(values, np.prod(shape) // values.size).reshape(shape), i.shape)

    unit = full(facts["snn.unit"] if real else 1.0)
    if v is None:
        v = full(facts["snn.v0"]) * unit
    if kind == "IF":
        h = v + node.r * i
    else:
        # The file's tau says about m / 2**k; the metadata say it exactly, and where the product is rounded to.
        decay = int(facts["snn.leak_numerator"]) / 2 ** int(facts["snn.leak_shift"])
        assert np.allclose(1 - 1 / node.tau, decay, atol=1e-6)
        before = facts["snn.leak_order"] == "before"
        rounded = {"down": np.floor, "toward zero": np.trunc}[facts["snn.rounding"]]
        h = rounded((v if before else v + i) * decay / unit) * unit + (i if before else 0)
    if "snn.v_min" in facts:
        h = np.maximum(h, facts["snn.v_min"] * unit)
    if "snn.width" in facts:
        half = 2.0 ** (int(facts["snn.width"]) - 1)
        h = np.clip(h, -half * unit, (half - 1) * unit)
    fired = h >= node.v_threshold if facts["snn.compare"] == "ge" else h > node.v_threshold
    after = h - node.v_threshold if facts["snn.reset"] == "subtract" else np.broadcast_to(node.v_reset, h.shape)
    left = np.where(fired, after, h)
    if "snn.kept_bits" in facts:
        half, code = 2.0 ** (int(facts["snn.kept_bits"]) - 1), 2.0 ** int(facts["snn.kept_shift"]) * unit
        left = np.clip(np.floor(left / code + 0.5), -half, half - 1) * code
    return fired.astype(np.float64), left


def layer(node: Any, kind: str, x: Floats) -> Floats:
    if kind == "Flatten":
        assert (int(node.start_dim), int(node.end_dim)) == (0, -1)
        return x.reshape(len(x), -1)
    if kind == "Affine":
        return x @ node.weight.T.astype(np.float64) + node.bias
    if kind == "SumPool2d":
        channels = x.shape[1]
        ones = np.ones((1, 1, *np.asarray(node.kernel_size).reshape(-1)))
        rows = [convolved(x[:, c : c + 1], ones, node.stride, node.padding, (1, 1)) for c in range(channels)]
        return np.concatenate(rows, axis=1)
    assert kind in ("Conv1d", "Conv2d"), kind
    assert int(node.groups) == 1
    out = convolved(x, node.weight.astype(np.float64), node.stride, node.padding, node.dilation)
    return out + node.bias.reshape(-1, *[1] * (out.ndim - 2))


def convolved(x: Floats, weight: Floats, stride: Any, padding: Any, dilation: Any) -> Floats:
    """Add up every kernel place's product, over shifted and strided views of the padded input."""
    dims = weight.ndim - 2
    stride, padding, dilation = (np.broadcast_to(np.asarray(v), (dims,)) for v in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (0, 0), *((int(p), int(p)) for p in padding)])
    kernel = weight.shape[2:]
    sizes = [(x.shape[2 + a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in range(dims)]
    total = np.zeros((len(x), len(weight), *sizes))
    for place in np.ndindex(*kernel):
        starts = [place[a] * dilation[a] for a in range(dims)]
        cut = tuple(slice(s, s + stride[a] * (sizes[a] - 1) + 1, stride[a]) for a, s in enumerate(starts))
        total += np.einsum("nc...,oc->no...", x[(slice(None), slice(None), *cut)], weight[(..., *place)])
    return total
