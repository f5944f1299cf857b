"""A network that never fires is not certified in green: its run fails from the first epoch's line to the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from journey_parts import SMALL, is_silent_alone, sets

Bitspike = Callable[..., tuple[int, str, str]]


def test_it_fails_in_the_line_the_summary_the_report_and_by_exit_code(tmp_path: Path, bitspike: Bitspike) -> None:
    out, layers = tmp_path / "run", "neuron1, neuron2"
    changes = sets(*SMALL, "training.epochs=1", "neuron.threshold=1000000")
    code, said, err = bitspike("run", "quickstart", *changes, "--out", out)
    assert is_silent_alone(code, err)
    line = next(line for line in err.splitlines() if line.startswith("epoch 1 "))
    assert f"NEVER FIRES: {layers}" in line
    assert f"{layers} never fire" in err
    assert "What helps: threshold=" in err
    assert f"  FIRING          {layers} never fire" in said
    assert "check failed" in err
    assert f"{layers} never fire" in err[err.index("check failed") :]
    report = json.loads((out / "report.json").read_text())
    (check,) = [check for check in report["checks"] if check["name"] == "firing"]
    assert not check["passed"]
    assert report["certificate"]["equal"] is True
    page = (out / "report.html").read_text()
    assert "A layer that tells nothing" in page
    assert '<section class="good">' not in page
    assert page.index("This run fails") < page.index("The answer")
    code, said, _ = bitspike("verify", out)
    assert (code, said.splitlines()[0].partition(" (")[0]) == (0, "certificate: 100% equal, and SILENT")
    assert f"NEVER FIRES   {layers}" in bitspike("evaluate", out)[1]
    assert f"layers that tell nothing about the input: {layers} never fire" in bitspike("compare", out)[1]
    assert "No neuron fires: " in bitspike("energy", out)[1]
