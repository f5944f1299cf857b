"""Rules that read the step of a weight grid from the weights themselves.

A rule measures how far the grid has to reach; the step is ``reach / high``, where ``high`` is the largest code.
``dims`` are the axes that share one step: all of them for one step per layer, all but the channel axis for one per
channel. Results keep those axes with length 1, so they broadcast against the weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bitspike.arguments import checked
from bitspike.errors import ConstraintError

EMPTY_STEP = 2.0**-24
"""Step of a group whose weights are all zero: positive, so nothing divides by zero, and a power of two."""

NEGLIGIBLE = 2.0**-100
"""Steps and weights up to here count as zero; below them the exponent of float32 soon runs out."""

Projection = Callable[[Tensor], Tensor]
"""Maps magnitudes in units of the step to the nearest magnitudes of the grid."""


class ScaleRule(ABC):
    """Base of the scale rules; a subclass says how far the grid reaches."""

    @abstractmethod
    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        """Return the largest magnitude that the grid has to hold, >= 0, with ``dims`` kept at length 1.

        Args:
            w: weights.
            dims: axes that share one result.
            kept: bool, of the shape of ``w``: the weights that count; all where None.
        """

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        """Return the step, above 0: ``reach / high``, or 2**-24 where all weights are zero."""
        reach = self.reach(w, dims, kept)
        # A tensor as divisor: CUDA turns a division by a Python number into a product with its rounded reciprocal.
        return _positive(reach / torch.full_like(reach, high))


def _positive(step: Tensor) -> Tensor:
    return torch.where(step > NEGLIGIBLE, step, EMPTY_STEP)


@dataclass(frozen=True)
class _Multiple(ScaleRule):
    """What reaches a multiple of a number that is read from the weights."""

    factor: float = 1.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.factor) and self.factor > 0):
            rule = type(self).__name__
            problem = f"{rule}(factor={self.factor}): a finite number above 0 is needed"
            raise ConstraintError(problem, fix=f"{rule}(factor=1.0)")


@checked
@dataclass(frozen=True)
class Max(_Multiple):
    """Reach the largest magnitude: ``factor * max|w|``.

    Example:
        >>> Max().reach(torch.tensor([0.5, -2.0]), (0,)).tolist()
        [2.0]
    """

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        # Neither |w| in memory nor vector_norm, which takes ten times as long. `kept` changes nothing: the largest
        # magnitude is always kept.
        return torch.maximum(w.amax(dims, keepdim=True), -w.amin(dims, keepdim=True)) * self.factor


@checked
@dataclass(frozen=True)
class MeanAbs(_Multiple):
    """Reach a multiple of the mean magnitude: ``factor * mean|w|``.

    Example:
        >>> MeanAbs(factor=0.5).reach(torch.tensor([1.0, -3.0]), (0,)).tolist()
        [1.0]
    """

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        if kept is None:
            return w.abs().mean(dims, keepdim=True) * self.factor
        total = (w.abs() * kept).sum(dims, keepdim=True)
        return total / kept.sum(dims, keepdim=True).clamp(min=1) * self.factor


_NORMAL = {1: 1.53, 3: 2.45, 7: 3.1}
"""By the largest code, the multiple of the mean magnitude of normally distributed weights with the least error."""


def normal_factor(high: int) -> float | None:
    """Return how far a grid best reaches for normally distributed weights, in mean magnitudes; None with many levels.

    With 3, 7 and 15 levels the step of least squared error is 1.22, 0.65 and 0.35 standard deviations (after Max 1960,
    doi 10.1109/TIT.1960.1057548), as multiples of the mean magnitude, 0.80 standard deviations, times the largest code.

    Example:
        >>> normal_factor(1), normal_factor(127)
        (1.53, None)
    """
    return _NORMAL.get(high)


@dataclass(frozen=True)
class Normal(ScaleRule):
    """Reach so far that the squared error of normally distributed weights is least, and never beyond the largest one.

    With three or seven levels the largest magnitude is too far: most weights would be 0. From 16 levels on it is taken.

    Example:
        >>> w = torch.tensor([0.1, -0.1, 0.2, -0.2, 0.9])  # with three levels Max() leaves one weight that is not 0
        >>> (w / Normal().step(w, (0,), 1, torch.round)).round().clamp(-1, 1).tolist()
        [0.0, -0.0, 0.0, -0.0, 1.0]
        >>> Normal().step(w, (0,), 127, torch.round).item() == Max().step(w, (0,), 127, torch.round).item()
        True
    """

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return Max().reach(w, dims, kept)

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        widest = Max().step(w, dims, high, project, kept)
        factor = normal_factor(high)
        return widest if factor is None else torch.minimum(MeanAbs(factor).step(w, dims, high, project, kept), widest)


@checked
@dataclass(frozen=True)
class Percentile(ScaleRule):
    """Reach the ``p``-th percentile of the magnitudes, by nearest rank; larger weights are clipped.

    Args:
        p: per cent, above 0 to 100; 100 is ``Max()``.

    Example:
        >>> Percentile(75).reach(torch.tensor([1.0, -2.0, 3.0, 40.0]), (0,)).tolist()
        [3.0]
    """

    p: float = 99.9

    def __post_init__(self) -> None:
        if not 0 < self.p <= 100:
            raise ConstraintError(f"Percentile(p={self.p}): p is in per cent, above 0 to 100", fix="Percentile(99.9)")

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        shape = [1 if d in dims else n for d, n in enumerate(w.shape)]
        order = [d for d in range(w.dim()) if d not in dims] + list(dims)
        groups = w.abs().permute(order).reshape(math.prod(shape), -1)
        count = groups.shape[1]
        # The rank counts from the largest: a few of the top are found faster than all are sorted, and unlike
        # torch.quantile this has no limit on the number of weights.
        top = count - math.ceil(self.p / 100 * count) + 1
        return groups.topk(top, dim=1).values[:, -1].reshape(shape)


@checked
@dataclass(frozen=True)
class MSE(ScaleRule):
    """Take the step with the least squared error, by a grid search over shares of ``max|w|``.

    One pass over the weights per candidate and per forward call: meant for post-training quantization and for few bits.

    Args:
        candidates: number of shares that are tried, at least 2.
        smallest: the smallest share of ``max|w|`` that is tried, above 0 and below 1; the largest is 1.

    Example:
        >>> w = torch.cat([torch.linspace(-1, 1, 99), torch.tensor([8.0])])
        >>> MSE().step(w, (0,), 7, torch.round).item() < Max().step(w, (0,), 7, torch.round).item()
        True
    """

    candidates: int = 50
    smallest: float = 0.1

    def __post_init__(self) -> None:
        if self.candidates < 2:
            raise ConstraintError(f"MSE(candidates={self.candidates}): at least 2 are needed", fix="MSE(candidates=50)")
        if not 0 < self.smallest < 1:
            raise ConstraintError(
                f"MSE(smallest={self.smallest}): a share above 0 and below 1 is needed", fix="MSE(smallest=0.1)"
            )

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return Max().reach(w, dims)

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        magnitude = w.abs()
        full = super().step(w, dims, high, project)
        best, least = full, torch.full_like(full, torch.inf)
        for i in range(self.candidates):
            share = 1 - (1 - self.smallest) * i / (self.candidates - 1)
            step = full * share
            codes = project(magnitude / step).clamp(max=high)
            error = (codes * step - magnitude).square().sum(dims, keepdim=True)
            better = error < least
            best, least = torch.where(better, step, best), torch.where(better, error, least)
        return best


@checked
@dataclass(frozen=True)
class Constant(ScaleRule):
    """Reach a declared magnitude, whatever the weights are; larger weights are clipped.

    Example:
        >>> Constant(3.0).reach(torch.zeros(4), (0,)).tolist()
        [3.0]
    """

    value: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value > 0):
            raise ConstraintError(
                f"Constant(value={self.value}): a finite number above 0 is needed",
                fix="the largest magnitude that the weights reach, or Max(), which reads it from them",
            )

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return w.new_full([1 if d in dims else n for d, n in enumerate(w.shape)], self.value)


@checked
@dataclass(frozen=True)
class Dyadic(ScaleRule):
    """Round the step of another rule to the nearest power of two, nearest in log2.

    Every weight is then an integer times a power of two, and a sum of weights is exact in float32 as long as the sum
    of their codes stays below 2**24: float training and integer hardware agree bit for bit. The step may come
    out up to sqrt(2) smaller than the rule's, in which case the largest weights are clipped.

    Args:
        rule: the rule whose step is rounded.

    Example:
        >>> Dyadic(Max()).step(torch.tensor([0.9, -0.2]), (0,), 7, torch.round).tolist()  # 0.9/7 = 0.1286
        [0.125]
    """

    rule: ScaleRule = field(default_factory=Max)

    def __post_init__(self) -> None:
        if not isinstance(self.rule, ScaleRule) or isinstance(self.rule, Dyadic):
            raise ConstraintError(
                f"Dyadic(rule={self.rule!r}): the rule whose step is rounded is needed", fix="Dyadic(Max())"
            )

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return self.rule.reach(w, dims, kept)

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        return nearest_power_of_two(self.rule.step(w, dims, high, project, kept))


def nearest_power_of_two(x: Tensor) -> Tensor:
    """Return the power of two nearest to each x > 0 in log2, exactly on every device.

    Example:
        >>> nearest_power_of_two(torch.tensor([0.70, 0.72, 3.0])).tolist()
        [0.5, 1.0, 4.0]
    """
    # x = m * 2**e with m in [1/2, 1). x / m is 2**e without error, which exp2 and pow do not promise on a GPU.
    mantissa = torch.frexp(x).mantissa
    power = x / mantissa
    return torch.where(mantissa >= math.sqrt(0.5), power, power / 2)


@checked
@dataclass(frozen=True)
class Coded(ScaleRule):
    """Find the step of weights that are codes times a step already; for all others take the step of a rule.

    The step is the smallest magnitude that is not 0, if all others are whole multiples of it up to the largest code.
    That keeps the codes of a network whose weights were trained as codes, also in a part of a layer that happens to
    lack the outermost level.

    Args:
        rule: where the weights are no codes.
        tolerance: how far a weight may be from a whole multiple, as a share of the step.

    Example:
        >>> w = torch.tensor([[0.4, -0.2, 0.0], [0.6, -0.5, 0.1]])
        >>> Coded().step(w, (1,), 3, torch.round).flatten()
        tensor([0.2000, 0.2000])
    """

    rule: ScaleRule = field(default_factory=Max)
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 < self.tolerance < 0.5:
            raise ConstraintError(
                f"Coded(tolerance={self.tolerance}): a share of the step in (0, 0.5) is needed",
                fix="Coded(tolerance=1e-3)",
            )

    def reach(self, w: Tensor, dims: tuple[int, ...], kept: Tensor | None = None) -> Tensor:
        return self.rule.reach(w, dims, kept)

    def step(
        self, w: Tensor, dims: tuple[int, ...], high: int, project: Projection, kept: Tensor | None = None
    ) -> Tensor:
        fallback = self.rule.step(w, dims, high, project, kept)
        magnitude = w.abs()
        top = magnitude.amax(dims, keepdim=True)
        counts = magnitude > top * (self.tolerance / high)  # the rounding error of a 0 is no code of its own
        smallest = torch.where(counts, magnitude, torch.inf).amin(dims, keepdim=True)
        multiples = magnitude / smallest
        whole = multiples.round()
        coded = ((multiples - whole).abs() <= self.tolerance * whole.clamp(min=1)) & (whole <= high)
        # The mean over all weights is closer to the step that they were trained with than any one of them.
        step = magnitude.sum(dims, keepdim=True) / whole.sum(dims, keepdim=True).clamp(min=1)
        return torch.where(coded.all(dims, keepdim=True) if dims else coded, _positive(step), fallback)
