"""Two processes on the CPU train as one: the same weights, each sample once, one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import ddp_worker
import pytest


def test_qat_check_12_two_processes_train_as_one(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, ddp_worker.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"told{rank}.json").read_text()) for rank in range(2))
    alone = ddp_worker.train(tmp_path / "alone")

    assert first["plain"]["steps"] == 5
    assert first["plain"]["workers"] == 2
    for kind in first:  # with a norm, the running statistics agree as well
        assert first[kind]["state"] == second[kind]["state"]
    # Each sample once per epoch: 39 images over two processes, whose shares differ by one.
    seen = first["plain"]["seen"] + second["plain"]["seen"]
    assert len(seen) == 39
    assert sorted(seen) == sorted(alone["seen"])
    # The gradient is the mean over all samples, also of the last, uneven batch: one process does the same.
    for two, one in zip(first["plain"]["state"], alone["state"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)
    assert first["plain"]["loss"] == second["plain"]["loss"] == pytest.approx(alone["loss"], abs=1e-6)
    assert first["plain"]["held"] == second["plain"]["held"] == pytest.approx(alone["held"], abs=1e-6)
    # A teacher and an average change nothing of that: both processes learn from the same one and keep the same average.
    taught = ddp_worker.train(tmp_path / "taught", taught=True)
    for two, one, plain in zip(first["taught"]["state"], taught["state"], alone["state"], strict=True):
        assert two == pytest.approx(one, abs=1e-5)
        assert two != pytest.approx(plain, abs=1e-5)
    assert first["taught"]["loss"] == pytest.approx(taught["loss"], abs=1e-6)
    assert first["taught"]["held"] == pytest.approx(taught["held"], abs=1e-6)
    # Weights under constraints: one scale, one set of multipliers, one decision after every epoch.
    constrained = ddp_worker.train(tmp_path / "constrained", constrained=True)
    for two, one in zip(first["constrained"]["state"], constrained["state"], strict=True):
        assert two == pytest.approx(one, abs=1e-4)
    # Only the first process wrote and spoke.
    assert (first["plain"]["heard"], second["plain"]["heard"]) == (1, 0)
    assert (tmp_path / "plain0" / "metrics.jsonl").exists()
    assert not (tmp_path / "plain1").exists()
