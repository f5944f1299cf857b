"""Proof of the export for Loihi: the test images of a run in lava-nc, spike for spike and potential for potential.

lava-nc needs Python 3.10, so the folder's own program runs in an interpreter of its own; what it prints is kept.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitspike as bs
from benchmarks import machine, markers
from benchmarks.exports import changed, first_of, sets
from benchmarks.lines import add_to, held_in
from bitspike.errors import ExportError
from bitspike.integer.bounds.grain import grain
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.recipe import load
from bitspike.runs.construct.data import build_data
from bitspike.runs.folder import RECIPE
from bitspike.runs.saved import read_network

LINES = Path(__file__).parent / "records" / "loihi.jsonl"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "export.md"
BEGIN, END = "<!-- loihi: scripts/prove_loihi writes this -->", "<!-- /loihi -->"

Line = Mapping[str, Any]


def prove(
    run: str | Path, python: str | Path, *, images: int | None = None, changes: Iterable[str] = ()
) -> dict[str, Any]:
    """Run a run's test images in lava-nc and return one line.

    Args:
        run: the folder of a finished run.
        python: an interpreter that has lava-nc.
        images: only the first so many test images; None takes all.
        changes: of its recipe, such as ``data.root=FOLDER``.

    Raises:
        RunError, PackageError, DataError: there is no such run, network or image set.
        ConstraintError: no image is asked for.
        ExportError: Loihi cannot hold the network, or the program ends with an error.
    """
    recipe, net = load(load(Path(run) / RECIPE), changes), read_network(run)
    data = build_data(recipe)
    inputs = data.pixels.to_input(first_of(data.test, images).images)
    codes = bs.encode(net, inputs, generator=torch.Generator().manual_seed(recipe.seed))
    with tempfile.TemporaryDirectory() as scratch:
        folder = bs.write_loihi(net, Path(scratch) / "loihi", vectors={"input_codes": np.asarray(codes)})
        digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("network.json", "network.npz")))
        command = [str(python), str(folder / "run.py"), "--json"]
        counts = _printed(command)
    place = machine.describe()
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": recipe.name,
        "changes": changed(recipe),
        "steps": net.steps,
        "neurons": int(sum(np.prod(n.shape) for n in net.neurons)),
        "leaks": leaks(net),
        "data": f"{data.test.name}, test split",
        "only": images,
        "images": counts["samples"],
        **{key: counts[key] for key in ("spikes", "differ", "potentials", "unequal")},
        "fired": sum(of["fired"] for of in counts["populations"].values()),
        "otherwise": otherwise(net, codes),
        "digest": digest.hexdigest()[:16],
        "versions": counts["versions"] | {"bitspike": place["versions"]["bitspike"]},
        "commit": place["commit"],
    }


def _printed(command: Sequence[str]) -> dict[str, Any]:
    """Run the program and return what it counted; its exit code is 1 where something differs."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        ended, said = done.returncode in (0, 1) and bool(done.stdout.strip()), done.stderr.strip()[-500:]
    except OSError as error:
        ended, said = False, str(error)
    if not ended:
        raise ExportError(
            f"{command[0]} could not run the program: {said}",
            fix="python3.10 -m venv lava && lava/bin/pip install lava-nc==0.10.0, then --python lava/bin/python",
        )
    counts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return counts


def leaks(net: IntegerNetwork) -> list[str]:
    """Return the leaks of a network in words, each once, and whether it rounds within the steps of a run."""
    words = {
        f"{n.leak.numerator}/{1 << n.leak.shift}"
        + (", rounds toward zero" if grain(n, net.steps) is None else ", never rounds")
        for n in net.neurons
    }
    return sorted(words)


def otherwise(net: IntegerNetwork, codes: Integers) -> int:
    """Return how many potentials would differ if the leaks rounded down: what the field ``rounding`` is for."""
    down = replace(net, nodes=tuple(replace(n, rounding="floor") if n in net.neurons else n for n in net.nodes))
    first, second = (bs.simulate(each, codes).potentials for each in (net, down))
    return sum(int((first[id] != second[id]).sum()) for id in first)


def holds(line: Line) -> bool:
    """Tell whether something was compared and nothing differed."""
    return line["spikes"] > 0 and line["fired"] > 0 and line["differ"] == line["unequal"] == 0


def keep(lines: Iterable[Line], path: Path = LINES) -> None:
    """Add lines to the kept ones."""
    add_to(path, *lines)


def kept(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the last line of every network and its changes."""
    held = held_in(path)
    return list({(line["network"], *line["changes"]): line for line in held}.values())


def table(lines: Sequence[Line]) -> str:
    """Return the results in Markdown, with the commands that make them and the versions."""
    rows = [
        "| network | leak | images | spikes | differ | potentials | differ | would differ if rounded down |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| `{line['network']}`, T = {line['steps']} | {'; '.join(line['leaks'])} | {line['images']:,} "
            f"| {line['spikes']:,} | {line['differ']:,} | {line['potentials']:,} | {line['unequal']:,} "
            f"| {line['otherwise']:,} |"
            for line in lines
        ),
    ]
    commands = [
        f"bitspike run {line['network']}{sets(line['changes'])} --set expect=null --out runs/loihi{i}\n"
        f"scripts/prove_loihi runs/loihi{i} --python lava/bin/python{_some(line)} --keep"
        for i, line in enumerate(lines)
    ]
    made = sorted({", ".join(f"{name} {version}" for name, version in line["versions"].items()) for line in lines})
    commits = sorted({line["commit"] for line in lines})
    return "\n".join([
        *rows, "", "```text", *commands, "```", f"Made with {'; '.join(made)}, commit {', '.join(commits)}.",
    ])  # fmt: skip


def _some(line: Line) -> str:
    return f" --images {line['only']}" if line["only"] else ""


def write(path: Path = DOCUMENT) -> None:
    """Write the table of docs/export.md anew."""
    path.write_text(markers.put(path.read_text(encoding="utf-8"), table(kept()), BEGIN, END), encoding="utf-8")
