"""Peak memory of a call in a process of its own: by how much the resident set rises above what it was before."""

from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.case import Group, Variant

MB = 2**20

_M_MMAP_THRESHOLD, _M_MMAP_MAX = -3, -4  # in glibc's malloc.h
_MAPPED_BYTES, _MAPPED_BLOCKS = 2**18, 2**16


def rise(variant: Variant) -> float:
    """Return the MB by which two calls lift the resident set of this process.

    What ``build`` makes lies below the line: the weights, and where it makes a small call itself, gradients and the
    state of the optimiser too. So what counts is what a call of this size needs on top: activations, what is kept for
    the backward pass, and scratch memory. glibc is told to map every larger block by itself and to hand it back when it
    is freed: otherwise the holes between blocks count as well, which differ by a third from process to process.
    """
    _map_blocks()
    call = variant.build()
    _trim()
    before = _forget_peak()
    call()
    call()
    return max(0.0, (_peak() - before) / MB)


def in_own_process(case: str, group: Group, variant: Variant, *, tiny: bool) -> float:
    """Start a process that measures :func:`rise` of one variant, and return what it says.

    Raises:
        RuntimeError: it failed; the message holds the end of what it wrote.
    """
    words = ["point", case, group.name, variant.name, *(["--tiny"] if tiny else [])]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{variant.name}: the process of its own failed: {done.stderr.strip()[-2000:]}")
    return float(json.loads(done.stdout.splitlines()[-1])["MB"])


def _map_blocks() -> None:
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_MAX, _MAPPED_BLOCKS)
        libc.mallopt(_M_MMAP_THRESHOLD, _MAPPED_BYTES)


def _trim() -> None:
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> int:
    """Set the peak of the resident set back to its present size, where the system can, and return it in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
        return _status("VmRSS")
    except OSError:
        return _peak()


def _peak() -> int:
    if Path("/proc/self/status").is_file():
        return _status("VmHWM")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system does not tell {field}")
