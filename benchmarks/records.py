"""Run records: what is kept of a run as a claim, and the table of results that is made from them.

A record belongs to a shipped recipe. It is kept only if the run changed nothing but its seed, the place of its data and
its device, and it is shown only while the recipe still asks for the same experiment. A run in stages has a record for
each of them.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import markers
from bitspike.analysis.drawing.words import percent
from bitspike.errors import BitspikeError
from bitspike.recipe import AnyRecipe, load, names, recipe_of

RECORDS = Path(__file__).parent / "records"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
EXPERIMENT = {
    "train": ("data", "model", "neuron", "norm", "weights", "training", "init", "stages", "lowering"),
    "convert": ("data", "model", "convert", "finetune", "over_time"),
    "progressive": ("data", "model", "quantize", "training", "over_time", "tune", "stages", "convert"),
}
ELSEWHERE = {
    ("data", "root"), ("data", "download"), ("model", "folder"), ("model", "weights"),
    *((part, key) for part in ("training", "finetune", "over_time") for key in ("device", "tensorboard")),
}  # fmt: skip
LATER: dict[str, Any] = {"repairs": [], "folded": False, "closings": 1}
"""Keys that recipes could not say yet when records were kept that still count, with what they mean by not saying it."""


class RecordError(BitspikeError):
    """A run cannot become a record, or a record cannot be shown."""


def digest(recipe: AnyRecipe) -> str:
    """Return a short hash of the experiment that a recipe describes, whatever its seed and the places of its files."""
    values = recipe.model_dump(mode="json")
    kept = {part: _as_before(values[part]) for part in EXPERIMENT[recipe.kind] if part in values}
    for part, key in ELSEWHERE:
        (kept.get(part) or {}).pop(key, None)
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def _as_before(values: Any) -> Any:
    """Return values without the keys of LATER where these say what recipes without them meant, at any depth."""
    if isinstance(values, dict):
        return {k: _as_before(v) for k, v in values.items() if k not in LATER or v != LATER[k]}
    return [_as_before(v) for v in values] if isinstance(values, list) else values


def record(run: Path) -> Path:
    """Keep the report of a finished run as a compact record, or as one for each of its stages; return the last path.

    Raises:
        RecordError: there is no report, or the run is not that of a shipped recipe.
    """
    report = _report(run)
    recipe = recipe_of(report["recipe"])
    if recipe.name not in names():
        raise RecordError(f"{run}: {recipe.name!r} is no shipped recipe")
    if getattr(recipe, "stage", None) is not None:
        raise RecordError(f"{run}: this is one stage, and records are of all", fix=f"scripts/record {run.parent}")
    if digest(recipe) != digest(load(recipe.name)):
        raise RecordError(f"{run}: this run changed the recipe {recipe.name!r} in more than its seed")
    for name in recipe.parts:
        _keep(_report(run / name), f"{recipe.name}-{name}")
    return _keep(report, recipe.name) if not recipe.parts else _path(recipe, f"{recipe.name}-{name}")


def _report(run: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads((run / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{run} is no finished run: {error}") from error
    return report


def _path(recipe: AnyRecipe, name: str) -> Path:
    return RECORDS / f"{name}-seed{recipe.seed}.json"


def _keep(report: Mapping[str, Any], name: str) -> Path:
    """Write the record of a run, or of a stage, and return its path."""
    recipe = recipe_of(report["recipe"])
    path = _path(recipe, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(compact(report, recipe), indent=1) + "\n", encoding="utf-8")
    return path


def compact(report: Mapping[str, Any], recipe: AnyRecipe) -> dict[str, Any]:
    """Return what a claim needs: value, seed, steps, bits, proof, time, hardware, versions, commit, published value."""
    keys = ("accuracy", "published", "expected", "certificate", "agreement", "bits", "bytes", "seconds", "environment")
    stage = getattr(recipe, "stage", None)
    return {
        "name": recipe.name,
        **({} if stage is None else {"stage": stage}),
        **(_networks(report["stage"]) if isinstance(stage, int) else {}),  # of a stage that was converted
        "experiment": digest(recipe),
        "seed": recipe.seed,
        "steps": recipe.steps,
        "epochs": _epochs(recipe),
        **{key: report[key] for key in keys},
        "commit": commit_of(report),
        "finished": report["finished"],
    }


def _networks(stage: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a stage says of its networks: accuracies by neuron, and per layer the share of counts missed."""
    missed = stage["mismatch"]
    if missed is not None:
        shares = {at: {path: layer["share"] for path, layer in missed[at].items()} for at in ("before", "after")}
        missed = {"images": missed["images"], **shares}
    return {"networks": stage["accuracy"], "missed": missed}


def _epochs(recipe: AnyRecipe) -> int:
    return sum(section.epochs for section in recipe.trainings.values())


