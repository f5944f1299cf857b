"""The code that the README shows and the example next to it, run as they stand."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def test_the_ten_lines_of_the_readme_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, own, five = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    images = torch.randint(256, (6, 1, 28, 28), generator=torch.Generator().manual_seed(0)) / 255
    batches = [(images, torch.arange(6))]
    names = {"images": images, "train_loader": batches, "test_loader": batches}
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace("epochs=20", "epochs=2"), "README.md", "exec"), names)  # noqa: S102
    assert "certificate: 100% equal" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "network").iterdir()) == [
        "manifest.json",
        "vectors.safetensors",
        "weights.safetensors",
    ]
    exec(compile(own.replace("epochs=20", "epochs=2"), "README.md", "exec"), names)  # noqa: S102
    said = capsys.readouterr().out
    assert "certificate: 100% equal" in said
    assert "chip 'fanin1024-v1'" in said
    assert (tmp_path / "c" / "network.c").is_file()
    assert len(five.strip().splitlines()) == 5, "as the README says"
    exec(compile(five, "README.md", "exec"), names)  # noqa: S102
    said = capsys.readouterr().out
    assert said.count("\\\\") == 4, "a head and three rows"
    assert "\\toprule" in said
    assert "certificate: 100% equal" in said
    assert (tmp_path / "raster.pdf").read_bytes().startswith(b"%PDF")


def test_the_example_trains_lowers_and_proves(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["digits.py", "--epochs", "1"])
    runpy.run_path(str(ROOT / "examples" / "digits.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert "rounded by lowering: nothing" in said
    assert "certificate: 100% equal" in said
    assert "equal spikes: 100.0000%" in said
