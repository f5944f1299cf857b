"""docs/performance.md: the prose is written by hand, what stands between markers is made from the lines.

A part is ``<!-- benchmarks:NAME -->`` to ``<!-- /benchmarks:NAME -->``; NAME is ``targets`` or a case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import plots, tables
from benchmarks.cases import CASES
from benchmarks.lines import RESULTS, Line, by_processor, latest

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
FIGURES = DOCUMENT.parent / "figures"


def parts(lines: Sequence[Line], why: tables.Reasons) -> dict[str, str]:
    """Return the text of every part of the document."""
    held = {"targets": tables.summary(lines, CASES.values(), why)}
    for case in CASES.values():
        mine = [line for line in lines if line["case"] == case.name]
        held[case.name] = f"{case.about}\n\n{tables.details(mine)}"
    for figure in plots.FIGURES:
        if figure.draw(_one_processor(lines)) is not None:
            held[figure.part] += f"\n\n![{figure.words}](figures/{figure.name})"
    return held


def _one_processor(lines: Sequence[Line]) -> list[Line]:
    """Return what figures show: the lines of devices, and of the class of processor that was measured most."""
    devices = [line for line in lines if "CUDA" in line["versions"]]
    rest = by_processor(line for line in lines if "CUDA" not in line["versions"])
    return [*max(rest.values(), key=len, default=[]), *devices]


def put(text: str, held: Mapping[str, str]) -> str:
    """Return a document with the text between its markers replaced.

    Raises:
        ValueError: a part has no place in the document, or more than one, or a place has no part.

    Example:
        >>> put("a <!-- benchmarks:x --> old <!-- /benchmarks:x --> b", {"x": "new"}).splitlines()
        ['a <!-- benchmarks:x -->', 'new', '<!-- /benchmarks:x --> b']
    """
    places = re.findall(r"<!-- benchmarks:([\w-]+) -->", text)
    if sorted(places) != sorted(held):
        raise ValueError(f"the document has places for {sorted(places)}, there are {sorted(held)}")
    for name, content in held.items():
        begin, end = f"<!-- benchmarks:{name} -->", f"<!-- /benchmarks:{name} -->"
        before, _, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise ValueError(f"{begin} is not closed by {end}")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


def write(*, check: bool = False, results: Path = RESULTS) -> list[str]:
    """Write the document and its figures, and return the paths of those that were out of date.

    Args:
        check: write nothing. Figures are then only looked for: their bytes depend on matplotlib's version.
        results: the folder of the lines.
    """
    lines = latest(results)
    old = DOCUMENT.read_text(encoding="utf-8")
    new = put(old, parts(lines, tables.reasons()))
    stale = [] if new == old else [str(DOCUMENT)]
    if not check:
        DOCUMENT.write_text(new, encoding="utf-8")
    for figure in plots.FIGURES:
        path, drawn = FIGURES / figure.name, figure.draw(_one_processor(lines))
        if drawn is None or (check and path.is_file()):
            continue
        if not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            stale.append(str(path))
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(drawn, encoding="utf-8")
    return stale
