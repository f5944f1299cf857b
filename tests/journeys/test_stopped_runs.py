"""Runs that are stopped, killed or starved of disk: nothing half-written, one message, and the same end after all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import SMALL, sets
from safetensors import SafetensorError

from bitspike import files
from bitspike.runs import measure
from bitspike.train import checkpoint

Bitspike = Callable[..., tuple[int, str, str]]
MEASURED = ("job.evaluate", "measure.lower", "measure.save", "measure.verify", "measure.compare")
STAGES = ("runs.carry_out.fit", *(f"runs.{name}" for name in MEASURED), "runs.carry_out.write_report")
"""Calls in the order of a run; each is stopped once."""


def no_part_is_left(folder: Path) -> bool:
    return not list(folder.rglob("*.partial")) and not (folder / "report.json").exists()


@pytest.mark.parametrize("stage", STAGES)
def test_interrupted_anywhere_it_goes_on_to_the_same_end(
    tmp_path: Path, finished_run: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL)]

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"bitspike.{stage}", stop)
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    done = "no epoch is done yet" if stage.endswith("fit") else "2 of 2 epochs are done"
    assert f"interrupted: {done}, saved in {tmp_path / 'run'}" in err
    assert f"go on with: bitspike resume {tmp_path / 'run'}" in err
    assert "Traceback" not in err
    assert no_part_is_left(tmp_path / "run")
    code, _, _ = bitspike("resume", tmp_path / "run") if stage.endswith("fit") else bitspike(*words, "--resume")
    assert code == 0
    weights = "model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGTERM])
def test_signals_interrupt(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, blow: signal.Signals
) -> None:
    def hit(*args: object, **kwargs: object) -> None:
        os.kill(os.getpid(), blow)
        time.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    # Under nohup, or in the background of a script, the tests are started with SIGINT ignored.
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(measure, "lower", hit)
    try:
        code, _, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL))
    finally:
        signal.signal(signal.SIGINT, ignored)
    assert code == 2
    assert "interrupted: 2 of 2 epochs are done" in err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_killed_process_goes_on_to_the_same_end(tmp_path: Path, bitspike: Bitspike) -> None:
    words = ["run", "quickstart", *sets(*SMALL, "training.epochs=40")]
    parts = [*words, "--out", str(tmp_path / "parts")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen([sys.executable, "-m", "bitspike", *parts], stderr=subprocess.DEVNULL, env=environment)
    last, limit = tmp_path / "parts" / "checkpoints" / "last", time.monotonic() + 600
    while not last.exists() and time.monotonic() < limit:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert last.exists(), "no epoch was done before it was killed"
    assert not (tmp_path / "parts" / "model.safetensors").exists(), "it was done before it could be killed"
    assert bitspike(*parts, "--resume")[0] == 0
    assert bitspike(*words, "--out", tmp_path / "whole")[0] == 0
    weights = "model.safetensors"
    assert (tmp_path / "parts" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()


def test_a_folder_that_another_process_works_in_is_left_alone(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL)]

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bitspike.runs.job.evaluate", stop)
        bitspike(*words)
    (tmp_path / "run" / ".being-written.partial").write_text("")
    with files.locked(tmp_path / "run") as mine:
        assert mine
        code, out, err = bitspike(*words, "--resume")
    assert (code, out) == (2, "")
    assert f"another process is at work in {tmp_path / 'run'}: 2 of 2 epochs are done" in err
    assert (tmp_path / "run" / ".being-written.partial").exists()
    assert bitspike(*words, "--resume")[0] == 0


def test_a_recipe_that_cannot_run_leaves_no_folder_in_the_way(tmp_path: Path, bitspike: Bitspike) -> None:
    words = ["run", "digits-convert", "--out", tmp_path / "run", "--set", "data.limit=20"]
    assert bitspike(*words, "--set", "finetune=null")[0] == 2  # no weights, and nothing is trained
    assert not (tmp_path / "run").exists()
    small = ["finetune.epochs=1", "evaluation.proof=2", "expect=null"]
    assert bitspike(*words, *(word for change in small for word in ("--set", change)))[0] == 0


class Full:
    """A disk that takes so many files and then no more."""

    def __init__(self, room: int) -> None:
        self.left = room

    def __call__(self, *args: object, **kwargs: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("files_that_fit", [0, 1, 2, 4, 7, 9, 10])
def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(
    tmp_path: Path, finished_run: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, files_that_fit: int
) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL)]
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", Full(files_that_fit))
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    assert f"the disk is full: {tmp_path / 'run'} has " in err
    assert "bytes left" in err
    assert "Traceback" not in err
    assert no_part_is_left(tmp_path / "run")
    # Once there is room it goes on, or, where not even the recipe fitted, it starts.
    resume = ["--resume"] if files_that_fit else []
    assert ("go on with: bitspike resume" if resume else "then start again: bitspike run") in err
    assert bitspike(*words, *resume)[0] == 0
    weights = "model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail] . PytorchStreamWriter failed writing file data/0: No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_known_in_the_words_of_every_library(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        (tmp_path / "run" / ".network.partial").mkdir()
        raise error

    monkeypatch.setattr(measure, "save", fail)
    code, _, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL))
    assert code == 2
    assert "the disk is full" in err
    assert "Traceback" not in err
    assert no_part_is_left(tmp_path / "run")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EFBIG, "File too large"),
        SafetensorError("Error while serializing: I/O error: File too large (os error 27)"),
    ],
)
def test_a_limit_on_the_size_of_files_is_said_too(
    tmp_path: Path, finished_run: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL)]

    def fail(*args: object, **kwargs: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(measure, "save", fail)
        code, out, err = bitspike(*words)
    assert (code, out) == (2, "")
    assert f"a file in {tmp_path / 'run'} would be larger than the system lets this process write" in err
    assert "lift the limit (ulimit -f unlimited), then go on with: bitspike resume" in err
    assert "Traceback" not in err
    assert bitspike(*words, "--resume")[0] == 0
    weights = "model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


def test_killed_before_its_first_file_it_starts_and_says_so(
    tmp_path: Path, finished_run: Path, bitspike: Bitspike
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".recipe.yaml.partial").write_text("na")
    code, _, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL), "--resume")
    assert code == 0
    assert f"nothing was saved in {tmp_path / 'run'} yet: the run starts from the beginning" in err
    weights = "model.safetensors"
    assert (tmp_path / "run" / weights).read_bytes() == (finished_run / weights).read_bytes()


def test_a_run_that_cannot_go_on_yet_stays_as_it_is(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "mnist-stbp-w4", "--out", tmp_path / "run", *sets(f"data.root={tmp_path / 'unmounted'}")]

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bitspike.runs.job.build_data", stop)
        assert bitspike(*words)[0] == 2
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert sorted(before) == ["origin.json", "recipe.yaml"]
    for again in (["resume", tmp_path / "run"], [*words, "--resume"]):
        code, _, err = bitspike(*again)
        assert (code, "was not found" in err) == (2, True)
        assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_damaged_checkpoint_is_one_message(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL)]

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bitspike.runs.job.evaluate", stop)
        bitspike(*words)
    path = tmp_path / "run" / "checkpoints" / "last" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    code, out, err = bitspike(*words, "--resume")
    assert (code, out) == (2, "")
    assert f"error: {path} is not what was written: its digest is " in err
    assert "Traceback" not in err


def test_other_errors_are_not_called_a_full_disk(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise RuntimeError("something else")

    monkeypatch.setattr(checkpoint, "save_last", fail)
    monkeypatch.setattr("bitspike.train.progress.save_last", fail)
    code, _, err = bitspike("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL))
    assert code == 2
    assert "the disk is full" not in err
    assert "RuntimeError: something else" in err
    assert "a fault of bitspike" in err
