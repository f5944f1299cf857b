"""Time and memory on a CUDA device: events around blocks of calls, and the allocator's own peak."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import torch

from benchmarks.case import Call
from benchmarks.measure import Effort, Timing

EFFORT = Effort(blocks=9, seconds=0.05)
"""Nobody else works on the device, so short blocks are enough."""

MB = 2**20


def place() -> str:
    """Return ``cuda`` where there is such a device, else ``cpu``: tiny sizes also run without one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def alternate(calls: Mapping[str, Call], effort: Effort) -> dict[str, Timing]:
    """Measure all calls in turns, one block each, round after round.

    A block is as many calls as last ``effort.seconds``, between two events of the device: what counts is the time from
    the first call's start to the last one's end on the device, waiting for Python included where the device has to.
    """
    counts = {}
    for name, call in calls.items():
        for _ in range(3):
            call()
        counts[name] = max(1, round(effort.seconds / max(_block(call, 1), 1e-6)))
    timings = {name: Timing() for name in calls}
    for _ in range(effort.blocks):
        gc.collect()
        for name, call in calls.items():
            call()  # brings clocks and caches to where this call has them
            timings[name].kept.append(_block(call, counts[name]))
    return timings


def _block(call: Call, count: int) -> float:
    """Return seconds per call."""
    if place() == "cpu":
        begin = time.perf_counter()
        for _ in range(count):
            call()
        return (time.perf_counter() - begin) / count
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    for _ in range(count):
        call()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1000 / count


def rise(call: Call) -> float:
    """Return the MB by which a call lifts what the device's allocator has handed out; 0 without a device."""
    if place() == "cpu":
        call()
        return 0.0
    call()
    gc.collect()
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before) / MB


def describe() -> dict[str, Any]:
    """Return what a line says about the device, in the fields that lines have; nothing without one."""
    if place() == "cpu":
        return {}
    major, minor = torch.cuda.get_device_capability()
    gigabytes = torch.cuda.get_device_properties(0).total_memory / 2**30
    return {
        "hardware": f"{torch.cuda.get_device_name()}, {gigabytes:.0f} GiB",
        "instruction_sets": [f"compute capability {major}.{minor}"],
    }


def versions() -> dict[str, str]:
    """Return the versions that a result on a device depends on besides torch's own."""
    if place() == "cpu":
        return {}
    found = {"CUDA": str(torch.version.cuda), "cuDNN": str(torch.backends.cudnn.version())}
    if importlib.util.find_spec("triton") is not None:
        found["Triton"] = importlib.metadata.version("triton")
    if (driver := _driver()) is not None:
        found["driver"] = driver
    return found


def _driver() -> str | None:
    words = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None
