"""The processor of this machine: its name, its threads, its instruction sets."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

#: Instruction set -> the flags by which Linux names it on x86 and on Arm. Any one of them is enough.
INSTRUCTION_SETS = {
    "avx2": ("avx2",),
    "avx512": ("avx512f",),
    "vnni": ("avx512_vnni", "avx_vnni", "asimddp"),
    "bf16": ("avx512_bf16", "bf16"),
    "amx": ("amx_tile",),
    "amx_bf16": ("amx_bf16",),
    "amx_int8": ("amx_int8",),
}


def describe_cpu(cpuinfo: str | None = None) -> dict[str, Any]:
    """Read name and instruction sets from the text of ``/proc/cpuinfo``; an empty text gives what Python knows.

    Args:
        cpuinfo: the text; None reads this machine's.

    Example:
        >>> cpu = describe_cpu("model name : Example 9000\\nflags : fpu avx2 avx512f avx512_bf16\\n")
        >>> cpu["name"], cpu["instruction_sets"]
        ('Example 9000', ['avx2', 'avx512', 'bf16'])
    """
    fields: dict[str, str] = {}
    for line in (_cpuinfo() if cpuinfo is None else cpuinfo).splitlines():
        key, separator, value = line.partition(":")
        if separator:
            fields.setdefault(key.strip(), value.strip())
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    return {
        "name": fields.get("model name") or platform.processor() or platform.machine(),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "instruction_sets": [name for name, known in INSTRUCTION_SETS.items() if flags.intersection(known)],
    }


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
