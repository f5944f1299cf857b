"""The command line's face: quick help without torch, listings, exit codes, progress."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from rich.console import Console

from bitspike import __version__, cli
from bitspike.cli import main
from bitspike.cli.guard import guarded
from bitspike.errors import CheckFailed, DataError, RecipeError
from bitspike.recipe import names
from bitspike.runs.shown import Bar, Lines, shown
from bitspike.train.observe import BatchRecord, EpochRecord

BATCH = BatchRecord(epoch=2, epochs=3, batch=5, batches=10, samples=40, loss=0.5, accuracy=0.75)
EPOCH = EpochRecord(
    epoch=2, seconds=1.5, learning_rate=0.1, train_loss=0.5, train_accuracy=0.75, validation_accuracy=0.5
)


VERBS = (
    "recipes",
    "new",
    "run",
    "resume",
    "evaluate",
    "compare",
    "verify",
    "doctor",
    "check",
    "fit",
    "mix",
    "export",
    "energy",
    "cost",
    "analyze",
    "yield",
    "pareto",
    "zoo",
    "fetch",
)


def test_help_lists_every_verb_and_imports_no_torch() -> None:
    code = (
        "import sys, bitspike.cli as c; code = c.main(['--help']);"
        "sys.exit(code or 10 * any(m in sys.modules for m in ('torch', 'pydantic', 'numpy', 'matplotlib')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=6000, check=False)
    assert done.returncode == 0, done.stderr
    assert all(verb in done.stdout for verb in VERBS)


def test_each_verb_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    options = {
        "run": "--seeds",
        "resume": "RUN",
        "new": "--out",
        "evaluate": "--steps",
        "compare": "--format",
        "check": "--chip",
        "fit": "--out",
        "mix": "--bits",
        "export": "--format",
        "yield": "--chips",
        "pareto": "--by",
        "zoo": "--out",
        "fetch": "--root",
        **dict.fromkeys(("verify", "recipes", "energy", "cost", "analyze", "doctor"), "--json"),
    }
    assert set(options) == set(VERBS)
    for verb, option in options.items():
        assert main([verb, "--help"]) == 0
        assert option in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"bitspike {__version__}\n"


def test_version_imports_no_torch() -> None:
    code = (
        "import sys, bitspike.cli as c; code = c.main(['--version']); sys.exit(code or 10 * ('torch' in sys.modules))"
    )
    for command in (["-c", code], ["-m", "bitspike", "--version"]):
        done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stdout) == (0, f"bitspike {__version__}\n"), done.stderr


def test_no_words_are_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 2)
    assert "Usage: bitspike" in "".join(capsys.readouterr())


def test_recipes_are_listed_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    lines = {words[0]: words[1:] for line in text.splitlines() if (words := line.split())}
    assert lines["quickstart"][:4] == ["digits", "2", "4", "97.0"]
    assert lines["mnist-stbp-w4"][:4] == ["mnist", "4", "2", "97.56"]
    assert lines["resnet20-cifar10-convert"][:2] == ["cifar10", "*"]
    assert lines["resnet20-cifar10-convert"][-1] == "-", "which nobody has measured"
    assert max(map(len, text.splitlines())) <= 80
    assert main(["recipes", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(names()) <= set(lines)
    assert rows["mnist-stbp-w4"]["needs"] == {
        "data": "mnist",
        "come_from": "download",
        "weights": None,
        "published": False,
    }
    assert rows["mnist-stbp-w4"]["time"]["runs"] >= 3
    assert rows["digits-events"]["time"] is None


def test_doctor_answers_for_people_and_for_programs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["doctor", "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["bitspike"] == __version__
    monkeypatch.setattr("bitspike.verbs.doctor.doctor", lambda: {**found, "problems": ["no torch"]})
    assert main(["doctor"]) == 1
    assert "problems           no torch" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CheckFailed("no", fix="do"), 1, "check failed: no\n  fix: do\n"),
        (RecipeError("bad"), 2, "error: bad\n"),
        (KeyboardInterrupt(), 2, "interrupted\n"),
    ],
)
def test_errors_are_one_message_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    with pytest.raises(typer.Exit) as left, guarded():
        raise error
    assert left.value.exit_code == code
    assert capsys.readouterr().err == said


def test_of_several_processes_the_others_say_who_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setenv("RANK", "1")
    for error in (DataError("gone"), KeyboardInterrupt()):
        with pytest.raises(typer.Exit), guarded():
            raise error
    assert capsys.readouterr().err == "error (process 1): gone\n"


def test_without_a_terminal_there_is_a_line_per_epoch() -> None:
    stream = io.StringIO()
    with shown(stream) as lines:
        assert isinstance(lines, Lines)
        lines.stage("train")
        lines.batch_done(BATCH)
        lines.epoch_done(EPOCH)
    assert stream.getvalue() == "training\nepoch 2  loss 0.5000  training 75.00%  validation 50.00%  1.5 s\n"


def test_on_a_terminal_there_is_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    terminal = Console(file=stream, force_terminal=True, width=140)
    monkeypatch.setattr("bitspike.runs.shown.Console", lambda **_: terminal)
    with shown(stream) as bar:
        assert isinstance(bar, Bar)
        bar.stage("train")
        bar.epoch_done(EPOCH)
        bar.batch_done(BATCH)
        bar._bar.refresh()
        bar.stage("verify")
        bar._bar.refresh()
    text = stream.getvalue()
    assert "epoch 2/3" in text
    assert "loss 0.500  accuracy 75.0%  validation 50.0%" in text
    assert "images/s" in text
    assert "proving every spike" in text


def test_only_planned_verbs_exist() -> None:
    group: Any = typer.main.get_command(cli.app)
    assert sorted(group.commands) == sorted(VERBS)


def test_no_verb_imports_torch_before_it_is_called() -> None:
    code = (
        "import sys, bitspike.cli as c; [c.main([v, '--help']) for v in sys.argv[1:]]; sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *VERBS], capture_output=True, timeout=600, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        ["check", "quickstart"],
        ["fit", "quickstart"],
        ["export", "nowhere", "--format", "c"],
        ["export", "nowhere", "--out", "x"],
        ["energy"],
        ["analyze"],
        ["check", "quickstart", "--chip"],
    ],
)
def test_a_word_that_is_missing_is_wrong_use(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "rror" in capsys.readouterr().err


@pytest.mark.parametrize("verb", [["export", "--format", "c", "--out", "x"], ["energy"], ["analyze"], ["verify"]])
def test_a_network_that_is_not_there_is_wrong_use(
    verb: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb[0], str(tmp_path / "gone"), *verb[1:]]) == 2
    assert "error: " in capsys.readouterr().err
