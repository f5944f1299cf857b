"""Choose the integers of a neuron or read-out: unit, fraction bits, threshold, bias, leak."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError, LoweringError
from bitspike.integer.nodes import FewBitNeuron, Integers, Reals
from bitspike.integer.nodes import Neuron as NeuronNode
from bitspike.lowering.membranes import Keeping, keeping_of
from bitspike.lowering.wires import OnGrid, Wire, integers, natural_unit, put_on_grid, whole, without_dead
from bitspike.nn import Neuron
from bitspike.ops.dynamics import Law
from bitspike.ops.grids import Dyadic, dyadic


@checked
@dataclass(frozen=True)
class Precision:
    """How fine the integers are.

    Args:
        tolerance: the largest relative error of a threshold, gain or bias that is accepted when no choice is exact.
        fraction_bits: bits of the potential below one count of the synaptic sum; None takes the fewest that are
            exact, or that keep the tolerance.
        max_fraction_bits: the most that are tried. Of a potential that is kept in codes much coarser than what arrives,
            more are tried where so few do not keep the tolerance.
        leak_bits: width of the leak's numerator.
        float_bits: width of the codes of a weight that no scheme quantises.
    """

    tolerance: float = 2.0**-12
    fraction_bits: int | None = None
    max_fraction_bits: int = 20
    leak_bits: int = 8
    float_bits: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < math.inf:
            raise ConstraintError(
                f"Precision(tolerance={self.tolerance}): must be finite and at least 0", fix="tolerance=2.0**-12"
            )


@dataclass(frozen=True, eq=False)
class Fitted:
    """The integers of a neuron as arguments of its kind of node, and what was rounded; ``exact`` if nothing was."""

    kind: type[NeuronNode]
    arguments: dict[str, Any]
    notes: tuple[str, ...]
    exact: bool


def leak_of(law: Law, precision: Precision) -> tuple[float, Dyadic]:
    """Return the decay of a neuron, 1 without a leak, and the m / 2**k that stands for it."""
    decay = law.decay.detach().item() if isinstance(law.decay, Tensor) else law.decay
    decay = 1.0 if decay is None else float(decay)
    return decay, dyadic(decay, bits=precision.leak_bits)


def fit_neuron(wire: Wire, neuron: Neuron, *, steps: int, precision: Precision, path: str) -> Fitted:
    """Choose the integers of a spiking neuron that reads ``wire``.

    With a hard reset the threshold is only compared, never subtracted, so rounding it up (``ge``) or down (``gt``) to
    the next integer changes no spike. A leak of m / 2**k is exact while every product keeps its bits: all that enters
    the potential ends in k zeros for every step, or a ``resolution`` rounds in training as the integers do. What is
    kept in few bits counts in its own steps: one code is worth 2**k integers, k the fraction bits.
    """
    law, notes = neuron.law_in_integers(), []
    rule = law.rule
    decay, leak = leak_of(law, precision)
    if float(leak) != decay:
        notes.append(f"{path}: decay {decay:.6g} became {leak.numerator}/2**{leak.shift}")
    if rule.decay_input:
        # (1 - decay) x is one more gain, with the decay that was trained.
        wire = wire.affine(np.asarray(1 - decay), np.zeros(1))
    theta, initial = (
        torch.as_tensor(values, dtype=torch.float64).detach().reshape(-1).cpu().numpy()
        for values in (law.threshold, law.initial)
    )
    if len(theta) not in (1, wire.shape[0]):
        raise LoweringError(
            f"{path}: has {len(theta)} thresholds and gets {list(wire.shape)} per sample",
            fix=f"one threshold, or one for each of the {wire.shape[0]} channels",
        )
    wire, dead = without_dead(wire, theta)
    if dead:
        notes.append(_switched_off(path, dead, wire))
    keeping = keeping_of(law, path)
    unit, fixed, most = _unit(law, keeping, precision, wire, theta, np.abs(initial))
    unit, theta = np.broadcast_arrays(unit, theta)

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
        if keeping is not None:
            start = keeping.first(start, k)
        # `exact` is the threshold in the same steps: errors of potentials are shares of it.
        for value in (start, after):
            worst = max(worst, float((np.abs(np.round(value) - value) / exact).max()))
        values: dict[str, Any] = {
            "threshold": integers(np.maximum(threshold, 1 if rule.fire == "ge" else 0))[None],
            "initial": integers(np.round(start)),
            "v_reset": integers(np.round(after)),
        }
        if rule.resolution is None and leak.shift:
            entering = [*grid.gains, grid.bias, values["initial"]]
            lasting = values["threshold"] if rule.reset == "soft" else values["v_reset"]
            # A charge leaks at all steps but its own, with leak "after" at its own too; the initial one leaks T times.
            products = steps - 1 + int(rule.leak == "after" or bool(values["initial"].any()))
            if keeping is not None:
                # What leaks is a multiple of 2**k, rounded anew at every step; with leak "after" the charge leaks too.
                products, lasting = min(products, 1), integers(np.full(1, 2.0**k))
                entering = entering if rule.leak == "after" else []
            worst = max(worst, lost(leak, products, [*entering, lasting]) * float((1 / exact).max()))
        if law.retract is not None:
            # For a whole h, h <= -retract is h <= -ceil(retract).
            values |= {"signed": True, "retract": integers(np.ceil(whole(law.retract / step)))}
        return grid, values, worst

    k, (grid, values, worst) = fewest(at, precision, fixed=fixed, most=most)
    notes += _lost_sources(wire, grid, rule.resolution, path)
    if worst > 0:
        notes.append(f"{path}: rounded within {worst:.2g} of the threshold, with {k} fraction bits")
    arguments = {
        **values,
        "gains": grid.gains,
        "bias": at_once(grid.bias, steps) if wire.burst else grid.bias,
        "unit": np.asarray(unit / 2.0**k),
        "fraction_bits": k,
        "leak": leak,
        "leak_order": rule.leak,
        "rounding": rule.rounding,
        "reset": rule.reset,
        "fire": rule.fire,
        "width": rule.potential_bits,
    }
    exact = worst == 0 and float(leak) == decay
    if keeping is None:
        return Fitted(NeuronNode, arguments, tuple(notes), exact)
    notes += keeping.notes(grid.gains)
    return Fitted(FewBitNeuron, arguments | keeping.fields(k), tuple(notes), exact)


def _unit(
    law: Law, keeping: Keeping | None, precision: Precision, wire: Wire, theta: Reals, initial: Reals
) -> tuple[Reals, int | None, int]:
    """Return the real value of 2**k counts, [1] or [C], k where it is declared, and the largest k to be tried.

    A declared resolution is the grid that training rounded on: it is one count.
    """
    if keeping is None and law.rule.resolution is not None:
        return np.full(1, law.rule.resolution), 0, 0
    natural, most = natural_unit(wire, theta, initial), precision.max_fraction_bits
    if keeping is not None:
        return keeping.step, keeping.fraction_bits, keeping.most_fraction_bits(most, natural)
    return natural, None, most


def _lost_sources(wire: Wire, grid: OnGrid, resolution: float | None, path: str) -> Iterator[str]:
    """Yield what is lost where all that a source sends counts as 0 in steps of a declared resolution."""
    for summand, gains in zip(wire.summands, grid.gains, strict=True):
        largest = float(np.abs(summand.scale).max())
        if resolution is not None and largest > 0 and not gains.any():
            finer = 2.0 ** math.floor(math.log2(largest))
            yield (
                f"{path}: NOTHING of what it reads is left: one count of its sum is worth {largest:.3g} and becomes 0 "
                f"in steps of resolution={resolution:g}; resolution={finer:g} or finer keeps it, with as many more "
                "potential_bits where the potential saturates"
            )


def lost(leak: Dyadic, products: int, entering: Sequence[Integers]) -> float:
    """Return how many counts a potential may lose to a leak that runs out of bits, 0 if none.

    A declared resolution rounds in training as the integers do. Otherwise a leak that runs out of bits loses less than
    one count at each product, and what is lost leaks on like the rest: a geometric sum.
    """
    if leak.shift * products <= min(_zeros_at_end(x) for x in entering):
        return 0.0
    return sum(float(leak) ** i for i in range(products))


def _switched_off(path: str, channels: int, wire: Wire) -> str:
    when = " at some step, were switched off there" if wire.by_step else " were switched off"
    return f"{path}: {channels} channels whose gain is as good as 0{when}"


def at_once(bias: Integers, steps: int) -> Integers:
    """Return a bias [1, C] of every step as one that arrives at the first step alone, [T, C].

    Example:
        >>> at_once(np.array([[3]]), steps=2).tolist()
        [[6], [0]]
    """
    return np.concatenate([bias * steps, np.zeros((steps - 1, bias.shape[1]), np.int64)])


def _zeros_at_end(values: Integers) -> int:
    """Return how often all of the values can be halved; 64 if all are 0.

    Example:
        >>> _zeros_at_end(np.array([12, 8, 0])), _zeros_at_end(np.array([0]))
        (2, 64)
    """
    bits = int(np.bitwise_or.reduce(values, axis=None))
    return (bits & -bits).bit_length() - 1 if bits else 64


def fit_readout(
    wire: Wire, *, precision: Precision, path: str, rates: bool = False
) -> tuple[tuple[Integers, ...], Integers, Reals, tuple[str, ...]]:
    """Choose the integers of a read-out; returns gains, bias, the real value of one count, and notes.

    One unit serves all classes, so the largest count is the answer without any multiplication. Only ``rates``,
    spikes that leave a network without a layer in between, may be worth different values by channel, units [C] then.
    """
    largest = np.max([np.abs(b.scale).max() for b in wire.summands], keepdims=True)
    wire, dead = without_dead(wire, largest)
    unit = np.full(1, natural_unit(wire).min())

    def at(k: int) -> tuple[OnGrid, None, float]:
        grid = put_on_grid(wire, unit, k, reference=unit)
        return grid, None, grid.worst

    k, (grid, _, worst) = fewest(at, precision, fixed=None, most=precision.max_fraction_bits)
    single = wire.summands[0].scale if len(wire.summands) == 1 else np.zeros(1)
    if rates and worst > 0 and (single > 0).all() and not wire.offset.any() and not wire.by_step:
        # Counts of one source need no common unit: each channel's count has its own real value.
        return (np.ones((1, 1), np.int64),), np.zeros((1, 1), np.int64), single, ()
    notes = [_switched_off(path, dead, wire)] if dead else []
    if worst > 0:
        notes.append(f"{path}: rounded within {worst:.2g} of one count, with {k} fraction bits")
    return grid.gains, grid.bias, unit / 2.0**k, tuple(notes)


def fewest(at: Any, precision: Precision, *, fixed: int | None, most: int) -> tuple[int, Any]:
    """Return the fewest fraction bits that are exact; else the fewest that keep the tolerance; else the best.

    More than the precision's are tried, up to ``most``, where fewer do not keep the tolerance.
    """
    if fixed is not None or precision.fraction_bits is not None:
        k = fixed if fixed is not None else precision.fraction_bits
        assert k is not None
        return k, at(k)
    tried = [at(0)]
    while tried[-1][2] > 0 and len(tried) <= most:
        if len(tried) > precision.max_fraction_bits and any(fit[2] <= precision.tolerance for fit in tried):
            break
        try:
            tried.append(at(len(tried)))
        except ConstraintError:  # numbers of more than 53 bits
            break
    errors = [fit[2] for fit in tried]
    if errors[-1] == 0:
        return len(tried) - 1, tried[-1]
    k = next((k for k, error in enumerate(errors) if error <= precision.tolerance), int(np.argmin(errors)))
    return k, tried[k]
