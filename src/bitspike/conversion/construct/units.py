"""The integers of one spiking neuron: one unit for all that it adds up, codes, gains, bias and threshold in that unit.

Several weighted branches and skips may meet in one neuron. With V_i = W_i * lambda_i the current of branch i per input
spike, m_j the value of one spike of skip j, and lambda the value of an output spike:

    unit       U = max over branches of reach(V_i) / (2**(bits_i - 1) - 1);  without a branch: max m_j / 127
    codes      round(V_i / U), clipped to their bits                     gain of a skip   round(m_j / U)
    threshold  max(1, round(lambda / U * 2**k))                          bias             round(b_i / U * 2**k)
    effective  lambda_eff = threshold * U / 2**k

``lambda_eff`` is what a spike of the neuron is worth from here on: the rounding of the threshold moves the clip point
and is not carried into the next layer. An identity skip never sets the unit, because a convolution's weights would
collapse to 0 and 1 next to it. Source of the threshold algebra: Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from bitspike.conversion.branches import Branch
from bitspike.conversion.construct.common_unit import FINEST, MULTIPLIER_BITS, Summand, common_unit, for_all
from bitspike.conversion.fold.kept import Kept
from bitspike.conversion.settings import Settings
from bitspike.weights.codes import along
from bitspike.weights.scales import Max, ScaleRule
from bitspike.weights.schemes import Uniform

SKIP_CODES = 127
"""The largest gain of a neuron that adds spikes without any weights: 8-bit codes."""
EXACT = 2**24
"""The largest sum of codes that single precision computes without rounding; weights with larger ones are rounded."""
FINE_BITS = 16
"""How many bits the step of kept codes is wider than the finest integer of a neuron at most; as ``lower`` finds it."""
TOLERANCE = 0.01
"""Rounding beyond this is noted."""


@dataclass(frozen=True, eq=False)
class Weighted:
    """One weighted branch in real values.

    Args:
        current: float64, of the shape of the weight: what one input spike adds to each output.
        bias: float64 [C_out], added at every step.
        bits: of a code, 1 to 16.
        axis: along which the output channels lie: 0, or 1 for a transposed convolution.
        groups: of a transposed convolution; its channels do not lie along one axis where it has several.
        kept: its codes where the weights are codes already, with the current of one of them as their step.
        reach: the largest integer that one input sends in one step, 1 for a spike.
    """

    current: Tensor
    bias: Tensor
    bits: int
    axis: int = 0
    groups: int = 1
    kept: Kept | None = None
    reach: int = 1


@dataclass(frozen=True, eq=False)
class Charge:
    """What one neuron adds up, in real values.

    Args:
        branches: the weighted ones.
        weighted: what each of them adds.
        factors: by weighted branch, what a weight is multiplied by to be the current of one input spike.
        skips: real value of one spike of each skip, [1] or [C].
        wanted: lambda, the wanted real value of an output spike, [1] or [C].
        per_channel: whether every output channel has a unit of its own.
        one_value: whether an output spike stays worth ``wanted``, however the threshold is rounded: weights that are
            codes already have one factor for all input channels.
    """

    branches: tuple[Branch, ...]
    weighted: tuple[Weighted, ...]
    factors: tuple[Tensor, ...]
    skips: tuple[Tensor, ...]
    wanted: Tensor
    per_channel: bool
    one_value: bool = False

    def takes_bias(self, channels: int) -> bool:
        """Tell whether the first layer can take a bias per channel: there is one, and its channels are the neuron's."""
        moved = any(op.kind == "transpose" for branch in self.branches[:1] for op in branch.after)
        return bool(self.weighted) and len(self.weighted[0].bias) == channels and not moved


@dataclass(frozen=True, eq=False)
class Group:
    """The integers of one neuron.

    Args:
        unit: float64 [1] or [C]: real value of one count of the synaptic sum.
        codes: int64, by weighted branch.
        multipliers: by weighted branch, how many units one of its codes is worth; 1 unless branches keep their steps.
        gains: int64 [1] or [C], by skip.
        biases: int64 [C], by weighted branch, in units of ``unit / 2**fraction_bits``.
        threshold: int64 [1] or [C], in the same units.
        fraction_bits: k.
        value: float64 [1] or [C]: lambda_eff, the real value of an output spike.
        notes: what was rounded by more than the tolerance.
    """

    unit: Tensor
    codes: tuple[Tensor, ...]
    multipliers: tuple[Tensor, ...]
    gains: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    threshold: Tensor
    fraction_bits: int
    value: Tensor
    notes: tuple[str, ...]


