"""How long one run of a shipped recipe takes, by the committed records: what `bitspike recipes` shows as its time."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bitspike
from benchmarks import constrained, records
from bitspike import zoo
from bitspike.recipe import load

FILE = Path(bitspike.__file__).parent / "recipes" / "times.json"


@dataclass(frozen=True)
class Kept:
    """The time of a run that is kept, or of one stage of it; ``part`` is the folder of the stage, empty for a run."""

    recipe: str
    part: str
    seed: int
    seconds: float
    place: str
    gpu: bool


def times() -> dict[str, dict[str, Any]]:
    """Return of every recipe the mean time of whole runs, of how many it is, and where they were made.

    A run in stages is whole where each of them is kept for the same seed. What was kept of a recipe that has asked for
    something else since does not count.
    """
    runs: dict[str, dict[int, dict[str, Kept]]] = {}
    for kept in _kept():
        runs.setdefault(kept.recipe, {}).setdefault(kept.seed, {})[kept.part] = kept
    found = {}
    for name, by_seed in sorted(runs.items()):
        parts = set(load(name).parts) or {""}
        whole = [list(run.values()) for run in by_seed.values() if set(run) == parts]
        if whole:
            seconds = statistics.mean(sum(kept.seconds for kept in run) for run in whole)
            on = sorted({kept.place for run in whole for kept in run})
            on_gpu = any(kept.gpu for run in whole for kept in run)
            found[name] = {"seconds": round(seconds, 1), "runs": len(whole), "on": on, "gpu": on_gpu}
    return found


def text() -> str:
    """Return the file as it should be."""
    return json.dumps(times(), indent=1) + "\n"


def _kept() -> Iterator[Kept]:
    """Yield the runs and stages that are kept: as records, as lines of constrained training, or in the zoo."""
    recorded = [entry for entry in records.read() if records.current(entry)]
    for x in recorded:
        yield Kept(x["name"], _part(x.get("stage", "")), x["seed"], x["seconds"]["total"], *_place(x["environment"]))
    for x in constrained.current(constrained.latest()):
        yield Kept(x["recipe"], _part(x["stage"]), x["seed"], x["seconds"], *_place(x))
    known = {x["name"] for x in recorded}
    for entry in map(zoo.about, zoo.names()):  # of a run that is kept as a record too the record counts
        recipe, report = entry.recipe, entry.report
        if recipe.name not in known and records.digest(recipe) == records.digest(load(recipe.name)):
            part = _part(getattr(recipe, "stage", None) or "")
            yield Kept(recipe.name, part, recipe.seed, report["seconds"]["total"], *_place(report["environment"]))


def _part(stage: object) -> str:
    """Return the folder of a stage: stages that are known by their bits have these in it."""
    return f"{stage}bit" if str(stage).isdecimal() else str(stage)


def _place(environment: Mapping[str, Any]) -> tuple[str, bool]:
    """Return where something ran in words, and whether that is a GPU."""
    return records.place_of(environment), environment.get("device", "cpu") != "cpu"
