"""The verbs of runs: run, resume, evaluate, compare, verify, doctor."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitspike.cli.app import FinishedRun, Json, Quiet, Recipe, Sets, answer, app
from bitspike.cli.guard import guarded, say
from bitspike.errors import CheckFailed, ConstraintError

if TYPE_CHECKING:
    from bitspike.analysis.comparison.comparison import Comparison


@app.command()
def run(
    recipe: Recipe,
    set: Sets = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder; default runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished run.")] = False,
    seeds: Annotated[
        str | None,
        typer.Option("--seeds", metavar="S,...", help="Run it once for each seed, and compare; folders DIR-seedS."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do: data, network, epochs, time. Nothing is written.")
    ] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Run a recipe: train, lower to integers, prove, report."""
    with guarded():
        from bitspike.runs.shown import shown

        if dry_run:
            _tell_plan(recipe, set, out, resume=resume, seeds=seeds, as_json=as_json)
            return
        with shown(sys.stderr, quiet=quiet) as watching:
            from bitspike.recipe import recipe_of
            from bitspike.train.allocator import keep_memory
            from bitspike.verbs.run import folder_of
            from bitspike.verbs.run import run as journey
            from bitspike.verbs.run_seeds import run_seeds

            keep_memory()
            options: dict[str, Any] = {"set": set or (), "out": out, "resume": resume, "observer": watching}
            if seeds is None:
                report = journey(recipe, **options)
            else:
                compared = run_seeds(recipe, _numbers(seeds), **options)
        if seeds is not None:
            _tell_seeds(compared, as_json=as_json)
        elif report:
            _tell(report, folder_of(recipe_of(report["recipe"]), out), as_json=as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of an unfinished run.")],
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with an unfinished run; its folder says all it needs."""
    with guarded():
        from bitspike.runs.shown import shown

        with shown(sys.stderr, quiet=quiet) as watching:
            from bitspike.train.allocator import keep_memory
            from bitspike.verbs.resume import resume as go_on

            keep_memory()
            report = go_on(run, observer=watching)
        if report:
            _tell(report, run, as_json=as_json)


def _tell_plan(
    recipe: str, changes: list[str] | None, out: Path | None, *, resume: bool, seeds: str | None, as_json: bool
) -> None:
    """Print what a run would do, and fail as it would where it could not begin."""
    from bitspike.verbs.plan import plan

    if seeds is not None:
        raise ConstraintError("--dry-run is of one run, and --seeds asks for several", fix="leave --seeds out")
    planned = plan(recipe, set=changes or (), out=out, resume=resume)
    answer(planned, str(planned), as_json=as_json)
    if planned.problems:
        first, *others = planned.problems
        for problem in others:
            say(problem, "error")
        raise first


def _tell(report: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    """Print the result of a run, and fail where a promise was not kept."""
    from bitspike.analysis.report.report import summary

    answer(report, f"{summary(report)}\n  {'report':<15} {folder / 'report.html'}", as_json=as_json)
    failed = [check["message"] for check in report["checks"] if not check["passed"]]
    if failed:
        raise CheckFailed(
            "; ".join(failed), fix=f"the whole report is written: {folder / 'report.html'}{_of_changes([report])}"
        )


def _tell_seeds(compared: Comparison, *, as_json: bool) -> None:
    """Print the runs of several seeds next to each other, and fail where a promise was not kept."""
    if not compared.rows:
        return
    runs = [run for row in compared.rows for run in row.runs]
    pages = [f"  seed {run.seed:<10} {Path(run.folder) / 'report.html'}" for run in runs]
    answer(compared, "\n".join([str(compared), *pages]), as_json=as_json)
    failed = [
        f"seed {run.seed}: {check['message']}" for run in runs for check in run.report["checks"] if not check["passed"]
    ]
    if failed:
        ways = _of_changes([run.report for run in runs])
        raise CheckFailed("; ".join(failed), fix=f"the whole report of every run is written{ways}")


def _of_changes(reports: Iterable[Mapping[str, Any]]) -> str:
    """Return the way out of a figure that a recipe promises and its run with other values missed; else nothing."""
    for report in reports:
        recipe, expected = report["recipe"], report["expected"] or {}
        missed = any(f"test_{check['name']}" in expected for check in report["checks"] if not check["passed"])
        # That of a stage is not the recipe's own, and stays.
        if missed and recipe.get("changed") and expected == recipe["expect"]:
            return "\n       a recipe with other values need not reach its figure: run it with --set expect=null"
    return ""


def _numbers(text: str) -> list[int]:
    """Read seeds as they are typed, ``0,1,2``."""
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise ConstraintError(f"--seeds {text}: needed are whole numbers", fix="--seeds 0,1,2") from None


@app.command()
def evaluate(
    run: FinishedRun,
    steps: Annotated[int | None, typer.Option("--steps", metavar="T", help="Run only so many time steps.")] = None,
    by_step: Annotated[bool, typer.Option("--by-step", help="Also the accuracy after 1, 2, ..., T steps.")] = False,
    exit_step: Annotated[
        int | None, typer.Option("--exit-step", metavar="T", help="Stop every image after so many steps.")
    ] = None,
    exit_confidence: Annotated[
        float | None, typer.Option("--exit-confidence", metavar="P", help="Stop an image when the network is so sure.")
    ] = None,
    exit_gamma: Annotated[
        float | None,
        typer.Option("--exit-gamma", metavar="E", help="Stop where the mean gains of all BNTT norms are below E."),
    ] = None,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Measure a finished run again, at other steps or with early exit."""
    with guarded():
        from bitspike.analysis.exits.rules import ConfidenceExit, ExitRule, FixedExit, GammaExit
        from bitspike.verbs.evaluate import evaluate as measure

        rules: list[ExitRule] = []
        rules += [FixedExit(exit_step)] if exit_step is not None else []
        rules += [ConfidenceExit(exit_confidence)] if exit_confidence is not None else []
        rules += [GammaExit(exit_gamma)] if exit_gamma is not None else []
        result = measure(run, steps=steps, set=set or (), by_step=by_step, exits=rules)
        images = f"{result['samples']:,} images"
        if result["inputs_clipped"]:
            images += f", {result['inputs_clipped']:,} of their values clipped to the grid of the input"
        changes = f" with {', '.join(set)}" if set else ""
        text = f"{result['run']}: test accuracy {result['accuracy']:.2%} at T = {result['steps']}{changes} ({images})"
        answer(result, "\n".join([text, *_idle(result), *_early(result)]), as_json=as_json)


def _idle(result: dict[str, Any]) -> list[str]:
    """Name the layers that tell nothing about the input."""
    states = {"NEVER FIRES": result["never_fire"], "ALWAYS FIRES": result["always_fire"]}
    return [f"  {state:<13} {', '.join(layers)}" for state, layers in states.items() if layers]


def _early(result: dict[str, Any]) -> list[str]:
    """Lay out the accuracy after every step, and what rules of early exit give."""
    lines = [f"  after {t:>3} steps  {value:8.2%}" for t, value in enumerate(result.get("by_step", ()), start=1)]
    for row in result.get("exits", ()):
        stops = ", ".join(f"{share:.1%} after {t}" for t, share in row["shares"].items())
        lines.append(
            f"  exit by {row['rule']} {row['value']:g}: {row['accuracy']:.2%} after {row['steps']:.2f} steps in the "
            f"mean ({stops})"
        )
    return lines


class Layout(StrEnum):
    """How a comparison is printed."""

    text = "text"
    csv = "csv"
    markdown = "markdown"
    latex = "latex"


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="The folders of finished runs.")],
    format: Annotated[Layout, typer.Option("--format", help="How the table is printed.")] = Layout.text,
    samples: Annotated[
        int | None,
        typer.Option("--samples", metavar="N", help="Count the energy by so many test images, not by golden vectors."),
    ] = None,
    set: Sets = None,
    as_json: Json = False,
) -> None:
    """Put finished runs next to each other in one table.

    The seeds of one experiment are one row; as text, CSV, Markdown or LaTeX.
    """
    with guarded():
        from bitspike.verbs.compare import compare_runs

        result = compare_runs(*runs, samples=samples, set=set or ())
        text = str(result) if format is Layout.text else getattr(result, format.value)()
        answer(result, text.rstrip("\n"), as_json=as_json)


