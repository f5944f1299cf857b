"""What a report says of a run besides what was measured: times, epochs, promises."""

from __future__ import annotations

from typing import Any

from bitspike.runs.stages import Clock
from bitspike.tasks.report import wording_of
from bitspike.train import EpochRecord, History


def kept_epoch(history: History) -> EpochRecord:
    """Return the epoch whose weights were kept."""
    return history.epochs[-1 if history.kept == "last" else (history.best_epoch or 0) - 1]


def seconds_of(clock: Clock, history: History | None) -> dict[str, float]:
    """Return the time of every stage and of all; training counts with its earlier sittings."""
    if history is None:
        return {**clock.seconds, "total": clock.total(train=0.0)}
    return {**clock.seconds, "train": history.seconds, "total": clock.total(train=history.seconds)}


def epochs_of(history: History | None) -> dict[str, int | None]:
    """Return how many epochs were run, which was the best, and which one was kept."""
    if history is None:
        return {"run": 0, "best": None, "kept": None}
    return {"run": len(history.epochs), "best": history.best_epoch, "kept": kept_epoch(history).epoch}


def checks_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of the run, each with whether it was kept."""
    metric = wording_of(report).metric
    test, expected = report[metric]["test"], report["expected"]
    certificate = report["certificate"]
    checks = [
        {
            "name": "certificate",
            "passed": certificate["equal"],
            "message": "every spike and membrane of the integers is equal"
            if certificate["equal"]
            else f"the integers differ first at {certificate['first_difference']}",
        }
    ]
    if expected is not None:
        least = expected[f"test_{metric}"]
        checks.append(
            {
                "name": metric,
                "passed": test >= least,
                "message": f"test {metric} {test:.2%}, expected at least {least:.2%}",
            }
        )
    if "chip" in report:
        chip, wrong = report["chip"], sum(v["severity"] == "error" for v in report["chip"]["violations"])
        said = "fits" if chip["passed"] else f"breaks {wrong} rule{'s' * (wrong != 1)} of"
        checks.append(
            {"name": "chip", "passed": chip["passed"], "message": f"the network {said} chip {chip['chip']!r}"}
        )
    return checks
