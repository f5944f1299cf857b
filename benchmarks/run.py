"""Measure a case: leave out what is not installed, check that the variants agree, time them, write the lines."""

from __future__ import annotations

import datetime
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks import cuda, load, machine, peers
from benchmarks.case import Case, Group, Target, Variant
from benchmarks.lines import reached
from benchmarks.measure import BusyError, Effort, alternate, quartiles
from benchmarks.memory import in_own_process
from bitspike.train.allocator import keep_memory


class GroupError(RuntimeError):
    """Some groups of a case could not be measured; the lines of the others have been given."""


PROCESSES = 3
"""Processes per point of memory."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a case is run.

    Args:
        effort: see :class:`benchmarks.measure.Effort`.
        tiny: sizes that run in a second.
        keep: let glibc keep freed memory, for all variants alike; what is measured in MB never does.
        only: measure only groups whose name contains this.
        present: tells whether a peer is there.
        say: where progress goes.
    """

    effort: Effort = Effort()
    tiny: bool = False
    keep: bool = True
    only: str = ""
    present: Callable[[str], bool] = peers.installed
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr, flush=True)


def measure(case: Case, plan: Plan = Plan()) -> Iterator[dict[str, Any]]:
    """Yield one line per variant of a case."""
    run = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    groups = [g for g in case.groups(plan.tiny) if plan.only in g.name]
    needed = sorted({v.needs for g in groups for v in g.variants if v.needs is not None})
    for name in needed:
        if not plan.present(name):
            plan.say(peers.absence(name))
    on_cuda = case.device == "cuda"
    if not on_cuda and not load.available():
        plan.say("This system does not say what other processes use, so disturbed blocks are not dropped.")
    timed = not on_cuda and any(g.unit != "MB" for g in groups)
    kept = keep_memory() if plan.keep and case.keep and timed else False
    place = machine.describe(case.device) if on_cuda else machine.describe()
    failed: list[str] = []
    for group in groups:
        variants = [v for v in group.variants if v.needs is None or plan.present(v.needs)]
        plan.say(f"{case.name}: {group.name}")
        try:
            # Where a peer is missing there is nothing to agree with.
            agreement = group.agree() if group.agree is not None and len(variants) == len(group.variants) else None
            results, left_out = _results(case, group, variants, plan)
        except BusyError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a peer or a driver raises, the next group may be fine
            plan.say("".join(traceback.format_exception(error)))
            failed.append(group.name)
            continue
        medians = {name: result["median"] for name, result in results.items()}
        for name, words in left_out.items():
            plan.say(f"  {name}: left out: {words}")
        for v in (v for v in variants if v.name in results):
            line = {
                "run": run,
                "case": case.name,
                "group": group.name,
                "variant": v.name,
                "shape": group.shape,
                "dtype": v.dtype,
                "unit": group.unit,
                **results[v.name],
                "memory_kept": kept and group.unit != "MB",
                "comparisons": compare(group, v.name, medians),
                "agreement": agreement,
                "left_out": left_out,
                **place,
            }
            plan.say(f"  {v.name}: {line['median']:.4g} {group.unit}{_relation(line)}")
            yield line
    if failed:
        raise GroupError(f"could not be measured: {', '.join(failed)}")


def compare(group: Group, name: str, medians: Mapping[str, float]) -> list[dict[str, Any]]:
    """Put a variant in relation to the peer of its group, and to whatever its targets name."""
    targets = [t for t in group.targets if t.variant == name and (t.against is None or t.against in medians)]
    informs = group.peer is not None and group.peer != name and group.peer in medians
    found = []
    if informs and not any(t.against == group.peer and t.sense == "at least" for t in targets):
        ratio = _ratio(group, medians[name], medians[group.peer or ""], "at least")
        found.append({"against": group.peer, "sense": "at least", "ratio": ratio, "target": None, "met": None})
    return [*found, *(_judged(group, t, medians) for t in targets)]


def _judged(group: Group, target: Target, medians: Mapping[str, float]) -> dict[str, Any]:
    mine = medians[target.variant]
    ratio = mine if target.against is None else _ratio(group, mine, medians[target.against], target.sense)
    return {
        "against": target.against,
        "sense": target.sense,
        "ratio": ratio,
        "target": None if target.bound is None else float(target.bound),
        "met": None if target.bound is None else reached(ratio, target.sense, target.bound),
    }


def _ratio(group: Group, mine: float, other: float, sense: str) -> float:
    """Return how many times better than the other, or how many times its cost."""
    if group.unit.endswith("/s"):
        mine, other = other, mine
    top, bottom = (other, mine) if sense == "at least" else (mine, other)
    return top / bottom if bottom > 0 else float("inf")


Results = dict[str, dict[str, Any]]


def _results(case: Case, group: Group, variants: list[Variant], plan: Plan) -> tuple[Results, dict[str, str]]:
    """Return what was measured of each variant, and why the others were left out."""
    if case.device == "cuda":
        return _on_cuda(group, variants, plan), {}
    return (_memory(case, group, variants, plan), {}) if group.unit == "MB" else _times(group, variants, plan)


def _on_cuda(group: Group, variants: list[Variant], plan: Plan) -> dict[str, dict[str, Any]]:
    counts = {"dropped": 0, "disturbed": 0, "filtered": False}
    if group.unit == "MB":
        return {v.name: _result([cuda.rise(v.build())], **counts) for v in variants}  # one network at a time
    timings = cuda.alternate({v.name: v.build() for v in variants}, plan.effort)
    return {name: _result(timing.kept, **counts) for name, timing in timings.items()}


def _times(group: Group, variants: list[Variant], plan: Plan) -> tuple[Results, dict[str, str]]:
    timings = alternate({v.name: v.build() for v in variants}, plan.effort)
    results, left_out = {}, {}
    for v in variants:
        t = timings[v.name]
        if t.beyond:
            left_out[v.name] = f"one call took {t.beyond:.3g} s, its blocks would take over {plan.effort.budget:.0f} s"
            continue
        values = t.kept if group.unit == "s" else [v.images / seconds for seconds in t.kept]
        dropped = len(t.dropped) - t.accepted
        results[v.name] = _result(values, dropped=dropped, disturbed=t.accepted, filtered=load.available())
    return results, left_out


def _memory(case: Case, group: Group, variants: list[Variant], plan: Plan) -> dict[str, dict[str, Any]]:
    processes = max(1, min(PROCESSES, plan.effort.blocks // 3))
    points: dict[str, list[float]] = {v.name: [] for v in variants}
    for _ in range(processes):
        for v in variants:
            points[v.name].append(in_own_process(case.name, group, v, tiny=plan.tiny))
    return {name: _result(values, dropped=0, disturbed=0, filtered=False) for name, values in points.items()}


def _result(values: list[float], *, dropped: int, disturbed: int, filtered: bool) -> dict[str, Any]:
    low, median, high = quartiles(values)
    counts = {"blocks": len(values), "dropped": dropped, "disturbed": disturbed, "filtered": filtered}
    return {"median": median, "low": low, "high": high, **counts}


def _relation(line: Mapping[str, Any]) -> str:
    words = []
    for c in line["comparisons"]:
        verdict = "" if c["met"] is None else f" ({c['sense']} {c['target']:g}: {'reached' if c['met'] else 'MISSED'})"
        words.append(f"{c['ratio']:.2f} x {c['against'] or ''}{verdict}")
    return "".join(f", {w}" for w in words)
