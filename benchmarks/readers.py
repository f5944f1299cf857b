"""What programs that read NIR make of our files: random networks with one feature each, and finished runs.

``python -m benchmarks readers [RUN...]`` measures, adds the lines to ``benchmarks/records/readers.jsonl`` and writes
the tables of docs/export.md. A file is written twice: as NIR's text has it, and for the reader.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import bitspike as bs
from benchmarks import machine, markers
from benchmarks.nir_readers import FOR, PACKAGES, RUNNERS, Counts, Runner, quietly
from benchmarks.reader_networks import FEATURES, STEPS, firing
from bitspike.errors import ExportError
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers

LINES = Path(__file__).parent / "records" / "readers.jsonl"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "export.md"
BEGIN, END = "<!-- readers: python -m benchmarks readers writes this -->", "<!-- /readers -->"
NETWORKS = 12
"""Random networks of each feature."""
SECONDS = 60
"""After which a reader is stopped."""

Line = Mapping[str, Any]


def missing() -> list[str]:
    """Return the readers that are not installed."""
    return [title for title, package in PACKAGES.items() if importlib.util.find_spec(package) is None]


def measure(runs: Sequence[str] = (), *, networks: int = NETWORKS) -> Iterator[dict[str, Any]]:
    """Yield one line per reader and feature, and one per reader and run.

    Args:
        runs: folders of finished runs whose test images are read from the recipe's data.
        networks: random networks of each feature.
    """
    about = {"run": datetime.now(UTC).isoformat(timespec="seconds"), **_place()}
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "net.nir"
        for name in FEATURES:
            for reader in RUNNERS:
                yield {**about, "feature": name, "reader": reader, **_feature(name, reader, networks, path)}
        for run in runs:
            yield from ({**about, **line} for line in _accuracies(run, path))


def _feature(name: str, reader: str, networks: int, path: Path) -> dict[str, Any]:
    plain, made = Counter[str](), Counter[str]()
    for net, codes, wanted in firing(name, networks):
        plain[_compare(RUNNERS[reader], bs.write_nir(net, path), codes, net, wanted)] += 1
        if reader in FOR:
            word, runner = FOR[reader]
            try:
                bs.write_nir(net, path, reader=word)  # type: ignore[arg-type]
            except ExportError as error:
                made[f"refused: {_reason(error)}"] += 1
            else:
                made[_compare(runner, path, codes, net, wanted)] += 1
    return {"plain": dict(plain), "for": dict(made)}


def _compare(runner: Runner, path: Path, codes: Integers, net: IntegerNetwork, wanted: Integers) -> str:
    try:
        found = quietly(runner, path, codes, net.steps, seconds=SECONDS)
    except Exception as error:  # noqa: BLE001  # whatever a reader raises is its word
        return f"refused: {_words(error)}"
    same = found.shape == wanted.shape and np.array_equal(found, wanted)
    return "equal" if same else "different"


def _words(error: Exception) -> str:
    """Return what a reader said, without the numbers and places of one network."""
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {re.sub(r'[0-9][0-9.]*', 'n', first)[:90]}"


def _reason(error: ExportError) -> str:
    """Return the first reason of a refusal of ours."""
    _, line, *_ = error.message.splitlines()
    return re.sub(r"-?[0-9]+", "n", line.partition(": ")[2])


def _accuracies(run: str, path: Path) -> Iterator[dict[str, Any]]:
    from bitspike.recipe import load
    from bitspike.runs.construct.data import build_data
    from bitspike.runs.folder import RECIPE
    from bitspike.runs.saved import read_network

    recipe, net = load(Path(run) / RECIPE), read_network(run)
    data = build_data(recipe)
    codes = bs.encode(net, data.pixels.to_input(data.test.images))
    labels = np.asarray(data.test.labels)
    (wanted,) = bs.Engine(net).run(codes).outputs.values()
    for reader, runner in RUNNERS.items():
        found: dict[str, Any] = {}
        for form in ("integer", "real", "for"):
            if form == "for" and reader not in FOR:
                continue
            word, use = FOR[reader] if form == "for" else (None, runner)
            try:
                if word is None:
                    bs.write_nir(net, path, units=form)  # type: ignore[arg-type]
                else:
                    bs.write_nir(net, path, reader=word)  # type: ignore[arg-type]
                out = quietly(use, path, codes, net.steps)
            except ExportError as error:
                found[form] = {"refused": _reason(error)}
            except Exception as error:  # noqa: BLE001  # whatever a reader raises is its word
                found[form] = {"refused": _words(error)}
            else:
                found[form] = _scores(out, wanted, labels)
        ours = 100 * float((wanted.argmax(1) == labels).mean())
        about = {"network": recipe.name, "steps": net.steps, "images": len(labels), "ours": ours}
        yield {**about, "reader": reader, **found}


def _scores(out: Counts, wanted: Integers, labels: Integers) -> dict[str, Any]:
    equal = (out.reshape(len(labels), -1) == wanted.reshape(len(labels), -1)).all(1).sum()
    return {"accuracy": 100 * float((out.reshape(len(labels), -1).argmax(1) == labels).mean()), "equal": int(equal)}


def _place() -> dict[str, Any]:
    place = machine.describe()
    names = ["nir", *PACKAGES.values()]
    versions = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
    known = {name: place["versions"][name] for name in ("bitspike", "torch", "python")}
    return {"hardware": place["hardware"], "versions": known | versions, "commit": place["commit"]}


# -- the tables --------------------------------------------------------------------------------------------------------


def keep(lines: Iterable[Line], path: Path = LINES) -> None:
    """Write the lines in the place of older ones: a table is of one run."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")


