"""The report of a run: one HTML file that opens anywhere, and a few lines for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitspike.analysis.drawing.markup import join
from bitspike.analysis.drawing.page import page
from bitspike.analysis.drawing.words import against, count, known, percent, points, size, span
from bitspike.analysis.report import exhibits, exits, memory, network, spikes, stages, verdict
from bitspike.analysis.report.facts import ReportDetail, facts, fired_said, idle_everywhere, listed, mapping
from bitspike.errors import RunError
from bitspike.files import write_whole


def render(report: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], detail: ReportDetail | None = None) -> str:
    """Return the report as one HTML document that needs nothing else; parts that are missing are left out.

    Args:
        report: the record of ``report.json``.
        metrics: the records of ``metrics.jsonl``, one per epoch.
        detail: pictures that the record is too small to keep.
    """
    run, shown = facts(report), detail or ReportDetail()
    metrics = [row for row in metrics if isinstance(row, Mapping)] if isinstance(metrics, Sequence) else []
    parts = (
        verdict.header(report, run),
        verdict.failed(report),
        verdict.answer(report, run, shown),
        verdict.certificate(report),
        verdict.agreement(report, run),
        verdict.chip(report),
        verdict.ledger(report),
        stages.stages(report, run),
        network.network(report),
        exhibits.training(metrics, run),
        exits.early_exit(report, run),
        spikes.spikes(shown),
        exhibits.activity(report),
        exhibits.weights(report, shown),
        *(exhibits.answers(exhibit) for exhibit in shown.exhibits),
        exhibits.sizes(report),
        network.inference(report),
        memory.memory(report),
        verdict.again(report),
    )
    return page(f"{run.name} · bitspike", join(part for part in parts if part is not None))


def write_report(
    folder: Path, report: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]], detail: ReportDetail | None = None
) -> Path:
    """Write ``report.html`` into a run folder, whole or not at all, and return its path.

    Raises:
        RunError: the folder is missing or the disk is full; an older report stays as it was.
    """
    path = folder / "report.html"
    try:
        write_whole(path, render(report, metrics, detail))
    except OSError as error:
        raise RunError(
            f"the report cannot be written to {path}: {error.strerror}",
            fix="free some space there, or choose another folder with --out",
        ) from error
    return path


def summary(report: Mapping[str, Any]) -> str:
    """Return the result of a run as a few lines of plain text.

    Example:
        >>> print(summary({"recipe": {"name": "quickstart"}, "accuracy": {"test": 0.98, "by_step": [0.9, 0.98]},
        ...     "bits": {"fc": 2}, "published": {"value": 0.975, "source": "a paper"}}))
        quickstart: 2-bit weights and 2 time steps
          test accuracy   98.00 %
          published       97.50 % (a paper); this run is 0.50 points above
          certificate     none: the network was not verified
    """
    run = facts(report)
    metric = run.wording.metric
    lines = [("changed", change) for change in run.changed]
    lines.append((f"test {metric}", percent(run.test)))
    if run.before is not None:
        lines.append(("float network", f"{percent(run.before)}{_compared(run.test, run.before)}"))
    if run.finetuned is not None:
        lines.append((run.trained_as, f"{percent(run.finetuned)}{_compared(run.test, run.finetuned)}"))
    if run.published is not None:
        source = f" ({run.source})" if run.source else ""
        lines.append(("published", f"{percent(run.published)}{source}{_compared(run.test, run.published)}"))
    if run.expected is not None:
        lines.append(("expected", f"at least {percent(run.expected)}{_compared(run.test, run.expected)}"))
    lines += [("certificate", line) for line in _certificate(mapping(report, "certificate"))]
    passes = "on the test images: nothing about the input passes through"
    lines += [("FIRING", f"{silent} {passes}") for silent in idle_everywhere(report)]
    agreement = mapping(report, "agreement")
    if agreement:
        difference = known(agreement.get(f"{metric}_difference"))
        said = "" if difference is None else f", {metric} difference {points(difference)}"
        lines.append(
            ("agreement", f"{percent(agreement.get('spikes'))} of the spikes equal those of the training graph{said}")
        )
    lines += stages.lines(report)
    host = listed(mapping(report, "conversion"), "host")
    lines += [("stays real", text) for text in host[:3]]
    lines += [("stays real", f"and {len(host) - 3} operations more, in report.json")] * (len(host) > 3)
    stored = mapping(report, "bytes")
    if known(stored.get("weights_packed")) is not None:
        lines.append(("weights", f"{size(stored['weights_packed'])}, as float32 {size(stored.get('weights_float32'))}"))
    lines += memory.line(report)
    total = mapping(report, "seconds").get("total")
    if known(total) is not None:
        lines.append(("time", span(total)))
    return "\n".join([f"{run.name}: {run.setting}", *(f"  {name:<15} {text}" for name, text in lines)])


def _compared(test: float | None, other: float) -> str:
    return "" if test is None else f"; this run is {against(test, other)}".removesuffix(" to")


def _certificate(proof: Mapping[str, Any]) -> list[str]:
    if not proof:
        return ["none: the network was not verified"]
    fired = f", {fired_said(proof)} of them fired," if fired_said(proof) else ""
    compared = (
        f"{count(proof.get('spikes_compared'))} spikes{fired} and {count(proof.get('membranes_compared'))} membranes"
        f" of {count(proof.get('samples'))} images"
    )
    if known(proof.get("inputs_clipped")):
        compared += f"; {count(proof['inputs_clipped'])} input values clipped to their grid"
    if proof.get("equal") is True:
        return [f"100 % equal: {compared}"]
    first = mapping(proof, "first_difference")
    where = ", ".join(f"{name} {first[name]}" for name in ("layer", "step", "index", "quantity") if name in first)
    values = f": expected {first.get('expected')}, found {first.get('found')}" if "expected" in first else ""
    return [f"NOT EQUAL among {compared}", *([f"first at {where}{values}"] if first else [])]
