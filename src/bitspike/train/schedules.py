"""Learning-rate schedules: the factor on the learning rate as a function of the epochs done.

``fit`` asks at every iteration, at its middle: iteration i (from 0) of B in epoch e (from 0) is made at
``done = e + (i + 1/2) / B``. No iteration is therefore lost at a rate of zero, neither the first of a warm-up nor the
last of a cosine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from bitspike.arguments import checked
from bitspike.errors import ConstraintError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The base of all schedules: a linear warm-up from 0 over ``warmup_epochs``, then the schedule's own shape.

    Args:
        warmup_epochs: length of the warm-up, >= 0, in epochs; fractions are allowed.
    """

    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        if not self.warmup_epochs >= 0:
            raise ConstraintError(f"{self}: warmup_epochs must be at least 0", fix="warmup_epochs=0")

    def factor(self, done: float, epochs: float) -> float:
        """Return the factor on the learning rate after ``done`` of ``epochs`` epochs."""
        if done < self.warmup_epochs:
            return done / self.warmup_epochs
        return self._shape(done, epochs)

    def _shape(self, done: float, epochs: float) -> float:
        raise NotImplementedError


@checked
@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Leave the learning rate as it is.

    Example:
        >>> Constant(warmup_epochs=2).factor(1, 10), Constant().factor(5, 10)
        (0.5, 1.0)
    """

    def _shape(self, done: float, epochs: float) -> float:
        return 1.0


@checked
@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Fall from 1 to ``floor`` along half a cosine, from the end of the warm-up to the last epoch.

    factor = floor + (1 - floor) * (1 + cos(pi * p)) / 2,  p the share of the way that is done.
    Source: Loshchilov and Hutter, ICLR 2017, arXiv 1608.03983, eq. 5 without restarts.

    Args:
        floor: factor at the end, in [0, 1].

    Example:
        >>> Cosine().factor(5, 10), Cosine(floor=0.1).factor(10, 10)
        (0.5, 0.1)
    """

    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.floor <= 1:
            raise ConstraintError(f"{self}: floor must lie in [0, 1]", fix="floor=0.0")

    def _shape(self, done: float, epochs: float) -> float:
        way = min(1.0, (done - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1e-9))
        return self.floor + (1 - self.floor) * (0.5 + 0.5 * math.cos(math.pi * way))


@checked
@dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """Multiply the rate by ``gain`` at each milestone.

    Args:
        milestones: epochs after which the rate falls, rising, each above 0.
        gain: factor at each milestone, in (0, 1].

    Example:
        >>> [Steps(milestones=(2, 4), gain=0.5).factor(done, 6) for done in (1, 2, 5)]
        [1.0, 0.5, 0.25]
    """

    milestones: tuple[float, ...]
    gain: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        rising = all(a < b for a, b in zip((0.0, *self.milestones), self.milestones, strict=False))
        if not (self.milestones and rising):
            raise ConstraintError(
                f"{self}: milestones must be epochs above 0 in rising order", fix="milestones=(10, 15)"
            )
        if not 0 < self.gain <= 1:
            raise ConstraintError(f"{self}: gain must lie in (0, 1]", fix="gain=0.1")

    def _shape(self, done: float, epochs: float) -> float:
        return float(self.gain ** sum(done >= m for m in self.milestones))
