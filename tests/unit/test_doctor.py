"""What the doctor finds, on machines that we describe to it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitspike.devices import choose_precision
from bitspike.integer.engine import Method
from bitspike.kernels.engine import kept
from bitspike.machine import describe_cpu
from bitspike.verbs.doctor import describe_folder, doctor, measure_bf16


def test_everything_is_json_and_this_machine_is_fine(tmp_path: Path) -> None:
    found = doctor(tmp_path / "runs")
    assert json.loads(json.dumps(found)) == found
    assert found["problems"] == []
    assert found["devices"][0] == {"name": "cpu", "kind": "cpu"}
    assert found["torch"]["threads"] >= 1
    assert not (tmp_path / "runs").exists(), "looking must not write"


def test_it_says_where_races_of_methods_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor()["methods"] == {"file": None, "writable": False, "layers": 0}, "tests keep none"
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "methods"))
    kept.add({"a layer": {Method.DOT: 1.0}})
    assert doctor()["methods"] == {"file": str(kept.file()), "writable": True, "layers": 1}
    (tmp_path / "file").touch()
    monkeypatch.setenv(kept.VARIABLE, str(tmp_path / "file"))
    assert doctor()["methods"] == {"file": str(kept.file()), "writable": False, "layers": 0}


def test_a_broken_torch_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    found = doctor()
    assert "torch cannot be imported" in found["problems"][0]
    assert found["devices"] == []
    assert found["data"], "where images lie is known without torch"


def test_it_waits_for_torch_and_for_nothing_else_of_the_package() -> None:
    """Of two seconds torch takes most; training, data sets and integers would add a quarter of it."""
    code = (
        "import sys, bitspike.cli as c; c.main(['doctor', '--json']); "
        "print([n for n in ('train', 'data', 'integer', 'nn', 'weights', 'recipe') if f'bitspike.{n}' in sys.modules], "
        "file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stderr.split("\n")[-2] == "[]"


def test_a_runs_folder_that_cannot_be_written_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    found = doctor(tmp_path / "file" / "runs")
    assert any("--out" in problem for problem in found["problems"])


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8",
            "avx2 avx512 vnni bf16 amx amx_bf16 amx_int8",
        ),
        ("flags : fpu sse avx2", "avx2"),
        ("Features : fp asimd asimddp bf16", "vnni bf16"),
        ("", ""),
    ],
)
def test_instruction_sets(cpuinfo: str, expected: str) -> None:
    assert describe_cpu(cpuinfo)["instruction_sets"] == expected.split()


def test_a_cpu_always_has_a_name_and_threads() -> None:
    cpu = describe_cpu("")
    assert cpu["name"]
    assert cpu["threads"] >= 1


def test_bf16_is_measured_and_leaves_the_threads_alone() -> None:
    threads = torch.get_num_threads()
    found = measure_bf16()
    assert found["cpu_speedup"] > 0
    assert found["automatic"]["cpu"] is (choose_precision("auto", "cpu") == "bf16")
    assert torch.get_num_threads() == threads


def test_the_named_data_folder_is_looked_at_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    monkeypatch.setenv("BITSPIKE_DATA", str(tmp_path))
    assert doctor()["data"][0] == {"path": str(tmp_path), "exists": True, "holds": ["MNIST"]}


def test_a_folder_is_judged_by_its_nearest_parent(tmp_path: Path) -> None:
    found = describe_folder(tmp_path / "a" / "b" / "c")
    assert found["writable"] is True
    assert found["exists"] is False
    assert found["free_gigabytes"] >= 0
    assert describe_folder(tmp_path)["exists"] is True
