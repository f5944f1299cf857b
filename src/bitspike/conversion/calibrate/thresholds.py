"""Rules that read a layer's threshold, the real value of a firing rate of 1, from a sample of its activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from typing import Any, get_args

from torch import Tensor

from bitspike.arguments import checked
from bitspike.conversion.calibrate.statistics import (
    Population,
    Sample,
    least_error_threshold,
    order_statistic,
)
from bitspike.errors import ConstraintError


class ThresholdRule(ABC):
    """Base of the threshold rules; a subclass is a frozen dataclass."""

    per_channel: bool

    @abstractmethod
    def threshold(self, sample: Sample, steps: int) -> Tensor:
        """Return the threshold of each row of the sample, float64 [rows], for a network that runs ``steps`` steps."""

    @property
    @abstractmethod
    def statistic(self) -> str:
        """The word for manifests: ``max``, ``percentile`` or ``mse``."""

    def manifest(self) -> dict[str, Any]:
        """Return the rule as plain values for a manifest."""
        own = asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass
        return {"statistic": self.statistic, "percentile": None, "population": "all", **own}

    def _need(self, name: str, fits: bool, needed: str) -> None:
        if not fits:
            default = getattr(type(self), name)
            raise ConstraintError(
                f"{type(self).__name__}({name}={getattr(self, name)!r}): {needed}", fix=f"{name}={default!r}"
            )


Rules = ThresholdRule | Mapping[str, ThresholdRule]
"""One rule for all neurons, or rules by patterns over the paths of their operations, the last match holding."""


@checked
@dataclass(frozen=True)
class MaxThreshold(ThresholdRule):
    """Take the largest activation: nothing is clipped, and one outlier coarsens the layer.

    Args:
        per_channel: one threshold per channel.
    """

    _: KW_ONLY
    per_channel: bool = False

    @property
    def statistic(self) -> str:
        return "max"

    def threshold(self, sample: Sample, steps: int) -> Tensor:
        return sample.maximum.clamp(min=0)


@checked
@dataclass(frozen=True)
class PercentileThreshold(ThresholdRule):
    """Take a percentile of the activations; what lies above is clipped.

    Args:
        percentile: per cent, above 0 to 100.
        population: ``all`` activations, zeros included, or the ``nonzero`` ones. The two differ: 99.9 per cent of a
            rectified normal distribution lie below 3.09 sigma, of its nonzero values below 3.29.
        per_channel: one threshold per channel.

    Source: Rueckauer et al. 2017, doi 10.3389/fnins.2017.00682, section 2.2.

    Example:
        >>> PercentileThreshold(99.9).manifest()["percentile"]
        99.9
    """

    percentile: float = 99.9
    _: KW_ONLY
    population: Population = "all"
    per_channel: bool = False

    def __post_init__(self) -> None:
        self._need("percentile", 0 < self.percentile <= 100, "a number in per cent, above 0 to 100, is needed")
        words = get_args(Population)
        self._need("population", self.population in words, f"allowed are {', '.join(words)}")

    @property
    def statistic(self) -> str:
        return "percentile"

    def threshold(self, sample: Sample, steps: int) -> Tensor:
        return order_statistic(sample.values, self.percentile, population=self.population).clamp(min=0)


@checked
@dataclass(frozen=True)
class MSEThreshold(ThresholdRule):
    """Take the threshold with the least squared error between activations and their values after T steps.

    Args:
        candidates: number of shares of the largest activation that are tried, at least 2.
        smallest: the smallest share, above 0 and below 1.
        initial: potential before the first step as a share of the threshold, 0 to below 1.
        per_channel: one threshold per channel.

    ``MSEThreshold(candidates=95, smallest=0.06, initial=0.0)`` is the grid of SNN Calibration.

    Source: Li et al., ICML 2021 (arXiv 2106.06984), section 4.1.
    """

    _: KW_ONLY
    candidates: int = 100
    smallest: float = 0.2
    initial: float = 0.5
    per_channel: bool = False

    def __post_init__(self) -> None:
        self._need("candidates", self.candidates >= 2, "at least 2 are needed")
        self._need("smallest", 0 < self.smallest < 1, "a share above 0 and below 1 is needed")
        self._need("initial", 0 <= self.initial < 1, "a share from 0 to below 1 is needed")

    @property
    def statistic(self) -> str:
        return "mse"

    def threshold(self, sample: Sample, steps: int) -> Tensor:
        return least_error_threshold(
            sample, steps, candidates=self.candidates, smallest=self.smallest, initial=self.initial
        )


def default_rule(steps: int) -> ThresholdRule:
    """Return the rule for a number of steps: the least squared error up to 32; the percentile 99.9 beyond.

    With more steps rounding is small, and the clipping of the largest activations is the error that is left.

    Example:
        >>> default_rule(16).statistic, default_rule(64).statistic
        ('mse', 'percentile')
    """
    return MSEThreshold() if steps <= 32 else PercentileThreshold()
