"""One recipe with several seeds: folders, the table, going on after a stop, by one process or two."""

from __future__ import annotations

import html
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import SMALL, WEIGHTS, by_two, interrupted, read_report, sets

import bitspike as bs

Bitspike = Callable[..., tuple[int, str, str]]
TINY = ("model.width=0.125", "data.limit=40", "training.epochs=1", "expect=null")


def without_silence(code: int, err: str) -> bool:
    """Tell whether all is well, but for layers of so small a network that never fire."""
    return code == 0 or (code == 1 and "never fire" in err)


def test_every_seed_has_a_folder_and_all_are_one_row(tmp_path: Path, finished_run: Path, bitspike: Bitspike) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "q", *sets(*SMALL)]
    with interrupted("train.loop._epoch", 3):
        code, _, err = bitspike(*words, "--seeds", "0,1")
    assert code == 2
    assert f"go on with: bitspike resume {tmp_path / 'q-seed1'}" in err
    assert (tmp_path / "q-seed0" / WEIGHTS).read_bytes() == (finished_run / WEIGHTS).read_bytes()

    code, _, err = bitspike(*words, "--seeds", "0,1")
    assert code == 2
    assert f"{tmp_path / 'q-seed0'} holds a finished run" in err
    before = (tmp_path / "q-seed0" / "report.json").stat().st_mtime_ns
    code, out, err = bitspike(*words, "--seeds", "0,1", "--resume")
    assert without_silence(code, err), err
    assert (tmp_path / "q-seed0" / "report.json").stat().st_mtime_ns == before, "a finished run stays"

    (row,) = bs.compare(tmp_path / "q-seed0", tmp_path / "q-seed1").rows
    assert (row.seeds, row.deviation is not None) == ((0, 1), True)
    assert str(bs.compare(tmp_path / "q-seed0", tmp_path / "q-seed1")) in out
    assert str(tmp_path / "q-seed1" / "report.html") in out
    report = read_report(tmp_path / "q-seed1")
    assert report["command"].endswith(f"--set expect=null --set seed=1 --out {tmp_path / 'q-seed1'}")


def test_another_recipe_does_not_go_on_with_the_seeds_of_one(tmp_path: Path, bitspike: Bitspike) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "q", *sets(*TINY)]
    assert without_silence(*bitspike(*words, "--seeds", "4")[::2])
    code, _, err = bitspike(*words, "--seeds", "4,5", "--resume", *sets("training.optimizer.lr=0.5"))
    assert code == 2
    assert "was begun with another recipe" in err
    assert not (tmp_path / "q-seed5").exists()


def test_a_failed_promise_of_one_seed_is_named(tmp_path: Path, bitspike: Bitspike) -> None:
    promise = "expect={test_accuracy: 1.0}"
    code, out, err = bitspike(
        "run", "quickstart", "--out", tmp_path / "q", *sets(*TINY[:-1], promise), "--seeds", "2,3"
    )
    assert code == 1
    assert "seed 2: test accuracy" in err
    assert "seed 3: test accuracy" in err
    assert "2 runs on digits" in out


def test_two_processes_run_all_seeds(tmp_path: Path) -> None:
    done = by_two("run", "quickstart", "--out", "q", *sets(*TINY), "--seeds", "0,1", folder=tmp_path)
    assert without_silence(done.returncode, done.stderr), done.stderr
    for seed in (0, 1):
        report = read_report(tmp_path / f"q-seed{seed}")
        assert report["environment"]["workers"] == 2
        assert report["command"].startswith("torchrun --nproc-per-node=2 -m bitspike run quickstart")


def test_a_report_says_how_to_repeat_the_run_wherever_its_folder_lies(
    tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch, mnist_root: Path
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "images").symlink_to(mnist_root)
    monkeypatch.chdir(tmp_path / "here")
    mnist = ("data={kind: mnist, root: images, limit: 40}", "model.width=0.125", "training.epochs=1")
    assert without_silence(*bitspike("run", "quickstart", "--out", "q", *sets(*mnist))[::2])
    report = read_report(tmp_path / "here" / "q")
    assert report["recipe"]["expect"] is not None
    assert report["expected"] is None, "what was promised for the digits is nothing for MNIST"
    monkeypatch.chdir(tmp_path)
    assert without_silence(*bitspike(*shlex.split(report["again"])[1:])[::2])
    weights = (tmp_path / "here" / "q" / WEIGHTS).read_bytes()
    assert (tmp_path / "here" / "q-again" / WEIGHTS).read_bytes() == weights
    shutil.move(tmp_path / "here" / "q", tmp_path / "there")
    moved = report["again"].replace(str(tmp_path / "here" / "q"), str(tmp_path / "there"))  # as the page says
    assert without_silence(*bitspike(*shlex.split(moved)[1:])[::2])
    assert (tmp_path / "there-again" / WEIGHTS).read_bytes() == weights
    page = (tmp_path / "there" / "report.html").read_text()
    assert "bitspike run quickstart --set" in page
    assert "This run changes the recipe: <code>data.kind=mnist</code>" in page
    assert html.escape(report["again"]) in page


def test_the_origin_of_a_run_is_kept(tmp_path: Path, bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["run", "quickstart", "--out", tmp_path / "q", *sets(*TINY)]
    with interrupted("runs.carry_out.write_report", 1):
        bitspike(*words)
    kept = json.loads((tmp_path / "q" / "origin.json").read_text())
    (tmp_path / "q" / "origin.json").write_text(json.dumps({**kept, "commit": "abc1234"}))
    assert without_silence(*bitspike("resume", tmp_path / "q")[::2])
    report = read_report(tmp_path / "q")
    assert report["command"] == kept["command"]
    assert report["commit"] == "abc1234", "that of the code that trained"
