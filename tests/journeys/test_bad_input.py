"""Wrong use through the real command line: one clear message, the way out, exit code 2, no traceback, nothing left."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from journey_parts import SMALL, sets

Bitspike = Callable[..., tuple[int, str, str]]
Refused = Callable[..., str]


@pytest.fixture
def refused(bitspike: Bitspike) -> Refused:
    """Return a call of the command line that must be refused in one message; gives the message."""

    def call(*words: str | Path) -> str:
        code, out, err = bitspike(*words)
        assert code == 2
        assert out == ""
        assert "Traceback" not in err
        assert err.count("error: ") == 1
        return err

    return call


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("training.epocs=1", "unknown key; allowed are epochs"),
        (
            "data.kind=minst",
            "found 'minst'; allowed are digits, mnist, cifar10, cifar100, tiny_imagenet, folder, imagenet, ",
        ),
        ("data={kind: mnist, root: nowhere}", "the data set 'mnist' was not found; looked in"),
        ("data={kind: folder, root: nowhere}", "nowhere"),
        ("training", "needed is key=value"),
        ("weights.skip=[head]", "no layer matches 'head'"),
        ("data.validation=5000", "cannot be held out of"),
        ("training.device=cuda", "no CUDA device"),
        ("model={kind: digits_net, steps: 2, width: 0.0}", "model.width: found 0.0"),
        ("data.pixels.offset=[0, 1]", "offsets"),
        ("training.tensorboard=true", "pip install 'bitspike[tb]'"),
        ("training.optimizer={kind: sgd, lr: 1e30}", "the training has diverged"),
    ],
)
def test_a_wrong_change(
    tmp_path: Path, refused: Refused, change: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    err = refused("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL, change))
    assert said in err
    assert not (tmp_path / "run" / "report.json").exists()


def test_recipes_that_are_not_there(refused: Refused) -> None:
    assert "fix: 'quickstart'?" in refused("run", "quikstart")
    assert "there is no file nowhere.yaml" in refused("run", "nowhere.yaml")


def test_a_network_that_does_not_fit_the_images(tmp_path: Path, refused: Refused, mnist_root: Path) -> None:
    data = f"data={{kind: mnist, root: {mnist_root}, limit: 60}}"
    err = refused("run", "quickstart", "--out", tmp_path / "run", *sets(data, "model={kind: vgg9, steps: 2}"))
    assert "images of 28x28 do not fit" in err


def test_a_finished_run_is_not_overwritten(run_folder: Path, refused: Refused) -> None:
    before = {p: p.read_bytes() for p in run_folder.rglob("*") if p.is_file()}
    for words in ((), ("--resume",)):
        err = refused("run", "quickstart", "--out", run_folder, *sets(*SMALL), *words)
        assert "holds a finished run, and nothing is overwritten" in err
        assert "--out ANOTHER_FOLDER" in err
    assert {p: p.read_bytes() for p in run_folder.rglob("*") if p.is_file()} == before


def test_an_unfinished_run_is_not_overwritten_either(run_folder: Path, refused: Refused) -> None:
    (run_folder / "report.json").unlink()
    err = refused("run", "quickstart", "--out", run_folder, *sets(*SMALL))
    assert "holds a run that is not finished: 2 of 2 epochs are done" in err
    assert f"go on with it: bitspike resume {run_folder}\n" in err


def test_only_an_unfinished_run_is_resumed(run_folder: Path, tmp_path: Path, refused: Refused) -> None:
    assert f"the run in {run_folder} is finished" in refused("resume", run_folder)
    assert "there is no folder" in refused("resume", tmp_path / "nowhere")
    assert "this is no run of bitspike" in refused("resume", tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "0,a"), "--seeds 0,a: needed are whole numbers"),
        (("--seeds", "0,-1"), "seeds are [0, -1]; needed are whole numbers from 0, each of them once"),
        (("--seeds", "1,1"), "seeds are [1, 1]"),
        (("--seeds", "0,1", "--set", "seed=3"), "--set seed=3: the seeds say it too, [0, 1]"),
    ],
)
def test_seeds_that_are_none(tmp_path: Path, refused: Refused, words: tuple[str, ...], said: str) -> None:
    assert said in refused("run", "quickstart", "--out", tmp_path / "q", *words)
    assert list(tmp_path.iterdir()) == []


def test_a_run_goes_on_with_its_own_recipe_only(run_folder: Path, refused: Refused) -> None:
    (run_folder / "report.json").unlink()
    err = refused("run", "quickstart", "--out", run_folder, "--resume", *sets(*SMALL, "training.optimizer.lr=0.5"))
    assert "was begun with another recipe" in err
    assert "training.optimizer.lr: 0.005 there, 0.5 now" in err


def test_folders_that_are_no_place_for_a_run(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    (tmp_path / "file").write_text("")
    small = sets(*SMALL)
    assert "is not empty and no run of bitspike (cat.jpg" in refused(
        "run", "quickstart", "--out", tmp_path / "photos", *small
    )
    assert "is a file; a run needs a folder" in refused("run", "quickstart", "--out", tmp_path / "file", *small)
    assert "cannot be written: Not a directory" in refused(
        "run", "quickstart", "--out", tmp_path / "file" / "x", *small
    )
    assert "no run in" in refused("run", "quickstart", "--out", tmp_path / "new", "--resume", *small)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["cat.jpg", "file", "photos"]


def test_a_folder_without_the_right_to_write(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", denied)
    err = refused("run", "quickstart", "--out", tmp_path / "run", *sets(*SMALL))
    assert "cannot be written: Permission denied" in err


def test_evaluate_and_verify_refuse_what_is_no_run(tmp_path: Path, run_folder: Path, refused: Refused) -> None:
    (tmp_path / "photos").mkdir()
    for verb in ("evaluate", "verify"):
        assert "nowhere" in refused(verb, tmp_path / "nowhere")
        assert "photos" in refused(verb, tmp_path / "photos")
    assert "steps=0" in refused("evaluate", run_folder, "--steps", "0")
    assert "unknown key" in refused("evaluate", run_folder, "--set", "data.rot=x")
    (run_folder / "model.safetensors").write_bytes(b"rubbish")
    assert "model.safetensors" in refused("evaluate", run_folder)
    (run_folder / "report.json").unlink()
    assert "is not finished: 2 of 2 epochs are done" in refused("evaluate", run_folder)
    (run_folder / "network" / "manifest.json").write_text("{")
    assert "manifest.json cannot be read" in refused("verify", run_folder)


def test_usage_errors_are_exit_code_2(bitspike: Bitspike) -> None:
    for words in (("run",), ("run", "quickstart", "--sett", "x=1"), ("train",), ("evaluate", "x", "--steps", "two")):
        code, _, err = bitspike(*words)
        assert code == 2
        assert "Traceback" not in err


def test_debug_shows_where_an_error_came_from(bitspike: Bitspike, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BITSPIKE_DEBUG", "1")
    code, _, err = bitspike("run", "quikstart")
    assert code == 2
    assert "Traceback" in err
