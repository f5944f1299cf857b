"""The two comparisons: finished runs next to each other, as the verb does, and a float network with its integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, overload

from torch import nn

from bitspike.analysis.comparison.comparison import Comparison
from bitspike.analysis.comparison.rows import Measured, rows_of
from bitspike.analysis.report.of_network import NetworkReport
from bitspike.arguments import checked
from bitspike.errors import ConstraintError, some
from bitspike.integer.network import IntegerNetwork
from bitspike.lowering.agreement import Agreement
from bitspike.lowering.agreement import compare as agreement
from bitspike.recipe import AnyRecipe
from bitspike.runs.folder import opened
from bitspike.tasks.classify import Classification
from bitspike.tasks.task import Task
from bitspike.verbs.energy import energy

TABLE = "horowitz-45nm"

_COUNTED = "--samples 100 (in Python samples=100) counts the spikes of test images"

_OF_NETWORKS = {"model", "net", "batches"}
"""The arguments of the comparison of a float network with its integers; all three are needed."""


@checked
def compare_runs(*runs: str | Path | NetworkReport, samples: int | None = None, set: Iterable[str] = ()) -> Comparison:
    """Put finished runs next to each other: accuracy, bits, bytes, energy, time steps, seeds with their spread.

    Runs of one recipe that differ by their seed alone are one row, with mean and standard deviation; where they are
    stored and on what device they ran is no difference. A run in stages has a row for each of them. Other runs of the
    same recipe are told by what they say otherwise.

    Args:
        runs: folders of finished runs, and reports of networks in memory (``bs.report``).
        samples: test images of each run that the energy is counted by; None takes the few among its golden vectors.
        set: changes to every recipe for these images, such as ``data.root=FOLDER``.

    Returns:
        the rows; ``print`` shows them, ``.markdown()``, ``.latex()`` and ``.csv()`` are for papers.

    Raises:
        RunError: a folder holds no finished run. ConstraintError: there is none at all, or their metrics differ.
    """
    if not runs:
        raise ConstraintError("no runs are given to compare", fix="bs.compare('runs/a', 'runs/b'), finished ones")
    reports = [run for run in runs if isinstance(run, NetworkReport)]
    _refuse_same_names(reports)
    changes, reasons = tuple(set), dict[str, str]()
    measured: dict[str | int, Measured] = {}
    for run in runs:
        if isinstance(run, NetworkReport):
            measured[id(run)] = run.measured
            continue
        for folder, both in _runs_in(Path(run)):
            if str(folder) not in measured:
                measured[str(folder)] = _measured(folder, *both, samples, changes, reasons)
    rows = rows_of([*measured.values()])
    metrics = sorted({row.metric for row in rows})
    if len(metrics) > 1:
        raise ConstraintError(
            f"these runs have different metrics: {', '.join(metrics)}", fix="compare the runs of one metric at a time"
        )
    counted = f"{samples:,} test images of each run" if samples else "the test images among the golden vectors"
    missing = [f"none of {some(list(reasons))}: {next(iter(reasons.values()))}; {_COUNTED}"] if reasons else []
    of_runs = [f"by the table {TABLE} and the spikes of {counted}"] if len(reports) < len(runs) else []
    of_reports = dict.fromkeys(report.energy_by for report in reports)
    return Comparison(rows, energy_by="; ".join([*of_runs, *of_reports, *missing]))


def _refuse_same_names(reports: Sequence[NetworkReport]) -> None:
    """Refuse reports that a table could not tell apart."""
    keys = Counter((report.measured.name, report.measured.seed) for report in dict.fromkeys(reports))
    for (name, seed), count in keys.items():
        if count > 1:
            raise ConstraintError(
                f"{count} reports are called {name!r}, and all are of seed {seed}",
                fix="bs.report(model, net, data, name='4 bits'), or seed=1 for another training of the same network",
            )


def _runs_in(folder: Path) -> Iterator[tuple[Path, tuple[AnyRecipe, dict[str, Any]]]]:
    """Yield folder, recipe and report of a finished run, or of each of its stages."""
    recipe, report = opened(folder)
    if not recipe.parts:
        yield folder, (recipe, report)
    for name in recipe.parts:
        yield folder / name, opened(folder / name)


def _measured(
    folder: Path,
    recipe: AnyRecipe,
    report: dict[str, Any],
    samples: int | None,
    changes: Iterable[str],
    reasons: dict[str, str],
) -> Measured:
    try:
        spent = energy(folder, table=TABLE, samples=samples, set=changes).energy_pj
    except ConstraintError as error:
        if samples is not None:
            raise
        spent, reasons[str(folder)] = None, error.message
    return Measured.of_run(str(folder), recipe, report, spent)


@overload
def compare(
    model: nn.Module,
    net: IntegerNetwork,
    batches: Iterable[tuple[Any, Any]],
    *,
    seed: int = 0,
    task: Task = Classification(),
) -> Agreement: ...


@overload
def compare(*runs: str | Path | NetworkReport, samples: int | None = None, set: Iterable[str] = ()) -> Comparison: ...


@wraps(agreement, assigned=("__doc__",))
def compare(*args: Any, **options: Any) -> Any:  # noqa: D103 (it has the text of networks, which tells of both)
    folders = [isinstance(arg, str | Path | NetworkReport) for arg in args]
    if all(folders) and options.keys().isdisjoint(_OF_NETWORKS):
        return compare_runs(*args, **options)
    if any(folders) or len(args) + len(options.keys() & _OF_NETWORKS) != len(_OF_NETWORKS):
        arguments = ", ".join([*(type(arg).__name__ for arg in args), *options])
        raise ConstraintError(
            f"compare({arguments}): needed are folders of runs or reports, or a network, its integers and batches "
            "of inputs and labels",
            fix="bs.compare('runs/a', 'runs/b'), or bs.compare(model, bs.lower(model, example), batches)",
        )
    return agreement(*args, **options)
