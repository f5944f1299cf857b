"""How much of the machine other processes used for a while: blocks measured next to them are not kept."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

try:
    import resource
except ImportError:  # not a Unix
    resource = None  # type: ignore[assignment]

PROC = Path("/proc")


@dataclass(frozen=True)
class Reading:
    """Seconds since the start: wall clock, all processors busy or stolen, this process and its children."""

    wall: float
    machine: float
    own: float


def available() -> bool:
    """Tell whether the system says what all processes together used (Linux)."""
    return (PROC / "stat").is_file()


def read() -> Reading:
    """Read the counters."""
    ticks = os.sysconf("SC_CLK_TCK")
    # user nice system idle iowait irq softirq steal; guests are in user already
    fields = [int(f) for f in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
    machine = (sum(fields) - fields[3] - fields[4]) / ticks
    times = os.times()
    reaped = times.children_user + times.children_system
    return Reading(time.perf_counter(), machine, time.process_time() + reaped + _living_children(ticks))


def faults() -> int:
    """Return how many pages this process has been given so far; 0 where the system does not say."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def foreign(before: Reading, after: Reading) -> float:
    """Return the share of the machine, 0 to 1, that others used between two readings.

    Example:
        >>> foreign(Reading(0.0, 10.0, 5.0), Reading(1.0, 12.0, 6.5)) == 0.5 / (os.cpu_count() or 1)
        True
    """
    others = (after.machine - before.machine) - (after.own - before.own)
    return max(0.0, others) / (max(after.wall - before.wall, 1e-9) * (os.cpu_count() or 1))


def _living_children(ticks: int) -> float:
    """Return what the running descendants of this process have used, their own ended children included."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # The name of the program stands in brackets and may hold anything.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        parents[int(entry.name)] = int(fields[1])
        used[int(entry.name)] = sum(int(f) for f in fields[11:15]) / ticks
    total, found = 0.0, {os.getpid()}
    while found:
        found = {pid for pid, parent in parents.items() if parent in found}
        total += sum(used[pid] for pid in found)
    return total
