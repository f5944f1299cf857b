"""A recipe whose images are photos on disk, from the command line: by two processes, killed, resumed, and alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from journey_parts import by_two, lay_out_photos, sets
from safetensors.torch import load_file

Bitspike = Callable[..., tuple[int, str, str]]

# Without norms, whose statistics every process would take of its own share: two processes then train as one.
NETWORK = """
import os
import signal
from pathlib import Path

from torch import nn


class Mortal(nn.Sequential):
    '''Kills its process in the second epoch, while there is a file that says so.'''

    batches = 0

    def forward(self, x):
        if self.training:
            self.batches += 1
            if self.batches == 5 and Path(__file__).with_name("die").exists():
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)


def net():
    layers = nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 6, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 9, 3)
    return Mortal(*layers)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Lay out classes of 7 to 11 photos, and ragged ones to test on: 7 images of which one class has a single one."""
    return lay_out_photos(tmp_path / "photos", {"ant": 8, "bee": 11, "cow": 7}, {"ant": 4, "bee": 1, "cow": 2})


def changes(root: Path, *more: str) -> list[str]:
    return sets(
        f"data={{kind: imagenet, root: '{root}', size: 16, validation: 4, workers: 2}}",  # 22 to train on: 11 each
        "finetune.batch_size=6",
        "finetune.epochs=2",
        "finetune.optimizer={kind: sgd, lr: 0.05}",
        "convert.samples=8",
        "evaluation.batch_size=2",
        "expect=null",
        *more,
    )


def test_two_processes_that_are_killed_and_resumed_train_as_one_that_is_not(
    root: Path, tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NETWORK)
    model = "model={kind: factory, factory: 'net.py:net'}"
    words = ["run", "digits-convert", "--out", "two", *changes(root, model)]

    (tmp_path / "die").touch()
    killed = by_two(*words, folder=tmp_path)
    assert killed.returncode != 0
    assert (tmp_path / "two" / "checkpoints" / "last").exists(), killed.stderr
    assert not (tmp_path / "two" / "report.json").exists()
    (tmp_path / "die").unlink()
    resumed = by_two(*words, "--resume", folder=tmp_path)
    assert resumed.returncode == 0, resumed.stderr

    code, _, err = bitspike("run", "digits-convert", "--out", "one", *changes(root, model))
    assert code == 0, err
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert two.keys() == one.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], atol=1e-5, rtol=1e-4)
    shared, alone = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("two", "one"))
    assert (shared["environment"]["workers"], alone["environment"]["workers"]) == (2, 1)
    assert (shared["agreement"]["samples"], shared["certificate"]["equal"]) == (7, True)
    assert shared["epochs"] == alone["epochs"]
    for theirs, ours in zip(_metrics(tmp_path / "two"), _metrics(tmp_path / "one"), strict=True):
        assert theirs["validation_loss"] == pytest.approx(ours["validation_loss"], abs=1e-4)


def _metrics(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_vgg16_goes_the_whole_way_and_ends_alike_when_it_is_stopped_in_between(
    root: Path, tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = "data.size=32", "data.resize=36", "convert.steps=2"
    model = (
        "model={kind: factory, factory: 'bitspike.models.imagenet:vgg16_imagenet', "
        "arguments: {num_classes: 3, image_size: 32, width: 0.0625}}"
    )
    words = ["run", "digits-convert", *changes(root, model, *small)]
    assert bitspike(*words, "--out", tmp_path / "whole")[0] == 0

    def stop(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bitspike.train.loop._epoch", _second(stop))
        code, _, err = bitspike(*words, "--out", tmp_path / "stopped")
    assert code == 2
    assert "interrupted: 1 of 2 epochs are done" in err
    assert bitspike(*words, "--out", tmp_path / "stopped", "--resume")[0] == 0
    whole, stopped = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "stopped"))
    assert whole == stopped
    report = json.loads((tmp_path / "whole" / "report.json").read_text())
    assert report["certificate"]["equal"]
    assert report["certificate"]["samples"] == 7
    assert bitspike("evaluate", tmp_path / "whole")[0] == 0


def _second(instead: Callable[..., object]) -> Callable[..., object]:
    """Return an epoch that is the usual one the first time."""
    from bitspike.train import loop

    usual, times = loop._epoch, []

    def epoch(*args: object) -> object:
        times.append(1)
        return (usual if len(times) == 1 else instead)(*args)

    return epoch
