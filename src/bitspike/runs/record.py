"""What a report says of a run besides what was measured: times, epochs, environment, promises."""

from __future__ import annotations

import platform
from typing import Any

import torch

from bitspike import __version__
from bitspike.analysis.report.facts import idle
from bitspike.machine import describe_cpu
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


def environment(history: History | None, device: str) -> dict[str, Any]:
    """Return versions, machine, device and precision; those of the training where something was trained."""
    device = device if history is None else history.device
    return {
        "bitspike": __version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu": describe_cpu()["name"],
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": "fp32" if history is None else history.precision,
        "workers": 1 if history is None else history.workers,
    }


def checks_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the promises of the run, each with whether it was kept."""
    metric, certificate = wording_of(report).metric, report["certificate"]
    equal = certificate["equal"]
    text = f"the integers differ first at {certificate['first_difference']}"
    checks = [("certificate", equal, "every spike and membrane of the integers is equal" if equal else text)]
    silent = idle(report)
    firing = f"{silent} on the test images: nothing about the input passes through" if silent else "every layer fires"
    checks.append(("firing", not silent, firing))
    if report["expected"] is not None:
        test, least = report[metric]["test"], report["expected"][f"test_{metric}"]
        checks.append((metric, test >= least, f"test {metric} {test:.2%}, expected at least {least:.2%}"))
    if "chip" in report:
        chip, wrong = report["chip"], sum(v["severity"] == "error" for v in report["chip"]["violations"])
        verdict = "fits" if chip["passed"] else f"breaks {wrong} rule{'s' * (wrong != 1)} of"
        checks.append(("chip", chip["passed"], f"the network {verdict} chip {chip['chip']!r}"))
    return [{"name": name, "passed": passed, "message": message} for name, passed, message in checks]
