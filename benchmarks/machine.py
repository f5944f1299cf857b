"""Where a line was measured: processor, instruction sets, versions, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
import torchvision

import bitspike
from benchmarks import cuda, peers
from bitspike.machine import describe_cpu

ROOT = Path(__file__).resolve().parents[1]


def describe(device: str = "cpu") -> dict[str, Any]:
    """Return what a line says about its place, as plain values.

    Args:
        device: ``cuda`` names the device in the processor's stead.
    """
    cpu = describe_cpu()
    versions = {
        "bitspike": bitspike.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "python": platform.python_version(),
        **(cuda.versions() if device == "cuda" else {}),
        **peers.versions(),
    }
    processor = {
        "hardware": f"{cpu['name']}, {os.cpu_count()} cores",
        "instruction_sets": cpu["instruction_sets"],
        "threads": torch.get_num_threads(),
        "versions": versions,
        "commit": commit(),
    }
    return processor | (cuda.describe() if device == "cuda" else {})


def commit() -> str:
    """Return the commit that is checked out, with a plus where the measured code differs from it."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        code = ("src", "setup.py", "benchmarks/*.py")
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
