"""Golden vectors: inputs of a network with everything that belongs to them.

``input_codes`` [T or 1, N, ...] holds zeros, the largest codes, the smallest and seeded random ones, and real samples
where some are given. ``input_values``, of the same shape, are real numbers that these codes come from: between the
codes and beyond the grid, so that rounding and clipping are shown too. Per neuron ``<node>.spikes`` int8 [T, N, ...],
``<node>.counts`` [N, ...], ``<node>.potentials`` [kept steps, N, ...] before reset; per read-out ``<node>.output`` and
``<node>.values``, what its integers are worth. ``potential_steps`` lists the steps whose potentials are kept: all of
them up to 8, else the first, the middle and the last.
"""

from __future__ import annotations

import numpy as np

from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Input, Integers, Reals
from bitspike.integer.saved.entries import Arrays, smallest
from bitspike.integer.simulate import simulate
from bitspike.integer.values import decode

_BETWEEN = 0.25
"""How far a real value lies from its code: no rounding of floats reaches the next one."""


def golden(
    net: IntegerNetwork, samples: Integers | None = None, labels: Integers | None = None, *, seed: int = 0
) -> Arrays:
    """Make the golden vectors of a network.

    Args:
        net: the network.
        samples: input codes of real samples [T or 1, N, ...], put after the generated ones.
        labels: classes of these samples [N]; the generated ones get -1.
        seed: of the random codes.

    Returns:
        the tensors by name, codes in the smallest integer type that holds them, real values as float64.
    """
    source = net.input
    steps = 1 if source.constant else net.steps
    shape = (steps, 1, *source.shape)
    low, high = source.grid.low, source.grid.high
    generated = [
        np.zeros(shape, np.int64) if low <= 0 <= high else np.full(shape, low, np.int64),
        np.full(shape, high, np.int64),
        np.full(shape, low, np.int64),
        np.random.default_rng(seed).integers(low, high, (steps, 3, *source.shape), endpoint=True),
    ]
    codes = np.concatenate([*generated, *([] if samples is None else [samples])], axis=1)
    trace = simulate(net, codes)
    kept = np.arange(net.steps) if net.steps <= 8 else np.array([0, net.steps // 2, net.steps - 1])
    tensors: Arrays = {"input_codes": smallest(codes), "potential_steps": smallest(kept)}
    tensors["input_values"] = _values(source, codes, generated=sum(m.shape[1] for m in generated), seed=seed)
    if labels is not None:
        tensors["labels"] = smallest(np.concatenate([np.full(codes.shape[1] - len(labels), -1), labels]))
    for node in net.neurons:
        tensors[f"{node.id}.spikes"] = trace.spikes[node.id]
        tensors[f"{node.id}.counts"] = smallest(trace.spikes[node.id].sum(0, dtype=np.int64))
        tensors[f"{node.id}.potentials"] = smallest(trace.potentials[node.id][kept])
    for output in net.outputs:
        tensors[f"{output.id}.output"] = smallest(trace.outputs[output.id])
        tensors[f"{output.id}.values"] = decode(output, trace.outputs[output.id])
    return tensors


def _values(source: Input, codes: Integers, *, generated: int, seed: int) -> Reals:
    """Return real values of the codes: those of made samples off the grid, those of real samples on it."""
    moved = np.zeros(codes.shape)
    moved[:, 1], moved[:, 2] = 1 + _BETWEEN, -1 - _BETWEEN  # the largest and the smallest codes: beyond the grid
    random = np.random.default_rng(seed + 1)
    moved[:, 3:generated] = random.choice((-_BETWEEN, 0, _BETWEEN), moved[:, 3:generated].shape)
    return (codes + moved) * source.grid.scale
