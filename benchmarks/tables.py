"""Tables in Markdown from the lines: every number in them was measured, and what was missed is called missed."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.case import Case, Group, Target
from benchmarks.lines import Line, by_processor

REASONS = Path(__file__).with_name("reasons.toml")

Reasons = Mapping[str, str]
"""Key of a target (:func:`key`) -> why it is missed, in words."""


def reasons(path: Path = REASONS) -> Reasons:
    """Read the reasons, which are written by hand; the numbers are not."""
    held: dict[str, str] = tomllib.loads(path.read_text(encoding="utf-8"))
    return held


def key(case: str, group: str, variant: str, against: str | None) -> str:
    """Return the name under which a target's reason is written.

    Example:
        >>> key("neuron", "LIF", "Bitspike LIF", "SpikingJelly LIFNode")
        'neuron / LIF / Bitspike LIF / SpikingJelly LIFNode'
    """
    return " / ".join([case, group, variant, *([] if against is None else [against])])


def missed(lines: Iterable[Line]) -> list[str]:
    """Return the keys of all targets that were missed."""
    return [
        key(line["case"], line["group"], line["variant"], c["against"])
        for line in lines
        for c in line["comparisons"]
        if c["met"] is False
    ]


def summary(lines: Sequence[Line], cases: Iterable[Case], why: Reasons) -> str:
    """Return the table of all targets: what is asked, what was reached, and why not where it was not."""
    rows = [
        "| case | what | asked | processor | measured | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for case in cases:
        mine = [line for line in lines if line["case"] == case.name]
        for group in case.groups(False):
            for target in (target for target in group.targets if target.bound is not None):
                rows += _target_rows(case, group, target, mine, why)
    return "\n".join(rows)


def _target_rows(case: Case, group: Group, target: Target, lines: Sequence[Line], why: Reasons) -> list[str]:
    """Return a row for each class of processor on which a target was measured, or one that says that it was not."""
    found = [
        (processor, c)
        for processor, measured in by_processor(lines).items()
        for line in measured
        if (line["group"], line["variant"]) == (group.name, target.variant)
        for c in line["comparisons"]
        if c["target"] is not None and (c["against"], c["sense"]) == (target.against, target.sense)
    ]
    assert target.bound is not None
    asked = _ratio(target.bound, target.sense, group.unit, target.against)
    what = f"{target.variant}" + (f" against {target.against}" if target.against is not None else "")
    where = f"[{case.title}](#{_anchor(case.title)}), {group.name}"
    rows = []
    for processor, c in found:
        verdict = "reached"
        if not c["met"]:
            reason = why.get(key(case.name, group.name, target.variant, target.against))
            verdict = f"**MISSED**: {reason or 'the reason has not been found yet'}"
        measured = _ratio(c["ratio"], c["sense"], group.unit, c["against"], words=False)
        rows.append(f"| {where} | {what} | {asked} | {processor} | {measured} | {verdict} |")
    return rows or [f"| {where} | {what} | {asked} | | | not measured |"]


def details(lines: Sequence[Line]) -> str:
    """Return the tables of one case, one for each class of processor, and where and how each was measured."""
    tables = [f"**{processor}**\n\n{_table(measured)}" for processor, measured in by_processor(lines).items()]
    return "\n\n".join(tables) or "Not measured yet."


def _table(lines: Sequence[Line]) -> str:
    rows = [
        "| setting | variant | precision | median | quartiles | in relation |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    setting = None
    for line in lines:
        shown = "" if line["group"] == setting else f"{line['group']}: {line['shape']}"
        setting = line["group"]
        unit = line["unit"]
        spread = f"{amount(line['low'], unit)} to {amount(line['high'], unit)}"
        relations = "; ".join(
            _ratio(c["ratio"], c["sense"], unit, c["against"], bound=False) + f" {c['against']}"
            for c in line["comparisons"]
            if c["against"] is not None
        )
        cells = [shown, line["variant"], line["dtype"], amount(line["median"], unit), spread, relations]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([*rows, "", _footnote(lines)])


def amount(value: float, unit: str) -> str:
    """Return a measured value with three digits.

    Example:
        >>> amount(0.01666, "s"), amount(2.5, "s"), amount(123456.0, "images/s")
        ('16.7 ms', '2.50 s', '123,000 images/s')
    """
    if unit == "s":
        for scale, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
            if value * scale >= 1 or name == "µs":
                return f"{_three(value * scale)} {name}"
    return f"{_three(value)} {unit}"


def _three(value: float) -> str:
    """Return three significant digits, without an exponent."""
    if value <= 0:
        return "0"
    digits = 2 - math.floor(math.log10(value))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def _ratio(value: float, sense: str, unit: str, against: str | None, *, words: bool = True, bound: bool = True) -> str:
    """Return a ratio; one that has to be large is rounded down, one that has to be small is rounded up.

    Example:
        >>> _ratio(11.999, "at least", "s", "x", words=False), _ratio(3.501, "at most", "s", "x", words=False)
        ('11.9 ×', '3.6 ×')
    """
    if against is None:
        shown = amount(value, unit)
        return f"{sense} {shown}" if words and bound else shown
    if not math.isfinite(value):
        shown = "∞"
    else:
        power = 10 if value >= 2 else 100
        scaled = value * power
        # A hair of tolerance, so that 12 is not shown as 11.9 because 12 * 10 is no exact product.
        whole = math.floor(scaled + 1e-9) if sense == "at least" else math.ceil(scaled - 1e-9)
        shown = f"{whole / power:.{1 if power == 10 else 2}f}".removesuffix(".0")
    better = {"s": "as fast", "MB": "less", "images/s": "as many", "events/s": "as many"}[unit]
    tail = (f" {better} as" if unit != "MB" else " less than") if sense == "at least" else " the cost of"
    if not words:
        return f"{shown} ×"
    if not bound:
        return f"{shown} ×{tail}"
    return f"{sense} {shown} × {better if sense == 'at least' else 'the cost'}"


def _footnote(lines: Sequence[Line]) -> str:
    """Say once what all lines of a case share, and what disturbed it."""
    first = lines[0]
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    if "CUDA" in first["versions"]:  # nobody else's work and no allocator of the system there
        said = [f"{first['hardware']} ({', '.join(first['instruction_sets'])})", versions]
        said += [
            f"commit {first['commit']}; {first['run']}; {max(line['blocks'] for line in lines)} blocks per variant"
        ]
        return "; ".join([*said, *(f"{group}: {words}" for group, words in _agreements(lines).items())]) + "."
    memory = sorted({line["memory_kept"] for line in lines if line["unit"] != "MB"})
    allocator = {True: "glibc kept freed memory for all variants alike", False: "glibc as it comes"}
    dropped, disturbed = sum(line["dropped"] for line in lines), sum(line["disturbed"] for line in lines)
    parts = [
        f"{first['hardware']}, {first['threads']} threads ({', '.join(first['instruction_sets'])}); {versions}; "
        f"commit {first['commit']}; {first['run']}",
        f"{first['blocks']} blocks per variant",
    ]
    if any(line["filtered"] for line in lines):
        parts.append(f"{dropped} blocks dropped and repeated because other processes used the machine")
    elif any(line["unit"] != "MB" for line in lines):
        parts.append("disturbed blocks could not be told and were kept")
    if disturbed:
        parts.append(f"{disturbed} disturbed blocks kept for want of quiet ones")
    parts += [allocator[kept] for kept in memory]
    parts += [f"left out, {name}: {words}" for name, words in _left_out(lines).items()]
    parts += [f"{group}: {words}" for group, words in _agreements(lines).items()]
    return "; ".join(parts) + "."


def _left_out(lines: Iterable[Line]) -> dict[str, str]:
    return {f"{line['group']}, {name}": words for line in lines for name, words in line.get("left_out", {}).items()}


def _agreements(lines: Iterable[Line]) -> dict[str, str]:
    return {line["group"]: line["agreement"] for line in lines if line["agreement"] is not None}


def _anchor(title: str) -> str:
    """Return the anchor that a heading gets where Markdown is shown."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
