"""What early exit costs: accuracy, mean steps, and the share of samples per exit, for every rule, from one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from bitspike.analysis.exits.rules import ConfidenceExit, ExitRule, FixedExit, GammaExit, Gammas, gammas_of
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, short
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task
from bitspike.train.answers import StepAnswers
from bitspike.train.evaluate import Batches, evaluate, one_run_tells

CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)
"""Of the curve of the rule by confidence."""


@dataclass(frozen=True)
class ExitResult:
    """What one rule gives over a set.

    Args:
        rule: when samples stop.
        accuracy: the metric of the task, of every sample after the step at which it stops.
        steps: mean number of steps of a sample.
        shares: of the samples that stop after 1, 2, ..., T steps; they add up to 1.
    """

    rule: ExitRule
    accuracy: float
    steps: float
    shares: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``report.json`` keeps them."""
        values = {"rule": self.rule.name, "value": self.rule.value, "accuracy": self.accuracy, "steps": self.steps}
        return values | {"shares": {str(t): share for t, share in enumerate(self.shares, start=1) if share}}


@dataclass(frozen=True)
class EarlyExits:
    """What a network answers when it is stopped early.

    Args:
        by_step: the metric after 1, 2, ..., T steps.
        results: one for each rule, in their order.
        gammas: of each norm through time its mean gain at every step; empty where there is none.
        samples: how many were run.
    """

    by_step: tuple[float, ...]
    results: tuple[ExitResult, ...]
    gammas: Gammas
    samples: int

    def curve(self, name: str) -> tuple[ExitResult, ...]:
        """Return the results of the rules called ``fixed``, ``confidence`` or ``gamma``, fewest steps first."""
        return tuple(sorted((r for r in self.results if r.rule.name == name), key=lambda r: r.steps))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, as ``report.json`` keeps them."""
        gammas = {path: list(values) for path, values in self.gammas.items()}
        return {"results": [result.to_dict() for result in self.results], "gammas": gammas, "samples": self.samples}

    def __str__(self) -> str:
        lines = [f"{len(self.by_step)} steps: {self.by_step[-1]:.2%} of {self.samples:,} samples"]
        wide = max((len(repr(r.rule)) for r in self.results), default=0)
        lines += [f"  {r.rule!r:<{wide}} {r.accuracy:8.2%}  {r.steps:6.2f} steps" for r in self.results]
        return "\n".join(lines)


@checked
def early_exit(
    model: nn.Module,
    batches: Batches,
    *,
    rules: Sequence[ExitRule] | None = None,
    seed: int = 0,
    task: Task = Classification(),
) -> EarlyExits:
    """Measure what a network answers when it is stopped early, by every rule, from one run of all its steps.

    The first steps of a run are a run of fewer steps, so nothing is computed twice, and a network that really stops
    gives the same answers: ``with bs.set_steps(model, 5): ...`` for all samples.

    Args:
        model: ends in a read-out of the package, and reads no step ahead.
        batches: pairs of inputs and labels.
        rules: None for the curves of all rules: every fixed step, a row of confidences, and every exit that some
            epsilon gives where there are norms through time.
        seed: of the random coders in the model.
        task: says what is right, and how sure the network is.

    Raises:
        ConstraintError: the network reads steps ahead or has no read-out, or a rule asks for what it has not.
        DataError: there is no sample, or the labels say nothing about them.

    Example:
        >>> from bitspike.nn import Repeat, SumReadout
        >>> model = nn.Sequential(Repeat(3), SumReadout())
        >>> exits = early_exit(model, [(3 * torch.eye(2), torch.tensor([0, 1]))], rules=[ConfidenceExit(0.99)])
        >>> print(exits)
        3 steps: 100.00% of 2 samples
          ConfidenceExit(confidence=0.99, least=1)  100.00%    2.00 steps
    """
    if rules is not None and not (isinstance(rules, Sequence) and all(isinstance(r, ExitRule) for r in rules)):
        raise ConstraintError(
            f"early_exit(rules={short(rules)}): a list of rules is needed", fix="rules=[bs.ConfidenceExit(0.9)]"
        )
    if not one_run_tells(model, batches):
        raise ConstraintError(
            f"{type(model).__name__} calls no read-out of the package, or what it computes at a step depends on later "
            "steps: one run does not tell what it answers when it is stopped",
            fix="a network that ends in bs.RateReadout() and reads no step ahead; or one run for each T: "
            "with bs.set_steps(model, 4)",
        )
    answers = evaluate(model, batches, seed=seed, task=task, each_step=True).answers
    if answers is None:
        raise ConstraintError(
            "the task does not say of a sample alone whether it is right, so that exits cannot be compared",
            fix="a task whose right(answers, truth) returns a value for every sample",
        )
    return study(answers, gammas_of(model), rules)


def study(answers: StepAnswers, gammas: Gammas, rules: Sequence[ExitRule] | None = None) -> EarlyExits:
    """Return what every rule gives, of answers that are known; the arguments are those of :func:`early_exit`."""
    chosen = all_rules(answers, gammas) if rules is None else tuple(rules)
    results = tuple(_result(rule, answers, gammas) for rule in chosen)
    shown = {path: tuple(values[: answers.steps]) for path, values in gammas.items()}
    return EarlyExits(tuple(answers.accuracies), results, shown, answers.samples)


def all_rules(answers: StepAnswers, gammas: Gammas) -> tuple[ExitRule, ...]:
    """Return the rules of all curves."""
    rules: list[ExitRule] = [FixedExit(t) for t in range(1, answers.steps + 1)]
    if answers.confidence is not None:
        rules += [ConfidenceExit(value) for value in CONFIDENCES]
    if gammas:
        rules += [GammaExit(value) for value in sorted({0.1, *_epsilons(gammas, answers.steps)})]
    return tuple(rules)


def _epsilons(gammas: Gammas, steps: int) -> list[float]:
    """Return one epsilon for every step at which some epsilon stops the network, the last one apart.

    The largest mean gain has to be lower than at all steps before, and epsilon lies between the two.
    """
    largest = [max(values) for values in zip(*gammas.values(), strict=False)][: steps - 1]
    epsilons, lowest = [], None
    for gain in largest:
        if lowest is None or gain < lowest:
            epsilon = 1.05 * gain if lowest is None else (gain + lowest) / 2
            epsilons += [float(f"{epsilon:.6g}")] if epsilon > gain > 0 else []
            lowest = gain
    return epsilons


def _result(rule: ExitRule, answers: StepAnswers, gammas: Gammas) -> ExitResult:
    exits = rule.exits(answers, gammas)
    right = answers.right.gather(0, (exits - 1).unsqueeze(0))
    shares = torch.bincount(exits - 1, minlength=answers.steps).double() / answers.samples
    return ExitResult(rule, float(right.double().mean()), float(exits.double().mean()), tuple(shares.tolist()))
