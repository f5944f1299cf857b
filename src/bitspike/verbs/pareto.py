"""Networks in memory devices by what they cost and what their chips reach, and those that no other one beats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitspike.analysis.chips.pareto import COSTS, By, Pareto, Point, write
from bitspike.arguments import checked_last
from bitspike.errors import ConstraintError, RunError, short
from bitspike.hardware.energy.technology import Technology
from bitspike.hardware.energy.technology import load as load_table
from bitspike.hardware.memory.devices import Devices
from bitspike.hardware.memory.devices import load as load_devices
from bitspike.runs.folder import need_place, opened
from bitspike.runs.job import Job, finished
from bitspike.runs.memories import SPIKES, cost_of
from bitspike.runs.saved import read_network
from bitspike.train import Observer, evaluate
from bitspike.verbs.yield_ import yield_
from bitspike.weights.chips import varies


@checked_last
def pareto(
    runs: Sequence[str | Path],
    *,
    by: By = "energy",
    chips: int = 20,
    samples: int | None = None,
    devices: str | Path | Devices = "rram-1t1r",
    table: str | Path | Technology = "horowitz-45nm",
    out: str | Path | None = None,
    observer: Observer | None = None,
) -> Pareto:
    """Compare finished runs by the cost of their weights in memory and by the accuracy of their chips.

    Each run is measured as ``bs.cost`` and ``bs.yield_`` do; chips that its folder has already are not measured again.
    A run whose weights do not vary stands with its own accuracy, and its weights lie in SRAM.

    Args:
        runs: folders of finished runs on the same data.
        by: the cost by which they are compared: ``energy`` of reading the weights, or ``area`` or ``bits`` of cells and
            SRAM.
        chips: of each run whose weights vary, those of the seeds 0, 1, ...
        samples: the first so many test images; None is all of them.
        devices, table: as ``bs.cost`` takes them.
        out: folder for ``pareto.json``, ``pareto.csv`` (a line for each run) and ``pareto.svg``; None writes nothing.
        observer: hears how far it is.

    Raises:
        ConstraintError: there is no run, one stands twice, their data differ, or a number is outside what is allowed.
        RunError: a folder holds no finished run, or chips that were measured with another setting.
    """
    named = [runs] if isinstance(runs, str | Path) else runs
    if wrong := [short(run) for run in named if not isinstance(run, str | os.PathLike)]:
        raise ConstraintError(
            f"pareto: {', '.join(wrong)}: folders of finished runs are needed", fix="['runs/a', 'runs/b']"
        )
    places = [Path(run) for run in named]
    _check(places, by, chips, samples)
    cells, technology, watching = load_devices(devices), load_table(table), observer or Observer()
    if out is not None:  # what is missing is said before anything is measured
        need_place(Path(out))
    for place in places:
        opened(place)
    points: list[Point] = []
    seen: dict[Path, tuple[str, int, str]] = {}
    for place in places:
        watching.note(f"{place}: {len(points) + 1} of {len(places)}")
        job, report = finished(place)
        measured = _accuracy(job, report, place, chips, samples, watching)
        cost = cost_of(job, read_network(place), min(SPIKES, samples or SPIKES), devices=cells, table=technology)
        energy = cost.energy
        assert energy is not None, "spikes were given"
        seen[place] = job.data.test.name, measured.pop("samples"), job.task.wording.metric
        _need_same_data(seen)
        points.append(
            Point(
                network=str(place),
                cells=cost.cells,
                device_size=cost.device_size,
                sram_size=cost.sram_size,
                area_f2=cost.area_f2,
                energy_pj=energy.total,
                **measured,
            )
        )
    data, count, metric = seen[places[0]]
    result = Pareto(
        by=by,
        metric=metric,
        data=data,
        samples=count,
        devices=cells.name,
        table=technology.name,
        points=tuple(points),
        folder=None if out is None else str(out),
    )
    if out is not None:
        try:
            Path(out).mkdir(parents=True, exist_ok=True)
            write(result, Path(out))
        except OSError as error:
            raise RunError(f"{out} cannot be written: {error.strerror}", fix="--out ANOTHER_FOLDER") from error
    return result


def _check(places: Sequence[Path], by: object, chips: object, samples: object) -> None:
    if not places:
        raise ConstraintError("pareto: no run is named", fix="bitspike pareto RUN RUN ...")
    if twice := sorted({str(place) for place in places if places.count(place) > 1}):
        raise ConstraintError(f"pareto: {', '.join(twice)} stands more than once", fix="name each run once")
    if by not in COSTS:
        raise ConstraintError(f"pareto: by is {by!r}; allowed are {', '.join(COSTS)}", fix=f"by={COSTS[0]!r}")
    for name, value in (("chips", chips), ("samples", samples)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise ConstraintError(
                f"pareto: {name} is {value!r}; a whole number of at least 1 is needed", fix=f"{name}=20"
            )


def _accuracy(
    job: Job, report: dict[str, Any], place: Path, chips: int, samples: int | None, observer: Observer
) -> dict[str, Any]:
    """Return what a run reaches, as the arguments of a point; with ``samples``, on how many."""
    network = job.spiking.network
    if varies(network):
        try:
            result = yield_(place, chips=chips, samples=samples, observer=observer)
        except RunError as error:
            # Its own way out names another folder, which is for one run alone.
            way = f"wait where another process is at work, else remove {place / 'yield'}, or name the samples of before"
            raise RunError(error.message, fix=way) from error
        mean = result.statistics.mean
        return {
            "accuracy": mean.value,
            "low": mean.low,
            "high": mean.high,
            "worst": result.statistics.worst,
            "ideal": result.ideal,
            "chips": chips,
            "samples": result.samples,
        }
    known = report.get(job.task.wording.metric, {}).get("test")
    if known is None or (samples is not None and samples < len(job.data.test)):
        measured = evaluate(network, job.data.test_batches(samples), seed=job.recipe.seed, task=job.task)
        return {"accuracy": measured.accuracy, "ideal": measured.accuracy, "samples": measured.samples}
    return {"accuracy": known, "ideal": known, "samples": len(job.data.test)}


def _need_same_data(seen: dict[Path, tuple[str, int, str]]) -> None:
    """Raise ConstraintError where accuracies were measured on different data."""
    first, *others = seen
    for other in others:
        if seen[other] != seen[first]:
            both = [f"{place} on {seen[place][1]:,} samples of {seen[place][0]}" for place in (first, other)]
            raise ConstraintError(
                f"pareto: {both[0]}, {both[1]}: their accuracies cannot be compared",
                fix="runs on the same data, or --samples N for as many of each",
            )
