"""One JSON line per result: what it holds, where it is kept, and which lines are shown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"

Line = Mapping[str, Any]

FIELDS: dict[str, type | tuple[type, ...]] = {
    "run": str,  # when the run started, UTC; all lines of one run of a case share it
    "case": str,
    "group": str,
    "variant": str,
    "shape": str,
    "dtype": str,
    "unit": str,
    "median": float,
    "low": float,  # lower quartile
    "high": float,  # upper quartile
    "blocks": int,  # kept blocks, or processes for memory
    "dropped": int,  # blocks dropped and repeated because others used the machine
    "disturbed": int,  # kept all the same, for want of quiet ones
    "filtered": bool,  # False where the system does not say what others used
    "memory_kept": bool,  # glibc kept freed blocks (mallopt) while this was measured
    "comparisons": list,  # of COMPARISON
    "agreement": (str, type(None)),  # what was found equal before the measurement
    "hardware": str,
    "instruction_sets": list,
    "threads": int,
    "versions": dict,
    "commit": str,
}

LATER: dict[str, type | tuple[type, ...]] = {
    "left_out": dict,  # variants of the group that would not have ended in their budget, and why, in words
}
"""Fields that lines may lack, which were written before there were such."""

COMPARISON: dict[str, type | tuple[type, ...]] = {
    "against": (str, type(None)),  # the other variant of this run; None compares with the bound itself
    "sense": str,  # "at least": times better than the other; "at most": times the other's cost
    "ratio": float,  # of the medians
    "target": (float, type(None)),
    "met": (bool, type(None)),
}


def check(line: Line) -> None:
    """Raise ValueError where a line lacks a field, holds an unknown one, or contradicts itself."""
    _fields(line, FIELDS | {name: kind for name, kind in LATER.items() if name in line}, "line")
    if not line["low"] <= line["median"] <= line["high"]:
        raise ValueError(f"{line['case']}, {line['variant']}: the median is outside its quartiles")
    for c in line["comparisons"]:
        _fields(c, COMPARISON, "comparison")
        met = None if c["target"] is None else reached(c["ratio"], c["sense"], c["target"])
        if c["met"] != met:
            raise ValueError(f"{line['case']}, {line['variant']}: met={c['met']} contradicts {c}")


def reached(ratio: float, sense: str, target: float) -> bool:
    """Tell whether a ratio reaches its target; nothing is rounded before.

    Example:
        >>> reached(11.99, "at least", 12.0), reached(3.5, "at most", 3.5)
        (False, True)
    """
    return ratio >= target if sense == "at least" else ratio <= target


def append(lines: Iterable[Line], folder: Path) -> None:
    """Add checked lines to CASE.jsonl of a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in lines:
        check(line)
        add_to(folder / f"{line['case']}.jsonl", line)


def add_to(path: Path, *lines: Line) -> None:
    """Add lines to a file, which begins with them if it is new."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def held_in(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file in the order in which they were written; none where there is no file."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()] if path.is_file() else []


def processor(line: Line) -> str:
    """Return the class of processor that a line was measured on, or the device: ratios differ between classes.

    Example:
        >>> sets = (["avx2"], ["avx2", "avx512", "vnni", "bf16"], ["avx2", "avx512", "bf16", "amx"])
        >>> [processor({"instruction_sets": names, "hardware": "Example"}) for names in sets]
        ['AVX2', 'AVX-512 with bf16', 'AMX']
    """
    names = line["instruction_sets"]
    if "amx" in names:
        return "AMX"
    if "avx512" in names:
        return "AVX-512" + " with bf16" * ("bf16" in names)
    return "AVX2" if "avx2" in names else str(line["hardware"])


def by_processor(lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Return lines by the class of their processor, in the order in which the classes come first."""
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(processor(line), []).append(line)
    return found


def latest(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return the lines of the last run of every group of every case on every class of processor, as they were written.

    Groups are told apart so that the memory of a case can be weighed in another run than its time, as ``--only`` does.
    """
    shown: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")):
        held = held_in(path)
        for line in held:
            check(line)
        last: dict[tuple[str, str], str] = {}
        for line in held:
            place = line["group"], processor(line)
            last[place] = max(line["run"], last.get(place, ""))
        shown += [line for line in held if line["run"] == last[line["group"], processor(line)]]
    return shown


def _fields(values: Mapping[str, Any], expected: Mapping[str, type | tuple[type, ...]], what: str) -> None:
    if set(values) != set(expected):
        raise ValueError(f"{what}: missing or unknown fields: {sorted(set(values) ^ set(expected))}")
    for name, kind in expected.items():
        if not isinstance(values[name], kind) or (kind is int and isinstance(values[name], bool)):
            raise ValueError(f"{what}: {name}={values[name]!r} should be {kind}")