def shared_unit(
    branches: Sequence[Weighted], skips: Sequence[Tensor], *, per_channel: bool, scale: ScaleRule | None = None
) -> Tensor:
    """Return the real value of one count, [1] or [C_out], that all branches and skips of a neuron share.

    Args:
        branches: its weighted branches.
        skips: real value of one spike of each skip, [1] or [C].
        per_channel: one unit per output channel; ignored for grouped transposed convolutions and pure skips.
        scale: reads the reach of the weights; None is the largest magnitude.

    Example:
        >>> shared_unit([Weighted(torch.tensor([[0.7, -1.4]]).double(), torch.zeros(1), 4)], [], per_channel=False)
        tensor([0.2000], dtype=torch.float64)
    """
    if not branches:
        return torch.cat([s.reshape(-1) for s in skips]).max().reshape(1) / SKIP_CODES
    # The output channels of a grouped transposed convolution lie along two axes of its weight.
    split = per_channel and all(b.axis == 0 or b.groups == 1 for b in branches)
    schemes = [Uniform(b.bits, per_channel=split, scale=scale or Max()) for b in branches]
    steps = [scheme.encode(b.current, b.axis)[1] for scheme, b in zip(schemes, branches, strict=True)]
    # The widest step, so that no branch needs larger codes than its bits hold.
    return torch.stack(_alike(steps)).amax(0)


def _alike(values: Sequence[Tensor]) -> list[Tensor]:
    """Return values [1] and [C] all as [C]."""
    size = max(len(v) for v in values)
    return [v.expand(size) for v in values]


def steps_of(charge: Charge, settings: Settings) -> tuple[Tensor, list[Tensor]]:
    """Return the unit of a neuron and the real value of one code of each weighted branch, [1] or [C].

    On chips with a multiplier after each branch (``multiplier_bits`` f) every branch keeps the step U_i of its own
    weights, and the sum is M_1 S_1 + M_2 S_2 in units of min U_i / 2**f, M_i = round(U_i / unit).
    """
    if any(branch.kept is not None for branch in charge.weighted):
        return kept_steps(charge, settings)
    branches, unit_of = charge.weighted, partial(shared_unit, per_channel=charge.per_channel, scale=settings.scale)
    unit = unit_of(branches, [s.abs() for s in charge.skips])
    # A channel that a norm has switched off has weights of next to nothing; counts finer than this decide no spike.
    unit = torch.maximum(unit, charge.wanted * FINEST / max((branch.reach for branch in branches), default=1))
    if settings.multiplier_bits is None or len(branches) < 2:
        return unit, [unit] * len(branches)
    own = [unit_of([b], []) for b in branches]
    unit = torch.stack(_alike(own)).amin(0) / 2.0**settings.multiplier_bits
    # Whole multiples of the unit: codes are rounded to the very step that M_i then stands for.
    return unit, [(o / unit).round() * unit for o in own]


def _most_fraction_bits(branches: Sequence[Weighted], unit: Tensor, steps: Sequence[Tensor], settings: Settings) -> int:
    """Return how many fraction bits there may be: with multipliers as many fewer as these are wide."""
    if all(branch.kept is None for branch in branches):
        return settings.max_fraction_bits
    widest = max((int((step / unit).round().max()) for step in steps), default=1)
    return max(0, min(settings.max_fraction_bits, FINE_BITS - widest.bit_length() + 1))


def kept_steps(charge: Charge, settings: Settings) -> tuple[Tensor, list[Tensor]]:
    """Return the same where weights are codes already: every branch keeps its step, as a whole multiple of the unit.

    A channel whose weights do not count has a step of 0.
    """
    summands = [
        Summand(b.kept.step, _spread(b))
        if b.kept is not None
        else Summand(shared_unit([b], [], per_channel=charge.per_channel), torch.ones(1).double())
        for b in charge.weighted
    ] + [Summand(s.abs(), torch.ones(1).double()) for s in charge.skips]
    bits = MULTIPLIER_BITS if settings.multiplier_bits is None else settings.multiplier_bits
    if charge.per_channel:
        allowed = settings.tolerance / settings.steps
        unit = common_unit(summands, charge.wanted, allowed=allowed, multiplier_bits=bits)
    else:
        unit = for_all(summands, charge.wanted, multiplier_bits=bits)
    return unit, [(summand.step / unit).round() * unit for summand in summands[: len(charge.weighted)]]