def table(records: Iterable[Mapping[str, Any]]) -> str:
    """Return the table of results in Markdown: a row per recipe, mean and spread over its seeds, and where it was made.

    Raises:
        RecordError: a record belongs to a recipe that has changed since, or is no longer shipped.
    """
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for entry in sorted(records, key=_order):
        if not current(entry):
            raise RecordError(
                f"the record of {entry['name']}, seed {entry['seed']}, is of an older recipe",
                fix="run it again and keep it with scripts/record, or remove the record",
            )
        stage = "" if "stage" not in entry else f", {entry['stage']}{' bit' * isinstance(entry['stage'], int)}"
        by_name.setdefault(entry["name"] + stage, []).append(entry)
    lines = [
        "| recipe | weights | T | test accuracy | published | integers equal training | weight memory | time per run |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(_row(name, runs) for name, runs in by_name.items()),
    ]
    return "\n".join([*lines, "", *_footnotes(by_name)])


def current(entry: Mapping[str, Any]) -> bool:
    """Tell whether the recipe of a record is shipped and still asks for the same experiment."""
    return entry["name"] in names() and entry["experiment"] == digest(load(entry["name"], _stage(entry)))


def _stage(entry: Mapping[str, Any]) -> list[str]:
    return [f"stage={entry['stage']}"] if isinstance(entry.get("stage"), str) else []


def _order(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sort by recipe; stages of it from many bits to few, or as the recipe names them; then by seed."""
    stage = entry.get("stage", 0)
    if isinstance(stage, str):
        stages = list(load(entry["name"]).parts) if entry["name"] in names() else []
        return entry["name"], stages.index(stage) if stage in stages else 0, entry["seed"]
    return entry["name"], -stage, entry["seed"]


def _row(name: str, runs: list[Mapping[str, Any]]) -> str:
    first = runs[0]
    tests = [100 * r["accuracy"]["test"] for r in runs]
    spread = f" ± {statistics.stdev(tests):.2f}" if len(tests) > 1 else ""
    seeds = f"{len(runs)} seeds" if len(runs) > 1 else "1 seed"
    published = "" if first["published"] is None else percent(first["published"]["value"])
    widths = sorted(set(first["bits"].values()))
    floats = load(first["name"], [f"stage={first['stage']}"] if "stage" in first else []).bits == 32
    weights = "float32" if floats else ", ".join(map(str, widths)) + (" bit" if widths == [1] else " bits")
    proven = all(r["certificate"]["equal"] for r in runs)
    agreement = min(r["agreement"]["spikes"] for r in runs)
    equal = f"{percent(agreement)} of spikes" if proven else "certificate failed"
    size = f"{first['bytes']['weights_packed'] / 1024:.1f} KiB" + (f" ({max(widths)}-bit codes)" if floats else "")
    seconds = statistics.mean(r["seconds"]["total"] for r in runs)
    cells = [
        f"`{first['name']}`" + name.removeprefix(first["name"]),
        weights,
        str(first["steps"]),
        f"**{statistics.mean(tests):.2f}**{spread} % ({seeds})",
        published,
        equal,
        size,
        f"{seconds:.0f} s",
    ]
    return "| " + " | ".join(cells) + " |"


def _footnotes(by_name: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    """Say where the runs were made, and by what, once for all runs that share it."""
    made: dict[str, set[str]] = {}
    for name, runs in by_name.items():
        for r in runs:
            e = r["environment"]
            versions = f"torch {e['torch']}, Python {e['python']}, bitspike {e['bitspike']} at {r['commit']}"
            text = f"{place_of(e)}, {e['precision']}, {versions}"
            made.setdefault(text, set()).add(name)
    images = {name: runs[0]["certificate"]["samples"] for name, runs in by_name.items()}
    proofs = ", ".join(f"{count:,} ({name})" for name, count in images.items())
    sources = {r["published"]["source"] for runs in by_name.values() for r in runs if r["published"]}
    return [
        "Mean ± standard deviation over seeds. Every run's integer network is proven by its certificate over the test "
        f"images that the run had: {proofs}.",
        *(f"Published: {source}." for source in sorted(sources)),
        *(f"Made on {text} ({', '.join(sorted(names))})." for text, names in made.items()),
    ]


def place_of(environment: Mapping[str, Any]) -> str:
    """Return where a run was made in words: its device, or the processor, and its threads.

    Example:
        >>> place_of({"device": "cpu", "cpu": "AMD EPYC", "threads": 1})
        'AMD EPYC, 1 thread'
    """
    device, threads = environment.get("device", "cpu"), environment["threads"]
    return f"{environment['cpu'] if device == 'cpu' else device}, {threads} thread{'s' * (threads != 1)}"


def read() -> list[dict[str, Any]]:
    """Return all records."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))]


def put(text: str, content: str) -> str:
    """Return a document with the part between the two markers replaced.

    Raises:
        RecordError: the markers are not there, once each and in order.
    """
    try:
        return markers.put(text, content, BEGIN, END)
    except ValueError as error:
        raise RecordError(str(error)) from None


def commit_of(report: Mapping[str, Any]) -> str:
    """Return the commit of the code that ran, as the run wrote it down; reports of earlier versions do not know it."""
    return report.get("commit") or "unknown"
