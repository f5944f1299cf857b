"""One unit for summands whose steps are given: weights that are codes already cannot be rounded to another step.

A branch with codes adds S codes of the step s, a skip adds spikes of the value m. In whole multiples M of a unit U

    s S + m k  ~  U (M_s S + M_m k),   M = round(step / U)

what is lost by rounding M grows with what flows: the spread of a code sum, the square root of the sum of squared codes,
or one spike of a skip, at each of T steps. For each channel the largest unit s / q is taken, q a whole number, that
loses no more than a share of the threshold, so that the integers stay small. Where one summand is alone it is its own
unit and loses nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

COARSE = 2.0**-8
"""The unit of a channel into which nothing flows that counts, as a share of its threshold."""
LARGEST = 2.0**-6
"""The largest unit of several summands as a share of the threshold."""
FINEST = 2.0**-20
"""The smallest unit as a share of the threshold, where spikes are counted: counts finer than this decide no spike."""
MULTIPLIER_BITS = 8
"""How far a step is divided at most to find a unit, where nothing else is asked for."""


@dataclass(frozen=True, eq=False)
class Summand:
    """What a neuron adds up, by channel.

    Args:
        step: float64 [1] or [C], >= 0: the real value of one code or spike.
        spread: float64 [1] or [C]: how many of them typically come together.
    """

    step: Tensor
    spread: Tensor


def common_unit(
    summands: Sequence[Summand], wanted: Tensor, *, allowed: float, multiplier_bits: int = MULTIPLIER_BITS
) -> Tensor:
    """Return a unit for each channel, float64 [1] or [C], above 0.

    Args:
        summands: at least one.
        wanted: real value of an output spike, [1] or [C].
        allowed: what a step may lose, as a share of ``wanted``.
        multiplier_bits: q goes up to 2**multiplier_bits.

    Example:
        >>> def one(x):
        ...     return torch.tensor([x], dtype=torch.float64)
        >>> common_unit([Summand(one(0.3), one(9.0))], one(1.0), allowed=1e-6)  # alone
        tensor([0.3000], dtype=torch.float64)
        >>> common_unit([Summand(one(0.3), one(9.0)), Summand(one(1.0), one(1.0))], one(9.0), allowed=1e-6)  # 3 and 10
        tensor([0.1000], dtype=torch.float64)
    """
    size = max(len(t) for s in summands for t in (s.step, s.spread, wanted))
    steps = torch.stack([s.step.expand(size) for s in summands])  # [J, C]
    spreads = torch.stack([s.spread.expand(size) for s in summands])
    wanted = wanted.expand(size)
    coarse = wanted * COARSE
    # [Q, J, C]: every step over every q, and the coarsest unit of all, which serves channels that are switched off.
    q = torch.arange(1, 2**multiplier_bits + 1, dtype=torch.float64).reshape(-1, 1, 1)
    units = torch.cat([(steps / q).flatten(0, 1), coarse[None]])  # [Q J + 1, C]
    finest = wanted * FINEST / spreads.amax(0).clamp(min=1)
    units = torch.where(units > finest, units, coarse)
    # A unit near the threshold would leave its rounding to fraction bits, of which all channels have the same number.
    lost = torch.where(units > wanted * (LARGEST if len(summands) > 1 else torch.inf), torch.inf, 0.0)
    for step, spread in zip(steps, spreads, strict=True):
        lost = torch.maximum(lost, (step - (step / units).round() * units).abs() * spread / wanted)
    fits = lost <= allowed
    largest = torch.where(fits, units, 0.0).amax(0)
    best = units.gather(0, lost.argmin(0, keepdim=True))[0]
    return torch.where(largest > 0, largest, best)


def for_all(summands: Sequence[Summand], wanted: Tensor, *, multiplier_bits: int = MULTIPLIER_BITS) -> Tensor:
    """Return one unit [1] for channels that are mixed before the neuron, or whose threshold has to be one number.

    Example:
        >>> steps = torch.tensor([0.5, 0.0, 0.25], dtype=torch.float64)
        >>> for_all([Summand(steps, steps)], torch.ones(1, dtype=torch.float64), multiplier_bits=2)
        tensor([0.0625], dtype=torch.float64)
    """
    steps, spread = torch.cat([s.step for s in summands]), max(1.0, *(float(s.spread.max()) for s in summands))
    least, top = float(wanted.min()) * FINEST * 2.0**multiplier_bits / spread, steps.max()
    if bool((steps == top).all()):
        return top.reshape(1).clamp(min=least)
    alive = steps[steps > least]
    return ((alive.min() if len(alive) else wanted.min()) / 2.0**multiplier_bits).reshape(1)