def _spread(branch: Weighted) -> Tensor:
    """Return by output channel how large a sum of codes typically is where every second input sends what it can."""
    assert branch.kept is not None
    squares = branch.kept.codes.double().square()
    if branch.groups > 1:  # the output channels of a grouped transposed convolution lie along two axes: the largest one
        # [groups, C_in / groups, C_out / groups, *kernel]: input channels lie group after group.
        by_group = squares.reshape(branch.groups, -1, *squares.shape[1:])
        sums = by_group.transpose(1, 2).flatten(2).sum(2).max().reshape(1)
    else:
        sums = squares.sum([d for d in range(squares.dim()) if d != branch.axis])
    return (sums / 2).sqrt() * branch.reach


def codes_of(branch: Weighted, step: Tensor) -> Tensor:
    """Return the codes of a branch where one of them is worth ``step``, whole numbers in float64.

    Example:
        >>> codes_of(Weighted(torch.tensor([[0.7, -1.5]]).double(), torch.zeros(1), 4), torch.tensor([0.2]).double())
        tensor([[ 3., -7.]], dtype=torch.float64)
    """
    if branch.kept is not None:  # a step of 0 is that of a channel whose weights do not count
        return branch.kept.codes.double() * along(step > 0, branch.axis, branch.current.dim())
    if branch.bits == 1:
        return torch.where(branch.current < 0, -1.0, 1.0).double()
    high = 2 ** (branch.bits - 1) - 1
    return (branch.current / along(step, branch.axis, branch.current.dim())).round().clamp(-high, high)


def _room(threshold: float, potential_bits: int) -> int:
    """Return how many fraction bits leave a potential room for twice a threshold of so many counts, at least 0.

    Example:
        >>> _room(100.0, 12), _room(3000.0, 12)
        (3, 0)
    """
    return max(0, math.floor(math.log2(2.0 ** (potential_bits - 2) / threshold)))


def fit_group(charge: Charge, settings: Settings) -> Group:
    """Choose the integers of a neuron.

    Args:
        settings: the scale rule, ``multiplier_bits``, how many fraction bits there may be, and within which tolerance.
            ``rounded=False`` keeps threshold and bias at 2**-30 of a count, to measure what their rounding costs.

    Returns:
        the integers; their ``notes`` hold the codes W202 (rounding beyond 1 %) and W203 (a branch that uses fewer than
        half of its levels).
    """
    branches, value = charge.weighted, charge.wanted
    unit, steps = steps_of(charge, settings)
    notes = []
    codes, biases = [], []
    for branch, step in zip(branches, steps, strict=True):
        codes.append(codes_of(branch, step).long())
        high, largest = 2 ** (branch.bits - 1) - 1, int(codes[-1].abs().max())
        if len(branches) > 1 and branch.bits > 1 and branch.kept is None and largest < high / 2:
            notes.append(
                f"W203: a branch of the sum uses {largest} of {high} levels; more bits for it, or "
                "fine-tuning with the shared step, would help"
            )
    gains = tuple((s / unit).round().long() for s in charge.skips)
    most = _most_fraction_bits(branches, unit, steps, settings)
    if settings.potential_bits is not None:
        most = min(most, _room(float((value / unit).max()), settings.potential_bits))
    ks = range(most + 1) if settings.rounded else (30,)
    # The fewest bits below one count that keep the threshold, and half a bit of bias, within the tolerance.
    for k in ks:
        # Where no k keeps the tolerance, the loop ends with the last and finest one.
        exact = value / unit * 2.0**k
        threshold = exact.round().clamp(min=1)
        biases = [(b.bias / unit * 2.0**k).round() for b in branches]
        off = float((threshold / exact - 1).abs().max())
        biased = any(bool((b.bias != 0).any()) for b in branches)
        # Rounding moves a bias by half a count at most: this share of the smallest threshold.
        off_bias = 0.5 / float(threshold.min()) if biased else 0.0
        if max(off, off_bias) <= settings.tolerance:
            break
    if settings.rounded and max(off, off_bias) > TOLERANCE:
        notes.append(f"W202: the threshold is {off:.1%} off, a bias up to {off_bias:.1%} of it, with {k} fraction bits")
    return Group(
        unit=unit,
        codes=tuple(codes),
        multipliers=tuple((s / unit).round().long().clamp(min=1) for s in steps),  # 0: no codes are left
        gains=gains,
        biases=tuple(b.long() for b in biases),
        threshold=threshold.long(),
        fraction_bits=k,
        value=charge.wanted if charge.one_value else threshold * unit / 2.0**k,
        notes=tuple(notes),
    )
