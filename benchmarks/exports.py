"""Proof of the exports: every test image through C, ONNX and NIR, spike for spike, and the table that says so.

A run folder says everything that is needed: its network and, in its recipe, its images. The fast engine is compared
with the definition (:func:`bitspike.simulate`) on the first images and then is what the other programs are compared
with, on all of them.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitspike as bs
from benchmarks import machine, markers
from benchmarks.exported import CRun, OnnxRun, Spikes
from benchmarks.lines import add_to, held_in
from bitspike.data.images.images import Images
from bitspike.errors import ConstraintError, ExportError
from bitspike.formats.c.write import c_memory
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.recipe import AnyRecipe, load, names
from bitspike.runs.construct.data import build_data
from bitspike.runs.folder import RECIPE
from bitspike.runs.saved import read_network

ROOT = Path(__file__).resolve().parents[1]
LINES = Path(__file__).parent / "records" / "exports.jsonl"
DOCUMENT = ROOT / "docs" / "export.md"
BEGIN, END = "<!-- exports: scripts/prove_exports writes this -->", "<!-- /exports -->"
FORMATS = ("engine", "C", "ONNX", "NIR")
FILES = {"data.root": "DATA", "model.weights": "FILE"}
"""Values of a recipe that are places on somebody's machine, and the word that stands for each."""
WORDS = {"name", "question", "changed", "paper", "published", "expect"}
"""Parts of a recipe that change no run."""

Line = Mapping[str, Any]
Runner = Callable[[Integers], tuple[Spikes, Spikes]]


@dataclass
class Count:
    """What was compared so far: images whose outputs are all equal, spikes of every neuron at every step, seconds."""

    images: int = 0
    outputs_equal: int = 0
    counts_equal: int = 0
    spikes: int = 0
    spikes_equal: int = 0
    fired: int = 0
    seconds: float = 0.0

    def add(self, found: tuple[Spikes, Spikes], wanted: tuple[Spikes, Spikes], seconds: float) -> None:
        """Compare spikes [T, N, ...] by neuron and outputs [N, ...] by read-out of one batch."""
        if any(a.keys() != b.keys() for a, b in zip(found, wanted, strict=True)):
            raise ExportError(f"neurons or outputs have other names: {[sorted(part) for part in found]}")
        (spikes, outputs), (right, due) = found, wanted
        samples = len(next(iter(due.values())))
        same = np.ones(samples, bool)
        for name, value in due.items():
            same &= (outputs[name].reshape(samples, -1) == value.reshape(samples, -1)).all(1)
        counts = np.ones(samples, bool)
        for name, value in right.items():
            equal = spikes[name].reshape(value.shape) == value
            self.spikes += value.size
            self.spikes_equal += int(equal.sum())
            self.fired += int(np.count_nonzero(value))
            if not equal.all():
                sums = (spikes[name].reshape(value.shape).sum(0, dtype=np.int64), value.sum(0, dtype=np.int64))
                counts &= (sums[0] == sums[1]).reshape(samples, -1).all(1)
        self.images += samples
        self.outputs_equal += int(same.sum())
        self.counts_equal += int(counts.sum())
        self.seconds += seconds


