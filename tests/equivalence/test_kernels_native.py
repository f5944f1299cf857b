"""How native libraries are found: a missing, a broken and a stale one mean plain torch, said once and never a crash."""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bitspike.kernels import activation, bits, neuron, norm, pool
from bitspike.kernels.cpp import loader as native
from bitspike.nn import LIF, QuantReLU, SignedIF
from bitspike.nn.clip_floor_shift import ClipFloorShift

LIBRARIES = {
    "neuron": neuron.library,
    "activation": activation.library,
    "norm": norm.library,
    "pool": pool.library,
    "bits": bits.library,
}


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return an empty folder in which libraries are looked for, as if for the first time."""
    monkeypatch.delenv(native.SWITCH, raising=False)
    monkeypatch.setattr(native, "_found", {})
    monkeypatch.setattr(native, "__file__", str(tmp_path / "cpp" / "loader.py"))
    return tmp_path


def works() -> None:
    """Run what the libraries would have run."""
    x = torch.full((2, 1, 3), 0.7, requires_grad=True)
    for module in (LIF(0.5), SignedIF(), QuantReLU(2), ClipFloorShift(4)):
        out = module(x)
        assert out.shape == x.shape
        out.sum().backward()


@pytest.mark.parametrize("part", LIBRARIES)
def test_status_says_which_loop_runs(part: str) -> None:
    assert native.status(part).split(":")[0] == ("plain torch" if LIBRARIES[part]() is None else "native")


@pytest.mark.parametrize("part", LIBRARIES)
def test_a_library_that_was_never_built_is_no_trouble(
    part: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert LIBRARIES[part]() is None
    assert native.status(part).startswith("plain torch: the native library was not built")
    works()
    assert caplog.records == []


@pytest.mark.parametrize("part", LIBRARIES)
def test_a_broken_library_is_named_once(part: str, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / f"{part}.native").write_bytes(os.urandom(4096))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert LIBRARIES[part]() is None
            works()
    assert [native.PARTS[part] in record.message for record in caplog.records] == [True]
    assert native.status(part).startswith("plain torch: the native library cannot be loaded (")
    assert native.status(part).endswith("install again")


@pytest.mark.parametrize("part", LIBRARIES)
def test_a_library_of_another_version_is_named_once(
    part: str, folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / f"{part}.native").write_bytes(b"any")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: type("Old", (), {"bitspike_abi": _Answer(1)})())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert LIBRARIES[part]() is None
            works()
    assert len(caplog.records) == 1
    assert f"of another version (1, needed is {abi(part)})" in native.status(part)


def abi(part: str) -> int:
    """Return the version of a part that the package asks for."""
    return int(importlib.import_module(f"bitspike.kernels.{part}").ABI)


class _Answer:
    """A function of a library, with the attributes that ctypes gives it."""

    restype: object = None

    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self) -> int:
        return self.value


def test_a_library_without_a_function_is_broken(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "norm.native").write_bytes(b"any")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: type("Half", (), {"bitspike_abi": _Answer(norm.ABI)})())
    assert norm.library() is None
    assert "cannot be loaded" in native.status("norm")


def test_one_part_without_the_others(folder: Path) -> None:
    """Each part stands alone: neurons run fused where norms cannot."""
    built = Path(neuron.__file__).with_name("neuron.native")
    if built.is_file():
        shutil.copy(built, folder)
    assert (neuron.library() is not None) == built.is_file()
    assert norm.library() is None
    works()


def test_the_switch_leaves_every_library_unused() -> None:
    code = (
        "from bitspike.kernels.cpp.loader import status; print({status(p) for p in ('neuron', 'norm', 'activation')})"
    )
    environment = {**os.environ, native.SWITCH: "plain"}
    answer = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "{'plain torch: BITSPIKE_KERNELS=plain is set'}"
    assert answer.stderr == ""


@pytest.mark.parametrize("loops", ["avx2", "portable"])
def test_loops_of_older_machines_give_the_same(loops: str) -> None:
    """A process for each instruction set: it is chosen once, when a library is loaded."""
    tests = [
        str(Path(__file__).with_name(f"test_kernels{part}.py")) for part in ("", "_activation", "_clip_floor", "_norm")
    ]
    chosen = "ragged or ends or cancel or norm_and or signed_if"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, *tests]
    environment = {**os.environ, native.SWITCH: loops, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout[-3000:]
