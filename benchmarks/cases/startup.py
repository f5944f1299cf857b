"""How long one waits: for the help, for the import, for the first fused call of a fresh process."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.case import Call, Case, Group, Target, Variant

FIRST_CALL = """
import bitspike as bs, torch
x = torch.rand(4, 8, 16, 8, 8, requires_grad=True)
bs.LIF()(x).sum().backward()
"""


def groups(tiny: bool) -> list[Group]:
    """Return the processes; the tiny ones are those without torch."""
    calls = {
        "bitspike --help": ["-m", "bitspike", "--help"],
        "import bitspike": ["-c", "import bitspike"],
        "import torch": ["-c", "import torch"],
        "first fused call": ["-c", FIRST_CALL],
    }
    if tiny:
        calls = {name: calls[name] for name in ("bitspike --help", "import bitspike")}
    bounds = {"bitspike --help": 0.5, "first fused call": 2.0}
    return [
        Group(
            name="processes",
            shape="a fresh process",
            variants=[Variant(name=name, dtype="", build=lambda w=words: process(w)) for name, words in calls.items()],
            targets=[
                Target(variant=n, against=None, bound=b, sense="at most") for n, b in bounds.items() if n in calls
            ],
        )
    ]


def process(words: list[str]) -> Call:
    """Return a call that runs Python with these words and waits for it."""
    return lambda: subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)


CASE = Case(
    name="startup",
    title="Start-up",
    about=(
        "Whole processes from start to end. The first fused call imports bitspike and torch and runs a LIF layer "
        "forward and backward; `import torch` alone is measured next to it, as most of that time is torch's."
    ),
    groups=groups,
)
