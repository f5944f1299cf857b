"""The Verilog of a network, run by a simulator on any codes: every spike, potential and output that it makes."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitspike.arguments import checked
from bitspike.errors import ExportError
from bitspike.formats.verilog.plan import Plan, plan
from bitspike.formats.verilog.vectors import addresses
from bitspike.formats.verilog.write import resolved_lanes, write_verilog
from bitspike.integer.network import IntegerNetwork
from bitspike.integer.nodes import Integers
from bitspike.integer.simulate import Trace

COMMANDS = {
    "verilator": (
        "verilator --binary --timing -O3 -Wno-lint -Wno-STMTDLY -DBS_OBSERVE --top-module bench -Mdir build -o bench",
        "./build/bench",
    ),
    "iverilog": ("iverilog -g2005 -DBS_OBSERVE -s bench -o bench.vvp", "vvp bench.vvp"),
}
"""How each simulator compiles the sources, and what runs the bench then."""


@dataclass(frozen=True)
class Simulated:
    """What a simulation showed.

    Args:
        trace: spikes, potentials and outputs.
        cycles: of the clock, for one sample in the mean.
        simulator: which one it was.
    """

    trace: Trace
    cycles: int
    simulator: str


@checked
def run_verilog(
    net: IntegerNetwork, codes: Integers, *, lanes: int | None = None, simulator: str | None = None
) -> Simulated:
    """Write a network as Verilog, run it on codes in a simulator, and return all that its neurons did.

    Args:
        net, lanes: as of :func:`bitspike.formats.verilog.write.write_verilog`.
        codes: [1 or T, N, ...].
        simulator: ``verilator`` or ``iverilog``; None takes the first of them that is installed.

    Raises:
        ExportError: there is no simulator, or it stopped with an error.
    """
    chosen = _simulator(simulator)
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_verilog(net, Path(scratch) / "rtl", lanes=lanes, vectors={"input_codes": codes})
        compile_it, run_it = (command.split() for command in COMMANDS[chosen])
        sources = ["network.v", "bench.v", *sorted(str(p.relative_to(folder)) for p in folder.glob("library/*.v"))]
        _call([*compile_it, *sources], folder)
        said = _call([*run_it, "+found=found.txt"], folder)
        numbers = (folder / "found.txt").read_text().split()
    cycles = re.search(r"(\d+) cycles a sample", said)
    if cycles is None or "the network still runs" in said:
        raise ExportError(f"the simulation did not end: {said.strip()[-300:]}", fix="report it, with the network")
    planned = plan(net, resolved_lanes(net, lanes))
    return Simulated(_trace(planned, np.array(numbers, np.int64), codes.shape[1]), int(cycles[1]), chosen)


def _trace(planned: Plan, numbers: Integers, samples: int) -> Trace:
    """Return what the bench wrote, in the order in which neurons are run, as a trace."""
    net, outs = planned.net, len(addresses(planned))
    by_sample = numbers.reshape(samples, -1)
    values = by_sample[:, : by_sample.shape[1] - outs].reshape(samples, net.steps, -1, 2)
    spikes, potentials, outputs = {}, {}, {}
    at = 0
    for stage in planned.seen:
        channels, *places = stage.node.shape
        size = channels * int(np.prod(places))
        part = values[:, :, at : at + size].reshape(samples, net.steps, *places, channels, 2)
        part = np.moveaxis(np.moveaxis(part, -2, 2), 1, 0)  # [T, N, C, ..., 2]
        potentials[stage.node.id] = np.ascontiguousarray(part[..., 0])
        spikes[stage.node.id] = part[..., 1].astype(np.int8)
        at += size
    at = by_sample.shape[1] - outs
    for stage in planned.outputs:
        channels, *places = stage.node.shape
        size = channels * int(np.prod(places))
        part = by_sample[:, at : at + size].reshape(samples, *places, channels)
        outputs[stage.node.id] = np.ascontiguousarray(np.moveaxis(part, -1, 1))
        at += size
    return Trace(spikes, potentials, outputs)


_BREW = {"iverilog": "icarus-verilog"}
"""What packages are called there."""


def _simulator(asked: str | None) -> str:
    if asked is not None and asked not in COMMANDS:
        raise ExportError(f"simulator={asked!r}: allowed are {', '.join(COMMANDS)}", fix='simulator="verilator"')
    there = [name for name in ([asked] if asked else COMMANDS) if shutil.which(name)]
    if not there:
        missing = asked or "verilator"
        wanted = f"{asked} is not installed" if asked else "no simulator of Verilog is installed"
        raise ExportError(
            wanted,
            fix=f"apt install {missing} (Debian, Ubuntu), or brew install {_BREW.get(missing, missing)}",
        )
    return there[0]


def _call(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ExportError(
            f"{command[0]} stopped with {done.returncode}: {(done.stderr or done.stdout).strip()[-600:]}",
            fix="a newer version of it; 5.006 of verilator and 11.0 of iverilog are known to work",
        )
    return done.stdout