def prove(
    run: str | Path,
    *,
    changes: Iterable[str] = (),
    images: int | None = None,
    proof: int | None = None,
    batch: int = 50,
    formats: Sequence[str] = FORMATS,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Run a run's test images through every export of its network, and return one line per format.

    Args:
        run: the folder of a run.
        changes: of its recipe, such as ``data.root=FOLDER``.
        images: only the first so many test images; None takes all.
        proof: images on which the engine is compared with the definition; None takes all.
        batch: images that are run at once.
        formats: of ``FORMATS``.
        say: takes a line of text whenever a format is done.

    Raises:
        RunError, PackageError, DataError: there is no such run, network or image set.
        ConstraintError: no image is asked for.
    """
    recipe, net = load(load(Path(run) / RECIPE), changes), read_network(run)
    data = build_data(recipe)
    some = first_of(data.test, images)
    engine = bs.Engine(net)

    def batches(limit: int) -> Iterator[Integers]:
        for first in range(0, limit, batch):
            part = data.pixels.to_input(some.images[first : min(first + batch, limit)])
            yield bs.encode(net, part, generator=torch.Generator().manual_seed(recipe.seed + first))

    about = {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": recipe.name,
        "changes": changed(recipe),
        "steps": net.steps,
        "neurons": int(sum(np.prod(n.shape) for n in net.neurons)),
        "weights": int(sum(w.weight.codes.size for w in net.weighted)),
        "digest": hashlib.sha256(repr(sorted(_digests(run).items())).encode()).hexdigest()[:16],
        "data": f"{data.test.name}, test split",
        "only": images,
        **_place(),
    }
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        for format in formats:
            count, memory, refused = Count(), None, None
            limit = min(proof or len(some), len(some)) if format == "engine" else len(some)
            try:
                runner = _runner(format, net, engine, Path(scratch))
                memory = _memory(net) if format == "C" else None
                for codes in batches(limit):
                    began = time.perf_counter()
                    found = runner(codes)
                    seconds = time.perf_counter() - began
                    count.add(found, _simulated(net, codes) if format == "engine" else _engine(engine, codes), seconds)
            except ExportError as error:
                refused = error.message
            lines.append({**about, "format": format, "refused": refused, **vars(count), "memory": memory})
            say(sentence(lines[-1]))
    return lines


def first_of(test: Images, images: int | None) -> Images:
    """Return the first so many test images, or all of them where there are fewer or ``images`` is None.

    Raises:
        ConstraintError: no image is asked for.
    """
    if images is not None and images < 1:
        raise ConstraintError(f"images={images}: at least one is compared", fix="--images 1, or all without it")
    return test.subset(range(len(test))[:images])


def _runner(format: str, net: IntegerNetwork, engine: bs.Engine, scratch: Path) -> Runner:
    """Write the network in a format and return what runs the file on codes [1 or T, N, ...]."""
    if format == "engine":
        return lambda codes: _engine(engine, codes)
    if format == "C":
        return CRun(net, scratch)
    if format == "ONNX":
        return OnnxRun(bs.write_onnx(net, scratch / "net.onnx", mode="step"))
    read = bs.read_nir(bs.write_nir(net, scratch / "net.nir"))
    return lambda codes: _simulated(read, codes)


def _engine(engine: bs.Engine, codes: Integers) -> tuple[Spikes, Spikes]:
    trace = engine.run(codes)
    return trace.spikes, trace.outputs


def _simulated(net: IntegerNetwork, codes: Integers) -> tuple[Spikes, Spikes]:
    trace = bs.simulate(net, codes)
    return trace.spikes, trace.outputs


def _memory(net: IntegerNetwork) -> dict[str, int]:
    """Return flash and RAM of the C program, in bytes; machine code comes on top of its constants."""
    memory = c_memory(net)
    return {"constants": memory.weights + memory.tables, "state": memory.state, "stack": memory.stack}


def _digests(run: str | Path) -> dict[str, str]:
    """Return the digest of every file of a run's network, so that a line says which network it was."""
    folder = Path(run) / "network"
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def changed(recipe: AnyRecipe) -> list[str]:
    """Return in what a run's recipe differs from the shipped one of its name, as ``key=value``.

    Example:
        >>> changed(load("quickstart", ["training.epochs=2", "data.validation=0.2"]))
        ['data.validation=0.2', 'training.epochs=2']
    """
    if recipe.name not in names():
        return []
    old, new = (r.model_dump(mode="json", exclude=WORDS) for r in (load(recipe.name), recipe))
    brief = recipe.model_dump(mode="json", exclude_defaults=True)  # a value as somebody would write it
    return [f"{key}={FILES.get(key, value)}" for key, value in _differences(old, new, brief)]


def _differences(old: Any, new: Any, brief: Any, at: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        for key, value in new.items():
            short = brief.get(key, value) if isinstance(brief, dict) else value
            yield from _differences(old.get(key), value, short, f"{at}.{key}" if at else key)
    elif old != new:
        yield at, json.dumps(brief).replace('"', "")


def _place() -> dict[str, Any]:
    """Return where it was run: machine, versions, compiler, commit."""
    place = machine.describe()
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    versions = {name: place["versions"][name] for name in ("bitspike", "torch", "python")}
    versions |= {name: importlib.metadata.version(name) for name in ("numpy", "onnx", "onnxruntime", "nir")}
    return {
        "hardware": place["hardware"],
        "threads": place["threads"],
        "versions": {**versions, "cc": compiler},
        "commit": place["commit"],
    }


def holds(line: Line) -> bool:
    """Tell whether everything that was compared was equal; a refused format compares nothing."""
    return (line["outputs_equal"], line["counts_equal"], line["spikes_equal"]) == (
        line["images"],
        line["images"],
        line["spikes"],
    )


def sentence(line: Line) -> str:
    """Say a line in words."""
    start = f"{line['network']}, {line['format']}: "
    if line["refused"] is not None:
        return f"{start}refused: {line['refused']}"
    return start + (
        f"{line['outputs_equal']:,} of {line['images']:,} images have equal outputs, {line['counts_equal']:,} equal "
        f"spike counts; {line['spikes_equal']:,} of {line['spikes']:,} places equal; {line['seconds']:.1f} s"
    )


# The table ----------------------------------------------------------------------------------------------------------


def keep(lines: Iterable[Line], path: Path = LINES) -> None:
    """Add lines to the kept ones."""
    add_to(path, *lines)


def kept(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the lines of the last run of every network, in the order in which they were written."""
    held = held_in(path)
    last = {name_of(line): line["run"] for line in held}
    return [line for line in held if line["run"] == last[name_of(line)]]


def name_of(line: Line) -> str:
    """Return what tells a network from others: its recipe, and its kind of neuron where that was changed."""
    neurons = [change.partition("=")[2] for change in line["changes"] if change.startswith("convert.neuron=")]
    return "-".join([line["network"], *neurons])


def table(lines: Sequence[Line]) -> str:
    """Return the results in Markdown: a row per network and format, the commands that make them, and where."""
    rows = [
        "| network | program | images | outputs equal | spike counts equal | spikes compared | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *map(_row, lines),
    ]
    firsts = list({name_of(line): line for line in reversed(lines)}.values())[::-1]
    images = {name_of(line): line["images"] for line in lines if line["refused"] is None}
    memory = [
        f"| `{name_of(line)}` | {line['neurons']:,} | {line['weights']:,} | {line['memory']['constants']:,} "
        f"| {line['memory']['state']:,} | {line['memory']['stack']:,} |"
        for line in lines
        if line["memory"]
    ]
    head = "| C program of | neurons | weights | bytes of constants (flash) | of state (RAM) | of local arrays (RAM) |"
    refused = [
        f"{line['format']} refuses `{name_of(line)}`: {reasons(line['refused'])}.\n"
        for line in lines
        if line["refused"] is not None
    ]
    commands = "\n".join(_commands(line, images.get(name_of(line), 0)) for line in firsts)
    return "\n".join(
        [*rows, "", head, "| --- " * 6 + "|", *memory, "", *refused, f"```\n{commands}\n```", _made(firsts)]
    )


def reasons(refusal: str) -> str:
    """Count the reasons of a refusal, which names every node.

    Example:
        >>> reasons("NIR cannot hold 2 of 9 nodes\\n  relu  Neuron a: it is signed\\n  relu_1  Neuron b: it is signed")
        'NIR cannot hold 2 of 9 nodes (2 × Neuron: it is signed)'
    """
    first, *nodes = refusal.splitlines()
    counts = Counter(re.sub(r"^\s*\S+\s+(\w+) [^:]*:", r"\1:", node) for node in nodes)
    named = "; ".join(f"{count} × {reason}" for reason, count in counts.items())
    return f"{first} ({named})" if named else first


def _row(line: Line) -> str:
    programs = {
        "engine": "`bs.Engine`, against `bs.simulate`",
        "C": "`cc -std=c99 -Wall -Wextra -Werror -pedantic -O2`",
        "ONNX": "ONNX Runtime, step by step",
        "NIR": "file read back, simulated",
    }
    start = f"| `{name_of(line)}`, T = {line['steps']} | {programs[line['format']]} "
    if line["refused"] is not None:
        return start + "| | refused | refused | | |"
    equal = [
        "all" if line[key] == line["images"] else f"**{line[key]:,}**" for key in ("outputs_equal", "counts_equal")
    ]
    return start + f"| {line['images']:,} | {equal[0]} | {equal[1]} | {line['spikes']:,} | {line['seconds']:.1f} |"


def _commands(line: Line, images: int) -> str:
    name = line["network"]
    place = f"runs/{name_of(line)}"
    some = f" --images {line['only']}" if line["only"] else ""
    some += f" --proof {line['images']}" if line["images"] < images else ""
    return f"bitspike run {name}{sets(line['changes'])} --out {place}\nscripts/prove_exports {place}{some} --keep"


def sets(changes: Iterable[str]) -> str:
    """Return changes of a recipe as words of a command.

    Example:
        >>> sets(["training.epochs=2", "convert.threshold={kind: mse}"])
        " --set training.epochs=2 --set 'convert.threshold={kind: mse}'"
    """
    return "".join(f" --set '{change}'" if " " in change else f" --set {change}" for change in changes)


def _made(lines: Iterable[Line]) -> str:
    """Say where and by what the lines were made, once for all that share it."""
    made: dict[str, list[str]] = {}
    for line in lines:
        v = line["versions"]
        text = (
            f"{line['hardware']}, {line['threads']} threads; {v['cc']}, onnxruntime {v['onnxruntime']}, "
            f"onnx {v['onnx']}, nir {v['nir']}, NumPy {v['numpy']}, torch {v['torch']}, "
            f"Python {v['python']}, bitspike {v['bitspike']}"
        )
        made.setdefault(text, []).append(f"{name_of(line)} at {line['commit']}, {line['run'][:10]}")
    return "\n".join(f"\nMade on {text} ({'; '.join(names)})." for text, names in made.items())


def put(text: str, content: str) -> str:
    """Return a document with the part between this table's markers replaced."""
    return markers.put(text, content, BEGIN, END)
