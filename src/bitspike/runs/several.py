"""A run that consists of several: each is a run in a folder of its own, and the last one's network is that of all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bitspike.analysis.report.facts import idle
from bitspike.analysis.report.memory import summed
from bitspike.analysis.report.report import write_report
from bitspike.files import write_whole
from bitspike.recipe import AnyRecipe, recipe_of
from bitspike.runs.carry_out import carry_out, stated, taken
from bitspike.runs.construct.parent import ANN
from bitspike.runs.folder import RECIPE, REPORT, opened, same_recipe
from bitspike.runs.interruptions import explained
from bitspike.runs.job import Job
from bitspike.runs.stages import Clock
from bitspike.train import Observer
from bitspike.train.checkpoint import MODEL
from bitspike.train.launch import leave, rank

SECONDS = 1.0
"""How often a process looks whether the first one has finished a part."""


def carry_out_parts(
    recipe: AnyRecipe, folder: Path, *, observer: Observer, resume: bool, command: str, last: bool = True
) -> dict[str, Any]:
    """Run the parts of a recipe one after the other, as :func:`bitspike.runs.carry_out.carry_out` runs one.

    A part that is finished is not run again. ``last`` says that the processes train nothing together afterwards.
    """
    names, first = list(recipe.parts), rank() == 0
    with explained(folder, command), taken(folder, recipe, resume=resume, command=command):
        for name, part in recipe.parts.items():
            place = folder / name
            if (place / REPORT).exists():
                same_recipe(place, part)
                continue
            if first:
                observer.note(f"{name}: {names.index(name) + 1} of {len(names)}")
            started, ends = (place / RECIPE).exists(), last and name == names[-1]
            job = Job(part, into=place, clock=Clock(observer))
            carry_out(job, resume=resume and started, command=command, last=ends, whole=folder)
            if not ends:
                wait_for(place / REPORT)
        if last:
            leave()
        if not first:
            return {}
        return _gather(recipe, folder, command)


def wait_for(file: Path) -> None:
    """Wait until the first process has written a report; torchrun ends this one if that fails."""
    while not file.exists():
        time.sleep(SECONDS)


def _gather(recipe: AnyRecipe, folder: Path, command: str) -> dict[str, Any]:
    """Put the network and the figures of the parts into the folder of the whole run."""
    reports = {name: opened(folder / name)[1] for name in recipe.parts}
    last, report = folder / list(reports)[-1], dict(list(reports.values())[-1])
    shutil.copytree(last / "network", folder / "network", dirs_exist_ok=True)
    for name in (ANN, MODEL, "metrics.jsonl"):
        if (last / name).exists():
            write_whole(folder / name, (last / name).read_bytes())
    rows = [row(name, part) for name, part in reports.items()]
    report |= {
        "recipe": recipe.model_dump(mode="json"),
        **stated(recipe, folder, command),
        "stages": rows,
        "notes": [note for part in reports.values() for note in part["notes"]],
        "seconds": {**{name: part["seconds"]["total"] for name, part in reports.items()}},
        "checks": [
            {**check, "name": f"{check['name']} of {name}", "message": f"{name}: {check['message']}"}
            for name, part in reports.items()
            for check in part["checks"]
        ],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    report["seconds"]["total"] = sum(report["seconds"].values())
    write_report(folder, report, [])
    # The last file of a run: with it the run is finished.
    write_whole(folder / REPORT, json.dumps(report, indent=1) + "\n")
    return report


def row(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared between the parts of a run, of the report of one of them."""
    stage, accuracy = report["stage"], report["accuracy"]
    spiking = {"validation": accuracy["validation"], "test": accuracy["test"]}
    own = _of_training(report, spiking) if "neuron" not in stage else _of_conversion(report, spiking)
    return {
        "folder": name,
        **own,
        "by_step": accuracy["by_step"],
        "weight_bits": report["bits"],
        "bytes": report["bytes"],
        **({"memory": summed(report["memory"])} if "memory" in report else {}),
        "certificate": {key: report["certificate"][key] for key in ("equal", "samples", "spikes_compared")},
        "idle": idle(report),
        "epochs": report["epochs"],
        "seconds": report["seconds"],
    }


def _of_training(report: Mapping[str, Any], spiking: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared between trainings of one spiking network."""
    recipe, published = recipe_of(report["recipe"]), report["published"]
    return {
        **report["stage"],
        "bits": recipe.bits,
        "steps": recipe.steps,
        "accuracy": spiking,
        "published": None if published is None else published["value"],
    }


def _of_conversion(report: Mapping[str, Any], spiking: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is compared between networks that are converted."""
    stage = report["stage"]
    accuracies = {**stage["accuracy"], stage["neuron"]: spiking}
    ann = accuracies["ann"]
    return {
        **({"name": stage["name"]} if "name" in stage else {}),
        "bits": stage["bits"],
        "steps": stage["steps"],
        "start": stage["start"],
        "ann": ann,
        "signed": accuracies["signed_if"],
        "unsigned": accuracies["if"],
        "difference": spiking["test"] - ann["test"],
        "mismatch": stage["mismatch"],
        "tuning": stage["tuning"],
    }
