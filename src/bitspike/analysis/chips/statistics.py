"""The accuracy of many chips in a few numbers, each with a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
RESAMPLES = 2000
_NORMAL = 1.959963984540054
"""The 97.5 % quantile of the standard normal distribution."""


@dataclass(frozen=True)
class Figure:
    """A number that was estimated from a sample of chips.

    Args:
        value: of the chips that were measured.
        low, high: its 95 % interval; None for a single chip, which tells nothing about others.
    """

    value: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}

    def __str__(self) -> str:
        interval = (
            "" if self.low is None or self.high is None else f" [{in_percent(self.low)}, {in_percent(self.high)}]"
        )
        return in_percent(self.value) + interval


@dataclass(frozen=True)
class Statistics:
    """What a sample of chips says about all chips.

    Args:
        chips: how many were measured.
        mean, deviation, percentile5: of the accuracy; deviation with n - 1. Intervals by the bootstrap.
        worst, best: the extremes of the sample.
        good: share of chips that reach what is required, with Wilson's interval; None where nothing is.
        required: the accuracy.
    """

    chips: int
    mean: Figure
    deviation: Figure
    percentile5: Figure
    worst: float
    best: float
    good: Figure | None
    required: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "chips": self.chips,
            "mean": self.mean.to_dict(),
            "deviation": self.deviation.to_dict(),
            "percentile5": self.percentile5.to_dict(),
            "worst": self.worst,
            "best": self.best,
            "required": self.required,
            "yield": None if self.good is None else self.good.to_dict(),
        }


def statistics(accuracies: Sequence[float], required: float | None = None, *, seed: int = 0) -> Statistics:
    """Return the statistics of the accuracies of chips, at least one.

    Args:
        accuracies: by chip, fractions.
        required: the accuracy from which a chip is good.
        seed: of the bootstrap (Efron 1979), which draws as many chips again with replacement, 2,000 times.

    Example:
        >>> summary = statistics([0.90, 0.92, 0.94, 0.80], required=0.9)
        >>> round(summary.mean.value, 4), summary.worst, str(summary.good)
        (0.89, 0.8, '75.00 % [30.06 %, 95.44 %]')
    """
    sample = np.asarray(accuracies, dtype=np.float64)
    generator = np.random.default_rng(seed)
    again = [generator.choice(sample, len(sample)) for _ in range(RESAMPLES)] if len(sample) > 1 else []

    def figure(of: Callable[[Floats], float]) -> Figure:
        value = of(sample)
        if not again:
            return Figure(value, None, None)
        low, high = np.percentile([of(resample) for resample in again], [2.5, 97.5])
        return Figure(value, float(low), float(high))

    return Statistics(
        chips=len(sample),
        mean=figure(lambda x: float(x.mean())),
        deviation=figure(lambda x: float(x.std(ddof=1)) if len(x) > 1 else 0.0),
        percentile5=figure(lambda x: float(np.percentile(x, 5))),
        worst=float(sample.min()),
        best=float(sample.max()),
        good=None if required is None else wilson(int((sample >= required).sum()), len(sample)),
        required=required,
    )


def in_percent(fraction: float) -> str:
    """Write a fraction with two digits, also where it is none or all: the ends of an interval are read together.

    Example:
        >>> in_percent(0.1234), in_percent(1.0)
        ('12.34 %', '100.00 %')
    """
    return f"{100 * fraction:.2f} %"


def wilson(successes: int, count: int) -> Figure:
    """Return a share with its 95 % interval (Wilson, J. Am. Stat. Assoc. 22, 1927).

    Example:
        >>> print(wilson(0, 20))
        0.00 % [0.00 %, 16.11 %]
    """
    share, z = successes / count, _NORMAL
    center = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return Figure(share, max(0.0, center - half), min(1.0, center + half))
