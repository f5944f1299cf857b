"""Choose the integers of a neuron or read-out: unit, fraction bits, threshold, bias, leak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitspike.integer.network import Integers, Reals
from bitspike.integer.wires import OnGrid, Wire, put_on_grid, smallest_scale, whole
from bitspike.nn.neuron import LIF, PLIF, Neuron, SignedIF
from bitspike.ops.rounding import Dyadic, dyadic


@dataclass(frozen=True)
class Precision:
    """How fine the integers are.

    Args:
        tolerance: the largest relative error of a threshold, gain or bias that is accepted when no choice is exact.
        fraction_bits: bits of the potential below one count of the synaptic sum; None takes the fewest that are
            exact, or that keep the tolerance.
        max_fraction_bits: the most that are tried.
        leak_bits: width of the leak's numerator.
        float_bits: width of the codes of a weight that no scheme quantises.
    """

    tolerance: float = 2.0**-12
    fraction_bits: int | None = None
    max_fraction_bits: int = 20
    leak_bits: int = 8
    float_bits: int = 16


@dataclass(frozen=True, eq=False)
class Fitted:
    """The integers of a neuron as arguments of :class:`bitspike.integer.network.Neuron`, and what was rounded."""

    arguments: dict[str, Any]
    notes: tuple[str, ...]


def leak_of(neuron: Neuron, precision: Precision) -> tuple[float, Dyadic]:
    """Return the decay of a neuron and the m / 2**k that stands for it."""
    decay = neuron.decay if isinstance(neuron, LIF | PLIF) else 1.0
    return decay, dyadic(decay, bits=precision.leak_bits)


def fit_neuron(wire: Wire, neuron: Neuron, *, steps: int, precision: Precision, path: str) -> Fitted:
    """Choose the integers of a spiking neuron that reads ``wire``.

    With a hard reset the threshold is only compared, never subtracted, so rounding it up (``ge``) or down (``gt``) to the
    next integer changes no spike. A leak of m / 2**k is exact while every product keeps its bits: k fraction bits per
    step, or a membrane whose ``resolution`` rounds in training as the integers do.
    """
    rule, notes = neuron.rule, []
    decay, leak = leak_of(neuron, precision)
    if float(leak) != decay:
        notes.append(f"{path}: decay {decay:.6g} became {leak.numerator}/2**{leak.shift}")
    if rule.decay_input:
        wire = wire.affine(np.asarray(1 - decay), np.zeros(1))
    theta = torch.as_tensor(neuron.threshold, dtype=torch.float64).reshape(-1).cpu().numpy()
    unit = smallest_scale(wire) if rule.resolution is None else np.full(1, rule.resolution)
    unit, theta = np.broadcast_arrays(unit, theta)
    if isinstance(neuron, SignedIF) and neuron.half_threshold:
        initial = theta / 2
    else:
        initial = np.full(1, neuron.initial)

    def at(k: int) -> tuple[OnGrid, dict[str, Any], float]:
        grid = put_on_grid(wire, unit, k, reference=theta)
        step = unit / 2.0**k
        exact = whole(theta / step)
        worst = grid.worst
        if rule.reset == "hard":
            threshold = np.ceil(exact) if rule.fire == "ge" else np.floor(exact)
        else:
            threshold = np.round(exact)
            worst = max(worst, float(np.abs(threshold / exact - 1).max()))
        start, after = whole(initial / step), whole(np.full(1, rule.v_reset) / step)
        for value in (start, after):
            worst = max(worst, float((np.abs(np.round(value) - value) / exact).max()))
        # Rounding down after a leak loses less than one count per step; a declared resolution loses the same in training.
        if rule.resolution is None and leak.shift * (steps - 1) > k and leak.shift > 0:
            worst = max(worst, float((1 / exact).max()))
        values: dict[str, Any] = {
            "threshold": np.maximum(threshold, 1 if rule.fire == "ge" else 0).astype(np.int64)[None],
            "initial": np.round(start).astype(np.int64),
            "v_reset": np.round(after).astype(np.int64),
        }
        if isinstance(neuron, SignedIF):
            values |= {"signed": True, "retract": np.maximum(1, np.ceil(whole(neuron.retract / step))).astype(np.int64)}
        return grid, values, worst

    k, (grid, values, worst) = _fewest(at, precision, fixed=0 if rule.resolution is not None else None)
    if worst > 0:
        notes.append(f"{path}: rounded within {worst:.2g} of the threshold, with {k} fraction bits")
    arguments = {
        **values,
        "gains": grid.gains,
        "bias": grid.bias,
        "unit": np.asarray(unit / 2.0**k),
        "fraction_bits": k,
        "leak": leak,
        "leak_order": rule.leak,
        "reset": rule.reset,
        "fire": rule.fire,
    }
    return Fitted(arguments, tuple(notes))


def fit_readout(
    wire: Wire, *, precision: Precision, path: str
) -> tuple[tuple[Integers, ...], Integers, Reals, tuple[str, ...]]:
    """Choose the integers of a read-out; returns gains, bias, the real value of one count, and notes.

    One unit serves all classes, so the largest count is the answer without any multiplication.
    """
    unit = np.full(1, smallest_scale(wire).min())

    def at(k: int) -> tuple[OnGrid, None, float]:
        grid = put_on_grid(wire, unit, k, reference=unit)
        return grid, None, grid.worst

    k, (grid, _, worst) = _fewest(at, precision, fixed=None)
    notes = (f"{path}: rounded within {worst:.2g} of one count, with {k} fraction bits",) if worst > 0 else ()
    return grid.gains, grid.bias, unit / 2.0**k, notes


def _fewest(at: Any, precision: Precision, *, fixed: int | None) -> tuple[int, Any]:
    """Return the fewest fraction bits that are exact; else the fewest that keep the tolerance; else the most."""
    if fixed is not None or precision.fraction_bits is not None:
        k = fixed if fixed is not None else precision.fraction_bits
        assert k is not None
        return k, at(k)
    tried = [at(k) for k in range(precision.max_fraction_bits + 1)]
    for limit in (0.0, precision.tolerance):
        for k, found in enumerate(tried):
            if found[2] <= limit:
                return k, found
    return len(tried) - 1, tried[-1]