@app.command()
def verify(
    network: Annotated[Path, typer.Argument(help="The folder of a saved network, or of a run.")],
    engine: Annotated[bool, typer.Option("--engine", help="Prove the fast engine, in every way that it has.")] = False,
    rtl: Annotated[
        bool, typer.Option("--rtl", help="Prove the Verilog of the network, in Verilator or Icarus Verilog.")
    ] = False,
    lanes: Annotated[
        int | None, typer.Option("--lanes", metavar="N", help="Of --rtl: channels that are computed at once; usual 16.")
    ] = None,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="DIGEST", help="The package must have this digest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Replay a network's golden vectors with integers only.

    Prints the certificate and the digest of the package.
    """
    with guarded():
        from bitspike.verbs.verify import verify as prove

        certificate = prove(network, engine=engine, rtl=rtl, lanes=lanes, expect=expect)
        digest = f"digest: {certificate.digest}" + ("" if certificate.digest_stated else ", worked out just now")
        answer(certificate, f"{certificate}\n{digest}", as_json=as_json, passed=certificate.equal)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what this machine offers to bitspike."""
    with guarded():
        from bitspike.verbs.doctor import doctor as examine

        machine = examine()
        answer(machine, "\n".join(_lines(machine)), as_json=as_json, passed=not machine["problems"])


def _lines(value: Mapping[str, Any], indent: str = "") -> list[str]:
    """Lay plain values out as indented lines; of several things each is one line, named by its first value."""
    lines, width = [], max(18, *map(len, value))
    for key, part in value.items():
        if isinstance(part, dict):
            lines += [f"{indent}{key}", *_lines(part, indent + "  ")]
        elif isinstance(part, list) and any(isinstance(each, dict) for each in part):
            lines += [f"{indent}{key}", *(f"{indent}  {_one_line(each)}" for each in part)]
        else:
            lines.append(f"{indent}{key:<{width}} {_said(part)}")
    return lines


def _one_line(thing: Mapping[str, Any]) -> str:
    name, *others = thing.items()
    return f"{name[1]}: {', '.join(f'{key} {_said(part)}' for key, part in others)}"


def _said(part: Any) -> str:
    shown = ", ".join(map(str, part)) or "none" if isinstance(part, list) else part
    return "no" if shown is None or shown is False else "yes" if shown is True else str(shown)
