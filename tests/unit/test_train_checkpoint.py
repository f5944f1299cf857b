"""Checkpoints are whole or absent, and belong to one model and one run."""

from __future__ import annotations

import json
import shutil
from importlib import metadata
from pathlib import Path

import pytest
import torch
from torch import nn

import bitspike
from bitspike.errors import PackageError, RunError
from bitspike.train import fit
from bitspike.train.checkpoint import (
    Snapshot,
    load_last,
    read_weights,
    restore,
    save_last,
    state_of,
    write_weights,
)

BATCHES = [(torch.rand(8, 3, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2)]


def snapshot(epoch: int) -> Snapshot:
    return Snapshot({"w": torch.full((2,), float(epoch))}, {"state": {}, "param_groups": []}, {"epoch": epoch})


def test_the_newest_whole_checkpoint_is_found_at_every_moment_of_writing(tmp_path: Path) -> None:
    assert load_last(tmp_path) is None
    save_last(tmp_path, snapshot(1))
    save_last(tmp_path, snapshot(2))
    assert [p.name for p in tmp_path.iterdir()] == ["last"]
    # Killed while the third was written: the second stands.
    (tmp_path / ".last.partial").mkdir()
    found = load_last(tmp_path)
    assert found is not None
    assert found.state["epoch"] == 2
    # Killed between the two renames: the second has stepped aside and the third is not there yet.
    (tmp_path / "last").rename(tmp_path / ".last.previous")
    found = load_last(tmp_path)
    assert found is not None
    assert found.model["w"].tolist() == [2.0, 2.0]
    save_last(tmp_path, snapshot(3))
    assert [p.name for p in tmp_path.iterdir()] == ["last"]


@pytest.mark.parametrize("name", ["state.json", "optimizer.pt", "model.safetensors"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str) -> None:
    save_last(tmp_path, snapshot(1))
    (tmp_path / "last" / name).write_bytes(b"rubbish")
    with pytest.raises(PackageError, match=rf"{name} (cannot be read|is not what was written)"):
        load_last(tmp_path)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "m.safetensors", state_of(nn.Linear(3, 2)))
    with pytest.raises(PackageError, match=r"another model[\s\S]*size mismatch"):
        restore(nn.Linear(4, 2), read_weights(tmp_path / "m.safetensors"), source="m.safetensors")
    with pytest.raises(PackageError, match="no such file"):
        read_weights(tmp_path / "none.safetensors")
    (tmp_path / "m.safetensors").write_bytes(b"12345678901")
    with pytest.raises(PackageError, match="cannot be read as safetensors"):
        read_weights(tmp_path / "m.safetensors")


def test_a_run_goes_on_only_as_the_same_run(tmp_path: Path) -> None:
    fit(nn.Linear(3, 2), BATCHES, epochs=2, folder=tmp_path)
    with pytest.raises(RunError, match="made with epochs 2, this run has epochs 3"):
        fit(nn.Linear(3, 2), BATCHES, epochs=3, folder=tmp_path, resume=True)
    with pytest.raises(RunError, match="made with seed 0, this run has seed 1"):
        fit(nn.Linear(3, 2), BATCHES, epochs=2, seed=1, folder=tmp_path, resume=True)
    with pytest.raises(PackageError, match="another model"):
        fit(nn.Linear(3, 3), BATCHES, epochs=2, folder=tmp_path, resume=True)


def test_source_that_nobody_installed_writes_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata.Distribution, "from_name", absent)
    fit(nn.Linear(2, 2), [(torch.eye(2), torch.tensor([0, 1]))], epochs=1, device="cpu", folder=tmp_path)
    about = json.loads((tmp_path / "checkpoints/last/state.json").read_text())
    assert about["versions"]["bitspike"] == bitspike.__version__


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    first = fit(model, BATCHES, epochs=2, validation=BATCHES, folder=tmp_path)
    twin = nn.Linear(3, 2)
    second = fit(twin, [], epochs=2, validation=BATCHES, folder=tmp_path, resume=True)
    assert second == first
    assert torch.equal(model.weight, twin.weight)
    state = json.loads((tmp_path / "checkpoints/last/state.json").read_text())
    assert (state["epoch"], state["epochs"], state["best_epoch"]) == (2, 2, first.best_epoch)


def test_a_lost_best_is_an_error_not_a_guess(tmp_path: Path) -> None:
    fit(nn.Linear(3, 2), BATCHES, epochs=1, validation=BATCHES, folder=tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "best")
    with pytest.raises(PackageError, match="no such file"):
        fit(nn.Linear(3, 2), BATCHES, epochs=1, validation=BATCHES, folder=tmp_path, resume=True)
