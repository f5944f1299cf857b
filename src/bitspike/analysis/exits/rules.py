"""The rules by which a network stops early: at a step, when it is sure, or where its norms have faded.

A rule is a frozen dataclass with ``exits``: from the answers after every step to the step after which each sample
stops. Legend: T time, N samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from bitspike.arguments import checked
from bitspike.errors import ConstraintError
from bitspike.nn import BatchNormThroughTime, Encoder
from bitspike.ops.wrappers import unwrapped
from bitspike.train.answers import StepAnswers

Gammas = Mapping[str, Sequence[float]]
"""By the path of each :class:`~bitspike.nn.BatchNormThroughTime`, the mean over channels of its gain at every step."""


class ExitRule(ABC):
    """When a sample stops."""

    name: ClassVar[str]
    """Of the rule, in reports and files."""

    @property
    @abstractmethod
    def value(self) -> float:
        """The number of the rule."""

    @abstractmethod
    def exits(self, answers: StepAnswers, gammas: Gammas) -> Tensor:
        """Return the step after which each sample stops, int64 [N], 1 to T.

        Raises:
            ConstraintError: the network has not what the rule asks for.
        """


@checked
@dataclass(frozen=True)
class FixedExit(ExitRule):
    """Stop after ``step`` steps, whatever the sample.

    Args:
        step: 1 to T.

    Example:
        >>> FixedExit(2).exits(StepAnswers(torch.ones(4, 3)), {}).tolist()
        [2, 2, 2]
    """

    name: ClassVar[str] = "fixed"

    step: int

    def __post_init__(self) -> None:
        if isinstance(self.step, bool) or not (isinstance(self.step, int) and self.step >= 1):
            raise ConstraintError(
                f"FixedExit({self.step!r}): a whole number of at least 1 is needed", fix="FixedExit(4)"
            )

    @property
    def value(self) -> float:
        return self.step

    def exits(self, answers: StepAnswers, gammas: Gammas) -> Tensor:
        if self.step > answers.steps:
            raise ConstraintError(
                f"FixedExit({self.step}): the network runs {answers.steps} steps",
                fix=f"FixedExit({answers.steps}) (--exit-step {answers.steps})",
            )
        return torch.full((answers.samples,), self.step, dtype=torch.int64)


@checked
@dataclass(frozen=True)
class ConfidenceExit(ExitRule):
    """Stop a sample when the network is sure: the softmax of its largest output reaches ``confidence``.

    Each sample stops for itself, and after T steps at the latest. The outputs after t steps are those of the read-out.
    Source: the rule by confidence, SEENN-I, of Li et al., NeurIPS 2023, arXiv 2304.01230.

    Args:
        confidence: above 0, at most 1.
        least: no sample stops before so many steps.

    Example:
        >>> sure = torch.tensor([[0.5, 0.95], [0.9, 0.99], [0.99, 1.0]])
        >>> ConfidenceExit(0.9).exits(StepAnswers(torch.ones(3, 2), sure), {}).tolist()
        [2, 1]
    """

    name: ClassVar[str] = "confidence"

    confidence: float = 0.9
    least: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.confidence <= 1:
            raise ConstraintError(
                f"ConfidenceExit({self.confidence!r}): a number above 0 and up to 1 is needed",
                fix="ConfidenceExit(0.9)",
            )
        if isinstance(self.least, bool) or not (isinstance(self.least, int) and self.least >= 1):
            raise ConstraintError(
                f"ConfidenceExit(least={self.least!r}): a whole number of at least 1 is needed", fix="least=1"
            )

    @property
    def value(self) -> float:
        return self.confidence

    def exits(self, answers: StepAnswers, gammas: Gammas) -> Tensor:
        if answers.confidence is None:
            raise ConstraintError(
                f"ConfidenceExit({self.confidence}): the task of the network does not say how sure it is",
                fix="a method confidence(outputs) of the task that returns 0 to 1 for every sample, or FixedExit(4)",
            )
        stops = answers.confidence >= self.confidence
        stops[: min(self.least, answers.steps) - 1] = False
        stops[-1] = True
        return stops.int().argmax(0) + 1


@checked
@dataclass(frozen=True)
class GammaExit(ExitRule):
    """Stop where the gains of all norms through time have faded: the rule of the BNTT paper, one step for all samples.

        g_l[t] = mean over channels of gamma_l[t];   T_exit = min {t : g_l[t] < epsilon for ALL layers l}, else T

    It is known from the trained weights alone: ``with bs.set_steps(model, GammaExit().step(model))`` runs no further.
    Weight decay shrinks the gains too, and with them T_exit.
    Source: Kim and Panda, Frontiers in Neuroscience 15 (2021), arXiv 2010.01729, its early exit algorithm.

    Args:
        epsilon: above 0.

    Example:
        >>> GammaExit(0.1).exits(StepAnswers(torch.ones(3, 2)), {"norm": [0.5, 0.05, 0.01]}).tolist()
        [2, 2]
    """

    name: ClassVar[str] = "gamma"

    epsilon: float = 0.1

    def __post_init__(self) -> None:
        if not self.epsilon > 0:
            raise ConstraintError(f"GammaExit({self.epsilon!r}): a number above 0 is needed", fix="GammaExit(0.1)")

    @property
    def value(self) -> float:
        return self.epsilon

    def exits(self, answers: StepAnswers, gammas: Gammas) -> Tensor:
        step = self._step([values[: answers.steps] for values in gammas.values()])
        return torch.full((answers.samples,), step, dtype=torch.int64)

    def step(self, model: nn.Module) -> int:
        """Return T_exit of a model.

        Raises:
            ConstraintError: it has no norm through time.
        """
        steps = min((m.steps for m in unwrapped(model).modules() if isinstance(m, Encoder)), default=None)
        return self._step([values[:steps] for values in gammas_of(model).values()])

    def _step(self, layers: Sequence[Sequence[float]]) -> int:
        if not layers:
            raise ConstraintError(
                f"GammaExit({self.epsilon}): the network has no bs.BatchNormThroughTime whose gains could fade",
                fix="bs.ConfidenceExit(0.9) or bs.FixedExit(4), which ask for no norm (--exit-confidence, --exit-step)",
            )
        # Without an encoder, which says how many steps are run, the norm of the fewest steps does.
        largest = [max(values) for values in zip(*layers, strict=False)]
        return next((t for t, gain in enumerate(largest, start=1) if gain < self.epsilon), len(largest))


def gammas_of(model: nn.Module) -> dict[str, list[float]]:
    """Return the mean gain of each norm through time at every step, by the path of the norm.

    Example:
        >>> gammas_of(nn.Sequential(BatchNormThroughTime(8, steps=3)))
        {'0': [1.0, 1.0, 1.0]}
    """
    norms = unwrapped(model).named_modules()
    return {
        path: m.weight.detach().double().mean(1).tolist() for path, m in norms if isinstance(m, BatchNormThroughTime)
    }
