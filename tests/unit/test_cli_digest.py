"""``bitspike verify`` says which digest it proved, and compares it with one that was kept."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from benchmarks.mutated import make_old

from bitspike.cli import main
from bitspike.integer.examples import one_convolution
from bitspike.integer.saved.folder import save
from bitspike.integer.saved.manifest import MANIFEST


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(one_convolution(), tmp_path / "network")


def test_the_digest_is_printed_and_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = json.loads((folder / MANIFEST).read_text())["digest"]
    assert main(["verify", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [f"digest: {digest}"]
    assert main(["verify", str(folder), "--expect", digest.upper(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["digest"] == digest


def test_another_package_is_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder), "--expect", "0" * 64]) == 1
    assert f"first difference: {MANIFEST}: digest is " in capsys.readouterr().out
    assert main(["verify", str(folder), "--expect", "0123"]) == 2
    assert "64 hexadecimal digits are needed" in capsys.readouterr().err


def test_a_package_without_a_digest_is_one_line_more(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_old(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["verify", str(folder)]) == 0
    out, err = capsys.readouterr()
    assert ", worked out just now" in out
    assert err.startswith(f"warning: {folder} states no digest of its manifest")
    assert err.count("\n") == 1