def kept(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the lines."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]


def table(lines: Sequence[Line]) -> str:
    """Return the results in Markdown."""
    readers = list(dict.fromkeys(line["reader"] for line in lines))
    features = list(dict.fromkeys(line["feature"] for line in lines if "feature" in line))
    cells = {(line["feature"], line["reader"]): line for line in lines if "feature" in line}
    words: dict[str, int] = {}
    rows = [f"| networks with | {' | '.join(readers)} |", "| --- " * (1 + len(readers)) + "|"]
    for feature in features:
        row = [_cell(cells[feature, reader], words) for reader in readers]
        rows.append(f"| {FEATURES[feature].words} | {' | '.join(row)} |")
    notes = [f"{n}. {text.replace('|', '/')}" for text, n in words.items()]
    runs = [line for line in lines if "network" in line]
    head = ["", "| run | ours | reader | integer units | real units | for the reader |", "| --- " * 6 + "|"]
    scores = [_score_row(line) for line in runs]
    return "\n".join([*rows, "", *notes, *(head + scores if runs else []), "", _made(lines[0])])


def _cell(line: Line, words: dict[str, int]) -> str:
    plain, made = (_counted(line[key], words) for key in ("plain", "for"))
    return f"{plain} → {made}" if made else plain


def _counted(found: Mapping[str, int], words: dict[str, int]) -> str:
    """Say how many were equal; what was refused has the number of its reason."""
    total = sum(found.values())
    if not total:
        return ""
    reasons = sorted({text for text in found if text.startswith("refused: ")})
    numbers = ", ".join(str(words.setdefault(text.removeprefix("refused: "), len(words) + 1)) for text in reasons)
    if set(found) <= set(reasons):
        return f"refused ({numbers})"
    equal = found.get("equal", 0)
    share = "**all**" if equal == total else f"{equal} of {total}"
    return f"{share} ({numbers})" if numbers else share


def _score_row(line: Line) -> str:
    cells = []
    for form in ("integer", "real", "for"):
        found = line.get(form)
        if found is None:
            cells.append("")
        elif "refused" in found:
            cells.append(f"refused: {found['refused']}")
        elif form == "real":  # outputs are logits there
            cells.append(f"{found['accuracy']:.2f} %")
        else:
            every = "every output" if found["equal"] == line["images"] else f"{found['equal']} of {line['images']}"
            cells.append(f"{found['accuracy']:.2f} %, {every} equal")
    name = f"`{line['network']}`, T = {line['steps']}"
    return f"| {name} | {line['ours']:.2f} % | {line['reader']} | {' | '.join(cells)} |"


def _made(line: Line) -> str:
    v = line["versions"]
    names = ", ".join(f"{name} {v[name]}" for name in v if name not in ("bitspike", "torch", "python"))
    return (
        f"Of {NETWORKS} random networks with T = {STEPS}, three samples each. Made on {line['hardware']}; {names}, "
        f"torch {v['torch']}, Python {v['python']}, bitspike {v['bitspike']} at {line['commit']}, {line['run'][:10]}."
    )


def put(text: str, content: str) -> str:
    """Return a document with the part between this table's markers replaced."""
    return markers.put(text, content, BEGIN, END)


def main(runs: Sequence[str], *, quick: bool = False) -> int:
    """Measure, keep and write; without readers nothing is written."""
    if absent := missing():
        print(f"not installed: {', '.join(absent)}; docs/export.md says how")
        return 1
    lines = list(measure(runs, networks=2 if quick else NETWORKS))
    if quick:
        print(table(lines))
        return 0
    keep(lines)
    DOCUMENT.write_text(put(DOCUMENT.read_text(encoding="utf-8"), table(lines)), encoding="utf-8")
    return 0
